import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fromCompact, toCompact } from "waybill/testing";
import type { EnvelopeV1 } from "#proto/waybill/envelope/v1/envelope.ts";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import { SessionState } from "#proto/waybill/session/v1/session.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { uuidFromBytes, uuidToBytes } from "#shared/runtime/uuid.ts";
import { Callers } from "../support/callers/callers.ts";
import { type Stolen, stealRing } from "../support/callers/ringThief.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";
import { step } from "../support/step.ts";

const OPEN = "/waybill.session.v1.SessionService/OpenSession";
const ADVANCE = "/waybill.session.v1.SessionService/AdvanceSession";

let cluster: TestCluster;
let clients: Clients;
let callers: Callers;
let db: Client;
let stolen: Stolen<SessionState>;
beforeAll(async () => {
  cluster = await startTestCluster();
  clients = makeClients(cluster.target, { withJar: false, retries: false });
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  stolen = await stealRing(cluster, OPEN, SessionState);
  db = new Client({ connectionString: cluster.databaseUrl });
  await db.connect();
});
afterAll(async () => {
  await db?.end();
  callers?.close();
  clients?.close();
  await cluster?.remove();
});

const stateOf = (size: number): SessionState => ({
  value: { $case: "json", value: { text: randomBytes(size / 2).toString("hex") } },
});
const begin = async (size = 100, token?: string) => {
  const first = { state: stateOf(size), waybill: undefined, mode: Mode.MODE_ANCHORED };
  return (await step(clients.session.beginSession, first, { token })).waybill!;
};
const write = (
  waybill: string,
  { key, token, size = 100 }: Parameters<typeof step>[2] & { size?: number } = {},
) =>
  step(
    clients.session.advanceSession,
    { state: stateOf(size), waybill: undefined },
    { waybill, token, ...(key !== undefined && { key }) },
  );
/** JSON objects or lists, nested `depth` deep. */
const nested = (shape: "objects" | "lists", depth: number): SessionState => {
  let value: unknown = 1;
  for (let level = 0; level < depth; level += 1) value = shape === "lists" ? [value] : { value };
  return { value: { $case: "json", value: { value } } };
};
const read = (waybill: string) =>
  step(clients.session.openSession, { waybill: undefined }, { waybill });

const idOf = async (waybill: string) => uuidFromBytes((await stolen.envelopeOf(waybill)).sessionId);
/** Reseals a waybill with another content, under the audience's own key. */
const forge = async (waybill: string, change: Partial<EnvelopeV1>) =>
  toCompact(stolen.sessions.seal({ ...(await stolen.envelopeOf(waybill)), ...change }));
/** Forks a session: only a thief of the ring can seal this next version. */
const fork = async (waybill: string) => {
  const { sessions } = stolen;
  const opened = await sessions.open(fromCompact(waybill)!);
  return toCompact(sessions.seal(sessions.successor(opened, sessions.encode(opened.state))));
};

interface Case {
  readonly reason: string;
  /** Default: a method that advances the session. */
  readonly method?: string;
  /** Prepares the session. @returns makes the call that the replica must refuse */
  make(): Promise<() => Promise<unknown>>;
}

