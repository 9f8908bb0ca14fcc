import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type ServiceError, status } from "@grpc/grpc-js";
import { DeliverySpeed } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import type { SessionState } from "#proto/waybill/session/v1/session.ts";
import { readError } from "#shared/errors.ts";
import { ADDRESS } from "../../support/callers/shopper.ts";
import type { Clients } from "../../support/clients.ts";
import { type Stepped, step } from "../../support/step.ts";
import type { Call, Line, Outcome } from "./history.ts";

/** Number of retries and their longest delay, before the outcome counts as unknown. */
const MAX_ATTEMPTS = 8;
const PAUSE_MS = 150;

/** A waybill and its version. */
interface Held {
  readonly waybill: string;
  readonly version: number;
}

interface Made<Response> extends Stepped<Response> {
  readonly outcome: Outcome;
}

/** The settings of one group of clients. */
export interface GroupParts {
  readonly name: string;
  /** The clients, which share the sessions. */
  readonly clients: readonly Clients[];
  /** A current access token of the owner. Undefined: the sessions are anonymous. */
  readonly token: () => Promise<string | undefined>;
  readonly below: (limit: number) => number;
  readonly write: (line: Line) => void;
  readonly isOver: () => boolean;
}

/** Several clients concurrently advance, resume and end the sessions of the session service. */
export async function contendForSessions(parts: GroupParts): Promise<void> {
  const { clients, below, token } = parts;
  for (let round = 0; !parts.isOver(); round += 1) {
    const session = `${parts.name}.s${round}`;
    const record = recorder(parts, session);
    const first = randomUUID();
    const begun = await record(0, { kind: "begin", version: 1, value: first }, async () => {
      const request = { state: toState(first), waybill: undefined, mode: Mode.MODE_ANCHORED };
      return step(clients[0]!.session.beginSession, request, { token: await token() });
    });
    // No client has the waybill of a session whose begin got no response.
    if (begun?.waybill === undefined) continue;
    const { name } = begun.response.session!;
    const contender = async (client: number): Promise<void> => {
      let held: Held = { waybill: begun.waybill!, version: 1 };
      const { session: service } = clients[client]!;
      for (let turn = 0; turn < 12 && !parts.isOver(); turn += 1) {
        const key = randomUUID();
        const choice = below(100);
        const { waybill, version: from } = held;
        if (choice < 70) {
          const value = randomUUID();
          const made = await record(client, { kind: "advance", from, value }, async () =>
            withVersion(
              await step(
                service.advanceSession,
                { state: toState(value), waybill: undefined },
                { waybill, key, token: await token() },
              ),
            ),
          );
          if (made?.waybill) held = { waybill: made.waybill, version: from + 1 };
        } else if (choice < 97) {
          // Anonymous sessions cannot be resumed.
          if ((await token()) === undefined) continue;
          const made = await record(client, { kind: "resume" }, async () =>
            withVersion(await step(service.resumeSession, { name }, { key, token: await token() })),
          );
          if (made?.waybill) {
            held = { waybill: made.waybill, version: made.response.session!.version };
          }
        } else {
          await record(client, { kind: "end", from }, async () =>
            step(
              service.endSession,
              { waybill: undefined },
              { waybill, key, token: await token() },
            ),
          );
        }
      }
    };
    await Promise.all(clients.map((_, client) => contender(client)));
  }
}

