import type { ServiceError } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Anchors } from "#shared/anchors/anchors.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import { readError } from "#shared/errors.ts";
import type { RingWatcher } from "#shared/rings/ringWatcher.ts";
import { fromCompact } from "#shared/waybill/jwe.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { type Upgrades, upgrade } from "#shared/waybill/state/upgrades.ts";
import { makeClients } from "../support/clients.ts";
import { seededRandom } from "../support/random.ts";
import { makeRingSource } from "../support/rings.ts";
import { step } from "../support/step.ts";
import { type FrontProxy, startFrontProxy } from "./frontProxy.ts";
import { type KeyService, startKeyService } from "./keyService.ts";
import { contractOf, GET_CHECKOUT, type Replica } from "./program.ts";
import {
  BRANCHES,
  type Branch,
  type Codecs,
  choiceOf,
  compilePrograms,
  knows,
  PROGRAMS,
  type Program,
  serve,
} from "./programs.ts";

const REVISIONS = { old: 1, current: 1, next: 2 };

const SOME = expect.toSatisfy((count: number) => count > 0);

interface Running extends Replica {
  readonly ring: RingWatcher;
  /** Number of calls that set each branch. */
  readonly asked: Partial<Record<Branch, number>>;
}

/** A session and its last write. Each response names the program that made the change. */
interface Written {
  waybill: string;
  readonly fields: Partial<Record<Program, string>>;
  choice: { $case: Branch; value: unknown } | undefined;
}

let keys: KeyService;
let frontProxy: FrontProxy;
let codecs: Codecs;
/** Between the revisions: the older one cannot express `e`, but preserves unknown fields. */
let upgrades: Upgrades;
const savedResponses = new SavedResponses("checkout", makeRingSource(savedAudience("checkout")));
const running = new Map<Program, Running>();

beforeAll(async () => {
  [codecs, keys, frontProxy] = await Promise.all([
    compilePrograms({ grown: true }),
    startKeyService(),
    startFrontProxy(),
  ]);
  const { current, next } = codecs;
  upgrades = {
    1: upgrade(
      current,
      next,
      (state) => next.decode(current.encode(state).finish()),
      (state) => {
        const choice = state["choice"] as { $case: Branch } | undefined;
        return choice?.$case === "e" ? undefined : current.decode(next.encode(state).finish());
      },
    ),
  };
});
afterEach(async () => {
  for (const program of [...running.keys()]) await end(program);
});
afterAll(async () => {
  await frontProxy?.close();
  await keys?.close();
});

async function start(program: Program, mode: "carried" | "anchored"): Promise<void> {
  const revision = REVISIONS[program];
  const ring = await keys.lease(revision);
  const asked: Running["asked"] = {};
  const replica = await serve(program, codecs, {
    revision,
    mode,
    ring,
    upgrades: revision === 1 ? {} : upgrades,
    anchorage: { anchors: new Anchors(keys.pool, "checkout", program), savedResponses },
    asked: (branch) => {
      asked[branch] = 1 + (asked[branch] ?? 0);
    },
  });
  running.set(program, { ...replica, ring, asked });
}

/** Drains a replica and releases its lease. */
async function end(program: Program): Promise<void> {
  const { server, ring } = running.get(program)!;
  running.delete(program);
  await server.drain();
  await ring.close();
}

/** Routes calls to these programs' replicas alone. */
const leadTo = (...programs: Program[]) =>
  frontProxy.leadTo(programs.map((program) => running.get(program)!.address));

test.each(["carried", "anchored"] as const)(
  "three releases serve %s sessions while a oneof grows",
  async (mode) => {
    for (const program of PROGRAMS) await start(program, mode);
    await leadTo(...PROGRAMS);
    const { ring, asked } = running.get("next")!;
    await expect.poll(() => ring.sealing()?.revision).toBe(1);
    const clients = makeClients(frontProxy.target, { withJar: false, retries: false });
    const contract = contractOf(2, mode).method(GET_CHECKOUT).session!;
    const reader = new Sessions(contract, codecs.next, ring, { upgrades });

    /** Checks that a waybill holds every write, in the given revision. */
    async function expectWritten({ waybill, fields, choice }: Written, revision: number) {
      const { state, envelope } = await reader.open(fromCompact(waybill)!);
      const { old = "", current = "", next = "" } = fields;
      expect(envelope.stateRevision).toBe(revision);
      expect(state).toMatchObject({
        old,
        current,
        next: BigInt(next.slice("products/".length)),
        part: { old: old || "begun", current, next: Buffer.from(next) },
      });
      expect(state["choice"]).toEqual(choice);
    }

    /** Changes a session on any replica. @returns the program that did; "pending" if none could */
    async function change(session: Written, branch: Branch): Promise<Program | "pending"> {
      const product = `products/${1 + random.below(1_000_000)}`;
      const quantity = BRANCHES.indexOf(branch);
      // A request may not contain the quantity zero.
      const request = quantity === 0 ? { product } : { product, quantity };
      const { waybill } = session;
      try {
        const made = await step(clients.checkout.addItem, request, { waybill });
        const program = made.response.order as Program;
        session.waybill = made.waybill!;
        session.fields[program] = product;
        if (knows(program, branch)) session.choice = choiceOf(branch, product);
        return program;
      } catch (error) {
        const { reason, metadata } = readError(error as ServiceError);
        expect(`${reason} ${metadata["revision"]}, ${branch}`).toBe("STATE_REVISION_PENDING 2, e");
        return "pending";
      }
    }

    /** Makes random changes, and counts their outcomes. */
    async function changes(times: number, revision: number): Promise<Record<string, number>> {
      const outcomes: Record<string, number> = {};
      for (let turn = 0; turn < times; turn += 1) {
        const session = sessions[random.below(sessions.length)]!;
        const outcome = await change(session, BRANCHES[random.below(BRANCHES.length)]!);
        outcomes[outcome] = 1 + (outcomes[outcome] ?? 0);
        await expectWritten(session, revision);
      }
      return outcomes;
    }

    const random = seededRandom();
    const sessions: Written[] = [];
    for (let count = 0; count < 5; count += 1) {
      const { waybill } = await step(clients.checkout.beginCheckout, {});
      sessions.push({ waybill: waybill!, fields: {}, choice: undefined });
    }
    // The front proxy retries a call that a program cannot serve yet on another replica, if it may be repeated:
    // that one applies the fields that it knows.
    expect(await changes(150, 1)).toMatchObject({ old: SOME, current: SOME, next: SOME });
    expect(asked.e).toEqual(SOME);

    await leadTo("current", "next");
    await end("old");
    expect(await changes(60, 1)).toMatchObject({ current: SOME, next: SOME });

    // A replica that reads only the older revision blocks the upgrade, even without calls.
    await leadTo("next");
    const waiting = await changes(40, 1);
    expect(waiting).toEqual({ next: SOME, pending: SOME });
    expect(await change(sessions[0]!, "e")).toBe("pending");
    await expectWritten(sessions[0]!, 1);

    await end("current");
    await expect.poll(() => ring.sealing()?.revision, { timeout: 20_000 }).toBe(2);
    for (const session of sessions) {
      await expectWritten(session, 1);
      expect(await change(session, "e")).toBe("next");
      await expectWritten(session, 2);
    }
    expect(await changes(40, 2)).toEqual({ next: 40 });
    clients.close();
  },
);