const CASES: Record<string, Case> = {
  "a missing session": {
    reason: "WAYBILL_INVALID",
    async make() {
      const waybill = await forge(await begin(), { sessionId: uuidToBytes(newUuid()) });
      return () => write(waybill);
    },
  },
  "an ended session": {
    reason: "WAYBILL_ENDED",
    async make() {
      const waybill = await begin();
      await step(clients.session.endSession, { waybill: undefined }, { waybill });
      return () => write(waybill);
    },
  },
  "another owner's session": {
    reason: "WAYBILL_INVALID",
    async make() {
      const [hers, his] = await Promise.all(
        [1, 2].map(async () => (await callers.signIn(await callers.person())).accessToken),
      );
      const waybill = await begin(100, hers);
      return () => write(waybill, { token: his });
    },
  },
  "an older version": {
    reason: "WAYBILL_STALE",
    async make() {
      const waybill = await begin();
      await write(waybill);
      return () => write(waybill);
    },
  },
  "a future version": {
    reason: "WAYBILL_INVALID",
    async make() {
      const waybill = await fork(await begin());
      return () => write(waybill);
    },
  },
  "an impossible version": {
    reason: "WAYBILL_INVALID",
    async make() {
      const waybill = await forge(await begin(), { version: 2 ** 31 - 1 });
      return () => write(waybill);
    },
  },
  "a forged chain": {
    reason: "WAYBILL_INVALID",
    async make() {
      const first = await begin();
      const waybill = await fork(first);
      await write(first);
      return () => write(waybill);
    },
  },
  "a long idempotency key": {
    reason: "IDEMPOTENCY_KEY_INVALID",
    async make() {
      const waybill = await begin();
      return () => write(waybill, { key: "x".repeat(256) });
    },
  },
  "an idempotency key of another request": {
    reason: "IDEMPOTENCY_KEY_REUSED",
    async make() {
      const waybill = await begin();
      await write(waybill, { key: "k" });
      return () => write(waybill, { key: "k" });
    },
  },
  "a state beyond the limit": {
    reason: "STATE_TOO_LARGE",
    async make() {
      const waybill = await begin();
      return () => write(waybill, { size: 2 ** 20 });
    },
  },
  "another session's spill reference": {
    reason: "WAYBILL_INVALID",
    async make() {
      const { content } = await stolen.envelopeOf(await begin(20_000));
      expect(content?.$case).toBe("spill");
      const waybill = await forge(await begin(), { content });
      return () => write(waybill);
    },
  },
  "another session's spill reference, read": {
    reason: "WAYBILL_INVALID",
    method: OPEN,
    async make() {
      const { content } = await stolen.envelopeOf(await begin(20_000));
      const waybill = await forge(await begin(), { content });
      return () => read(waybill);
    },
  },
  "an altered spill row": {
    reason: "WAYBILL_INVALID",
    async make() {
      const { content } = await stolen.envelopeOf(await begin(20_000));
      // No replica has this session in its cache: the damaged row is stored under a new session's id.
      const waybill = await forge(await begin(), { content });
      await db.query(
        `INSERT INTO session.spill (session_id, address, content)
         SELECT $1, address, set_byte(content, 50, get_byte(content, 50) # 1)
           FROM session.spill WHERE address = $2`,
        [await idOf(waybill), content?.$case === "spill" && content.value.address],
      );
      return () => write(waybill);
    },
  },
  "a rolled-back anchor row": {
    reason: "WAYBILL_INVALID",
    async make() {
      const waybill = (await write(await begin())).waybill!;
      await db.query("UPDATE session.anchor SET version = 1 WHERE session_id = $1", [
        await idOf(waybill),
      ]);
      return () => write(waybill);
    },
  },
  "a swapped anchor row": {
    reason: "WAYBILL_INVALID",
    async make() {
      const [waybill, other] = [await begin(), await begin()];
      await db.query(
        `UPDATE session.anchor SET head = other.head, answer = other.answer
           FROM session.anchor AS other WHERE anchor.session_id = $1 AND other.session_id = $2`,
        [await idOf(waybill), await idOf(other)],
      );
      return () => write(waybill);
    },
  },
};

/** Digests the service's tables: a count and an MD5 for each. */
async function tableDigests(): Promise<unknown> {
  const sums = ["anchor", "advance", "spill", "directory", "checkpoint"].map(
    (table) =>
      `(SELECT count(*) || md5(coalesce(string_agg(row::text, '' ORDER BY row::text), ''))
          FROM session.${table} AS row) AS ${table}`,
  );
  return (await db.query(`SELECT ${sums.join(", ")}`)).rows[0];
}

/** Reads the refusals and failures that the replicas have logged. */
function loggedFailures(): string[] {
  return cluster.status().replicas.flatMap(({ number }) =>
    readFileSync(join(cluster.dataDir, "logs", `replica-${number}.log`), "utf8")
      .split("\n")
      .filter((line) => line.includes('"msg":"call ')),
  );
}

test.each(Object.entries(CASES))(
  "%s is refused and logged once",
  async (_, { reason, method = ADVANCE, make }) => {
    const call = await make();
    const [before, known] = [await tableDigests(), new Set(loggedFailures())];
    expect((await refusal(call())).reason).toBe(reason);
    const lines = loggedFailures().filter((line) => !known.has(line));
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ method, reason }]);
    expect(await tableDigests()).toEqual(before);
  },
);

test.each(["objects", "lists"] as const)(
  "every sealed state of nested %s opens again",
  async (shape) => {
    const counts = { sealed: 0, refused: 0 };
    for (const mode of [Mode.MODE_CARRIED, Mode.MODE_ANCHORED]) {
      const first = { state: nested(shape, 1), waybill: undefined, mode };
      let waybill = (await step(clients.session.beginSession, first)).waybill!;
      let held = first.state;
      for (let depth = 26; depth < 56; depth += 1) {
        const state = nested(shape, depth);
        const advance = step(
          clients.session.advanceSession,
          { state, waybill: undefined },
          { waybill },
        );
        const begin = step(clients.session.beginSession, { ...first, state });
        const [advanced, begun] = await Promise.allSettled([advance, begin]);
        expect(begun.status).toBe(advanced.status);
        if (advanced.status === "fulfilled" && begun.status === "fulfilled") {
          waybill = advanced.value.waybill!;
          held = state;
          counts.sealed += 1;
          expect((await read(begun.value.waybill!)).response.state).toMatchObject(state);
        } else {
          for (const call of [advance, begin]) {
            expect((await refusal(call)).code).toBe(status.INVALID_ARGUMENT);
          }
          counts.refused += 1;
        }
        expect((await read(waybill)).response.state).toMatchObject(held);
      }
    }
    expect(Math.min(counts.sealed, counts.refused)).toBeGreaterThan(0);
  },
);