/** Several clients concurrently place, change and abandon checkouts that are ready to be placed. */
export async function contendForOrders(parts: GroupParts): Promise<void> {
  const { clients, below } = parts;
  for (let round = 0; !parts.isOver(); round += 1) {
    const product = `products/${1 + below(3000)}`;
    const session = `${parts.name}.o${round}`;
    const begin = { kind: "begin", version: 5, value: "1" } as const;
    const start = performance.now();
    let ready: Held;
    try {
      ready = { waybill: await quoted(clients[0]!, product, session), version: 5 };
    } catch {
      continue;
    }
    const end = performance.now();
    parts.write({ client: `${parts.name}.0`, session, call: begin, start, end, outcome: OK });
    const record = recorder(parts, session);
    const contender = async (client: number): Promise<void> => {
      let held = ready;
      const { checkout } = clients[client]!;
      for (let turn = 0; turn < 3; turn += 1) {
        const { waybill, version: from } = held;
        const by = { waybill, key: randomUUID() };
        const choice = below(10);
        if (choice < 6) {
          const made = await record(client, { kind: "place", from }, async () => {
            const placed = await step(checkout.placeOrder, {}, by);
            return { ...placed, outcome: { kind: "ok", order: placed.response.name } as const };
          });
          if (made?.waybill) held = { waybill: made.waybill, version: from + 1 };
        } else if (choice < 9) {
          const quantity = 1 + below(99);
          const call = { kind: "advance", from, value: `${quantity}` } as const;
          const made = await record(client, call, () =>
            step(checkout.updateItem, { product, quantity }, by),
          );
          if (made?.waybill) held = { waybill: made.waybill, version: from + 1 };
        } else {
          await record(client, { kind: "end", from }, () => step(checkout.endCheckout, {}, by));
        }
      }
    };
    await Promise.all(clients.map((_, client) => contender(client)));
  }
}

const OK: Outcome = { kind: "ok" };

/** Retries a call until it gets a response, and records the outcome. */
function recorder({ name, write }: GroupParts, session: string) {
  return async <Response>(
    client: number,
    call: Call,
    attempt: () => Promise<Stepped<Response> | Made<Response>>,
  ): Promise<Stepped<Response> | undefined> => {
    const start = performance.now();
    const done = (outcome: Outcome) =>
      write({ client: `${name}.${client}`, session, call, start, end: performance.now(), outcome });
    for (let attempts = 1; ; attempts += 1) {
      try {
        const made = await attempt();
        done("outcome" in made ? made.outcome : OK);
        return made;
      } catch (error) {
        const { code, reason, metadata } = readError(error as ServiceError);
        const isUnanswered = UNANSWERED.has(code) || (reason === "" && BROKEN_OFF.has(code));
        // Two attempts to begin make two sessions, and no client has the first.
        const mayRepeat = call.kind !== "begin" && call.kind !== "resume";
        if (isUnanswered && mayRepeat && attempts < MAX_ATTEMPTS) {
          await delay(PAUSE_MS);
          continue;
        }
        // A revoked session is refused before its saved response is looked up; the front proxy may have
        // retried the attempt.
        if (isUnanswered || reason === "WAYBILL_REVOKED") done({ kind: "unknown" });
        else
          done({
            kind: "refused",
            reason: reason || `${code}`,
            ...(metadata["served"] === "true" && { served: true }),
          });
        return undefined;
      }
    }
  };
}

const UNANSWERED: ReadonlySet<status> = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED]);
const BROKEN_OFF: ReadonlySet<status> = new Set([
  status.INTERNAL,
  status.UNKNOWN,
  status.CANCELLED,
]);

function withVersion<Response extends { session: { version: number } | undefined }>(
  made: Stepped<Response & { state?: SessionState | undefined }>,
): Made<Response> {
  const { session, state } = made.response;
  const value = state?.value?.$case === "json" ? String(state.value.value?.["value"]) : undefined;
  return {
    ...made,
    outcome: { kind: "ok", version: session!.version, ...(value !== undefined && { value }) },
  };
}

function toState(value: string): SessionState {
  return { value: { $case: "json", value: { value } } };
}

/**
 * Begins a checkout and takes it to version 5: one piece of a product, sent to an address with the session's
 * name.
 */
async function quoted({ checkout }: Clients, product: string, session: string): Promise<string> {
  const address = { ...ADDRESS, organization: session };
  let { waybill } = await step(checkout.beginCheckout, {});
  ({ waybill } = await step(checkout.addItem, { product }, { waybill }));
  ({ waybill } = await step(checkout.setAddress, { address }, { waybill }));
  const deliverySpeed = DeliverySpeed.DELIVERY_SPEED_STANDARD;
  ({ waybill } = await step(checkout.chooseDelivery, { deliverySpeed }, { waybill }));
  ({ waybill } = await step(checkout.quoteCheckout, {}, { waybill }));
  return waybill!;
}
