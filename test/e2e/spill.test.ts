import { randomBytes } from "node:crypto";
import type { ServiceError } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readError } from "waybill";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import type { SessionState } from "#proto/waybill/session/v1/session.ts";
import { bearer, Callers } from "../support/callers/callers.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";
import { step } from "../support/step.ts";

let cluster: TestCluster;
let clients: Clients;
let db: Client;
beforeAll(async () => {
  cluster = await startTestCluster();
  clients = makeClients(cluster.target, { withJar: false, retries: false });
  db = new Client({ connectionString: cluster.databaseUrl });
  await db.connect();
});
afterAll(async () => {
  await db?.end();
  clients?.close();
  await cluster?.remove();
});

const stateOf = (size: number): SessionState => ({
  value: { $case: "json", value: { text: randomBytes(size / 2).toString("hex") } },
});
const begin = (size: number, mode: Mode, token?: string) =>
  step(clients.session.beginSession, { state: stateOf(size), waybill: undefined, mode }, { token });
const advance = (waybill: string | undefined, state: SessionState) =>
  step(clients.session.advanceSession, { state, waybill: undefined }, { waybill });
const open = async (waybill: string | undefined) =>
  (await step(clients.session.openSession, { waybill: undefined }, { waybill })).response;
const rows = async () =>
  Number((await db.query("SELECT count(*) FROM session.spill")).rows[0].count);

describe.each([
  ["carried", Mode.MODE_CARRIED],
  ["anchored", Mode.MODE_ANCHORED],
])("the state of a session that is %s", (_, mode) => {
  test("spills to Postgres when too large, returns when small", async () => {
    let { waybill } = await begin(100, mode);
    const before = await rows();
    for (const [size, kept] of [
      [2000, 0],
      [10_000, 1],
      [900_000, 2],
      [2000, 2],
    ] as const) {
      const state = stateOf(size);
      ({ waybill } = await advance(waybill, state));
      expect(waybill!.length).toBeLessThanOrEqual(4096);
      // Every replica can open it.
      for (let again = 0; again < 4; again += 1) {
        expect((await open(waybill)).state).toMatchObject(state);
      }
      expect((await rows()) - before).toBe(kept);
    }
  });

  test("above 1 MiB is refused, and nothing is written", async () => {
    const { waybill } = await begin(100, mode);
    const before = await rows();
    const report = await refusal(advance(waybill, stateOf(2 ** 20)));
    expect(report).toMatchObject({ reason: "STATE_TOO_LARGE", metadata: { limit: "1048576" } });
    expect((await refusal(begin(2 ** 20, mode))).reason).toBe("STATE_TOO_LARGE");
    expect(await rows()).toBe(before);
    await advance(waybill, stateOf(100));
  });

  test("is refused when its row was altered or deleted", async () => {
    for (const change of [
      "UPDATE session.spill SET content = set_byte(content, 50, get_byte(content, 50) # 1)",
      "DELETE FROM session.spill",
    ]) {
      const { waybill } = await begin(10_000, mode);
      await db.query(change);
      // A replica that has it in its cache still serves it; the other one does not.
      const answers = [];
      for (let again = 0; again < 12; again += 1) {
        const answer = open(waybill).then(
          () => "OK",
          (error: ServiceError) => readError(error).reason,
        );
        answers.push(await answer);
      }
      const refused = answers.filter((answer) => answer === "WAYBILL_INVALID");
      expect(new Set(answers)).toEqual(new Set(["OK", "WAYBILL_INVALID"]));
      expect(refused.length).toBeGreaterThan(0);
    }
  });

  test("is stored up to a quota", async () => {
    let { waybill } = await begin(900_000, mode);
    const until = async () => {
      for (let turn = 0; turn < 40; turn += 1) {
        ({ waybill } = await advance(waybill, stateOf(900_000)));
      }
    };
    expect(await refusal(until())).toMatchObject({ reason: "SPILL_QUOTA_EXCEEDED" });
    // The session continues with a smaller state.
    await advance(waybill, stateOf(100));
  });
});

test("an anchored session's failed step stores no state", async () => {
  const { waybill: first } = await begin(100, Mode.MODE_ANCHORED);
  const big = stateOf(900_000);
  const before = await rows();
  const again = () => advance(first, big);
  const { waybill: second } = await again();
  expect((await again()).waybill).toBeDefined();
  expect((await rows()) - before).toBe(1);
  // Stale calls must not use up the session's quota of sixteen such states.
  for (let turn = 0; turn < 20; turn += 1) {
    expect((await refusal(advance(first, stateOf(900_000)))).reason).toBe("WAYBILL_STALE");
  }
  expect((await rows()) - before).toBe(1);
  const together = [1, 2, 3, 4, 5, 6].map(() => advance(second, stateOf(900_000)));
  const outcomes = (await Promise.allSettled(together)).map(({ status }) => status);
  expect(outcomes.filter((status) => status === "fulfilled")).toHaveLength(1);
  expect((await rows()) - before).toBe(2);
});

test("a spilled state is resumed", async () => {
  const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  const { accessToken: token } = await callers.signIn(await callers.person());
  const begun = await begin(50_000, Mode.MODE_ANCHORED, token);
  const { name } = begun.response.session!;
  const resumed = await step(clients.session.resumeSession, { name }, { token });
  const read = await clients.session.openSession(
    { waybill: undefined },
    (() => {
      const settings = bearer(token);
      settings.metadata.set("waybill", resumed.waybill!);
      return settings;
    })(),
  );
  expect(read.state).toEqual(resumed.response.state);
  expect(JSON.stringify(read.state).length).toBeGreaterThan(50_000);
  callers.close();
});
