import { afterAll, beforeAll, expect, test } from "vitest";
import type { RingWatcher } from "#shared/rings/ringWatcher.ts";
import type { Server } from "#shared/server/server.ts";
import { fromCompact } from "#shared/waybill/jwe.ts";
import type { StateCodec } from "#shared/waybill/session.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { type Upgrade, type Upgrades, upgrade } from "#shared/waybill/state/upgrades.ts";
import { makeClients } from "../support/clients.ts";
import { refusal } from "../support/refusal.ts";
import { step } from "../support/step.ts";
import { type KeyService, startKeyService } from "./keyService.ts";
import { checkout, contractOf, GET_CHECKOUT, type State, serveProgram } from "./program.ts";
import { compile } from "./protos.ts";

const OLD = "message State { string note = 1; oneof choice { string a = 10; int32 b = 11; } }";
const NEXT = OLD.replace("int32 b = 11;", "int32 b = 11; string c = 12;");
/** Branches by quantity. */
const LETTERS = ["", "a", "b", "c"];

let keys: KeyService;
let codecs: { old: StateCodec<State>; next: StateCodec<State> };
/** The older revision cannot express `c`. */
let step1to2: Upgrade;
const replicas: Replica[] = [];

interface Replica {
  readonly ring: RingWatcher;
  readonly server: Server;
  readonly clients: ReturnType<typeof makeClients>;
}

/** Starts a replica of revision 1 or 2 with its own lease. AddItem's quantity selects the branch. */
async function start(revision: 1 | 2, upgrades: Upgrades = { 1: step1to2 }): Promise<Replica> {
  const codec = revision === 1 ? codecs.old : codecs.next;
  const ring = await keys.lease(revision);
  const { server, address } = await serveProgram(
    { revision },
    {
      beginCheckout: async () => checkout(""),
      getCheckout: async (_request, { session: { state } }) => checkout(textOf(state)),
      async addItem({ quantity = 0 }, { session: { state } }) {
        state["note"] += "+";
        const $case = LETTERS[quantity]!;
        state["choice"] = { $case, value: $case === "b" ? 7 : "7" };
        return checkout(textOf(state));
      },
    },
    { state: codec, ring, upgrades: revision === 1 ? {} : upgrades },
  );
  const clients = makeClients(address, { withJar: false, retries: false });
  replicas.push({ ring, server, clients });
  return replicas.at(-1)!;
}

const textOf = (state: State) => JSON.stringify(state["choice"] ?? null);

/** Drains a replica and releases its lease. */
async function stop({ ring, server, clients }: Replica): Promise<void> {
  clients.close();
  await server.drain();
  await ring.close();
}

/** The state and revision of a waybill. */
async function read(waybill: string) {
  const sessions = new Sessions(
    contractOf(2).method(GET_CHECKOUT).session!,
    codecs.next,
    replicas.at(-1)!.ring,
    { upgrades: { 1: step1to2 } },
  );
  const { envelope, state } = await sessions.open(fromCompact(waybill)!);
  return { revision: envelope.stateRevision, choice: state["choice"] };
}

const sealsRevision = ({ ring }: Replica) => ring.sealing()?.revision;
const choose = ({ clients }: Replica, letter: string, waybill: string) => {
  const request = { product: "products/7", quantity: LETTERS.indexOf(letter) };
  return step(clients.checkout.addItem, request, { waybill });
};

beforeAll(async () => {
  keys = await startKeyService();
  const [old, next] = await Promise.all([compile<State>(OLD), compile<State>(NEXT)]);
  codecs = { old: old.codec, next: next.codec };
  const asNext = (state: State) => next.codec.decode(old.codec.encode(state).finish());
  step1to2 = upgrade(old.codec, next.codec, asNext, (state) => {
    const choice = state["choice"] as { $case: string } | undefined;
    if (choice?.$case === "c") return undefined;
    return old.codec.decode(next.codec.encode(state).finish());
  });
});
afterAll(async () => {
  for (const replica of replicas) await stop(replica);
  await keys?.close();
});

test("seals a newer revision once every replica reads it", async () => {
  const old = await start(1);
  const next = await start(2);
  let { waybill } = await step(next.clients.checkout.beginCheckout, {});
  waybill = (await choose(old, "a", waybill!)).waybill;
  expect(await read(waybill!)).toEqual({ revision: 1, choice: { $case: "a", value: "7" } });
  waybill = (await choose(next, "b", waybill!)).waybill;
  expect(await read(waybill!)).toEqual({ revision: 1, choice: { $case: "b", value: 7 } });
  const seen = await step(old.clients.checkout.getCheckout, {}, { waybill });
  expect(seen.response.order).toBe('{"$case":"b","value":7}');

  // A change that the older revision cannot express is refused with the reason.
  expect(await refusal(choose(next, "c", waybill!))).toMatchObject({
    reason: "STATE_REVISION_PENDING",
    metadata: { type: "waybill.checkout.v1.CheckoutState", revision: "2" },
    retryAfterMs: 5000,
  });

  await stop(old);
  await expect.poll(() => sealsRevision(next), { timeout: 20_000 }).toBe(2);
  const grown = (await choose(next, "c", waybill!)).waybill!;
  expect(await read(grown)).toEqual({ revision: 2, choice: { $case: "c", value: "7" } });

  // Back to the old program: it resumes the sessions that it can read, and refuses the others by name.
  const back = await start(1);
  await expect.poll(() => sealsRevision(next), { timeout: 20_000 }).toBe(1);
  expect(
    await refusal(step(back.clients.checkout.getCheckout, {}, { waybill: grown })),
  ).toMatchObject({ reason: "STATE_SCHEMA_UNSUPPORTED", metadata: { revision: "2" } });
  const stays = (await choose(next, "c", grown)).waybill!;
  expect((await read(stays)).revision).toBe(2);
  const shrunk = (await choose(next, "a", stays)).waybill!;
  expect((await read(shrunk)).revision).toBe(1);
  const taken = await choose(back, "b", shrunk);
  expect(taken.response.order).toBe('{"$case":"b","value":7}');
  await stop(back);
});

test("without a downgrade an older replica blocks all seals", async () => {
  const old = await start(1);
  const next = await start(2, {});
  const { waybill } = await step(old.clients.checkout.beginCheckout, {});
  expect(await refusal(choose(next, "a", waybill!))).toMatchObject({
    reason: "STATE_REVISION_PENDING",
  });
  await stop(old);
  await expect.poll(() => sealsRevision(next), { timeout: 20_000 }).toBe(2);
  expect((await read((await choose(next, "a", waybill!)).waybill!)).revision).toBe(2);
});
