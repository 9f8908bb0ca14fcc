import { type ChildProcess, fork } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import { Mode } from "#proto/waybill/options/v1/options.ts";
import type { SessionState } from "#proto/waybill/session/v1/session.ts";
import { bearer, Callers } from "../../support/callers/callers.ts";
import { shop } from "../../support/callers/shopper.ts";
import { type Clients, makeClients } from "../../support/clients.ts";
import { startTestCluster, type TestCluster } from "../../support/cluster.ts";
import { step } from "../../support/step.ts";
import type { Bench, Suite } from "./bench.ts";
import { exactCpuUsOfTree } from "./processTimes.ts";

const IN_FLIGHT = 32;
const ROUND_S = 3;
/** An idle connection has reported its writes by then. */
const REPORTED_MS = 11_000;
/** Characters of a spilled state. */
const STATE_CHARS = 10_000;
/** Advances before a worker begins a new session, far below a session's quota. */
const SPILLS_A_SESSION = 100;

/** The repeated call of one worker. */
type Worker = () => Promise<unknown>;

/** Measures of each kind. */
const MEASURES = [
  { name: "rate", unit: "calls/s" },
  { name: "p50", unit: "ms" },
  { name: "p99", unit: "ms" },
  { name: "replicas", unit: "µs of CPU" },
  { name: "program", unit: "µs of CPU" },
  { name: "Postgres", unit: "µs of CPU" },
  { name: "front proxy", unit: "µs of CPU" },
  { name: "WAL", unit: "bytes" },
  { name: "written", unit: "rows" },
] as const;

type Measured = Record<(typeof MEASURES)[number]["name"], number[]>;

export const sessions: Suite = {
  about: `Cost of each kind of call in the reference cluster, ${IN_FLIGHT} in flight, kinds in turn.`,
  run: measureKinds,
};

/**
 * Calls go through the front proxy, except those of the program whose sessions are anchored at the session
 * service: it is a separate process, called directly.
 */
async function measureKinds(bench: Bench): Promise<void> {
  // The owner's token outlasts all rounds.
  const starting = startTestCluster({ replicaEnv: { WAYBILL_ACCESS_TOKEN_LIFE_S: "3600" } });
  const cluster = await bench.own("the cluster", starting, (each) => each.remove());
  const clients = makeClients(cluster.target, { withJar: false });
  const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  const { accessToken: token } = await callers.signIn(await callers.person());
  const db = new Client({ connectionString: cluster.databaseUrl });
  // An interrupted bench stops Postgres before its connection.
  db.on("error", () => {});
  await db.connect();
  await bench.own("the connection", db, (each) => each.end());
  const program = await bench.own("the program", startProgram(cluster), endProgram);
  const ofProgram = makeClients(program.target, { withJar: false });
  const kinds: Record<string, () => Promise<Worker>> = {
    "carried read": () => reader(clients),
    "carried advance": () => advancer(clients, Mode.MODE_CARRIED),
    "carried advance, checkpoint of each version": () =>
      advancer(clients, Mode.MODE_CARRIED, token),
    "anchored advance, in groups": () => advancer(clients, Mode.MODE_ANCHORED),
    "anchored advance, at the session service, no front proxy": () =>
      advancer(ofProgram, Mode.MODE_ANCHORED),
    "a retried order: step and read, one transaction": () => placer(cluster),
    "spilled advance, 10 KB, alternating stored states": () => turner(clients),
    "spilled advance, 10 KB, new states": () => spiller(clients),
    "resume, anchored": () => resumer(clients, token, Mode.MODE_ANCHORED),
    "resume, carried: a new session": () => resumer(clients, token, Mode.MODE_CARRIED),
  };
  const workers = new Map<string, Worker[]>();
  for (const [kind, make] of Object.entries(kinds)) {
    bench.step(`beginning: ${kind}`);
    workers.set(kind, await Promise.all(Array.from({ length: IN_FLIGHT }, make)));
  }
  const measured = new Map<string, Measured>();
  for (let round = 1; round <= bench.rounds; round += 1) {
    // Only in the last round, because it is slow.
    const isLast = round === bench.rounds && !bench.isQuick;
    let written = isLast ? await rowsWritten(db) : undefined;
    for (const [kind, own] of workers) {
      bench.step(kind, round);
      const figures = await measure(
        { cluster, programPid: program.process.pid!, db, seconds: bench.seconds(ROUND_S) },
        own,
      );
      const each: Measured = measured.get(kind) ?? {
        ...{ rate: [], p50: [], p99: [], replicas: [], program: [] },
        ...{ Postgres: [], "front proxy": [], WAL: [], written: [] },
      };
      measured.set(kind, each);
      for (const name of Object.keys(figures.of) as (keyof typeof figures.of)[]) {
        each[name].push(figures.of[name]);
      }
      if (written === undefined) continue;
      const now = await rowsWritten(db);
      each.written.push((now - written) / figures.calls);
      written = now;
    }
  }
  if (bench.isQuick) bench.results.leftOut("rows written", "not in a quick run");
  const shown = MEASURES.filter(({ name }) => name !== "written" || !bench.isQuick);
  bench.results.table("a call", shown, measured);
  callers.close();
  clients.close();
  ofProgram.close();
}

/**
 * Starts a replica of a program without its own Postgres; its sessions are anchored at the cluster's first
 * replica.
 */
async function startProgram(
  cluster: TestCluster,
): Promise<{ process: ChildProcess; target: string }> {
  const credentials = join(cluster.dataDir, "secrets", "credentials");
  const [first] = cluster.status().replicas;
  const process = fork(join(import.meta.dirname, "elsewhere.ts"), [first!.address, credentials]);
  const [target] = (await once(process, "message")) as [string];
  return { process, target };
}

async function endProgram({ process }: { process: ChildProcess }): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const exited = once(process, "exit");
  if (process.connected) process.disconnect();
  await exited;
}

interface Measuring {
  readonly cluster: TestCluster;
  readonly programPid: number;
  readonly db: Client;
  readonly seconds: number;
}

async function measure(
  { cluster, programPid, db, seconds: wanted }: Measuring,
  workers: readonly Worker[],
) {
  const { replicas, postgres, frontProxy } = cluster.status();
  const cpu = () => ({
    replicas: replicas.reduce((sum, { pid }) => sum + exactCpuUsOfTree(pid), 0),
    program: exactCpuUsOfTree(programPid),
    Postgres: exactCpuUsOfTree(postgres!.pid),
    "front proxy": exactCpuUsOfTree(frontProxy!.pid),
  });
  const latencies: number[] = [];
  const before = cpu();
  const wal = await walWritten(db);
  const start = performance.now();
  await Promise.all(
    workers.map(async (work) => {
      while (performance.now() - start < wanted * 1000) {
        const at = performance.now();
        await work();
        latencies.push(performance.now() - at);
      }
    }),
  );
  const seconds = (performance.now() - start) / 1000;
  const after = cpu();
  const walAfter = await walWritten(db);
  const calls = latencies.length;
  latencies.sort((a, b) => a - b);
  const cost = (of: keyof typeof before) => (after[of] - before[of]) / calls;
  return {
    calls,
    of: {
      rate: calls / seconds,
      p50: latencies[Math.floor(calls * 0.5)]!,
      p99: latencies[Math.floor(calls * 0.99)]!,
      replicas: cost("replicas"),
      program: cost("program"),
      Postgres: cost("Postgres"),
      "front proxy": cost("front proxy"),
      WAL: (walAfter - wal) / calls,
    },
  };
}

async function walWritten(db: Client): Promise<number> {
  const { rows } = await db.query<{ wal: string }>(
    "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal",
  );
  return Number(rows[0]!.wal);
}

async function rowsWritten(db: Client): Promise<number> {
  await delay(REPORTED_MS);
  const { rows } = await db.query<{ written: string }>(`
    SELECT tup_inserted + tup_updated + tup_deleted AS written
      FROM pg_stat_database WHERE datname = current_database()`);
  return Number(rows[0]!.written);
}

const state = (): SessionState => ({ value: { $case: "json", value: { at: randomUUID() } } });

async function reader({ session }: Clients): Promise<Worker> {
  const { waybill } = await step(session.beginSession, { state: state(), waybill: undefined });
  return () => step(session.openSession, { waybill: undefined }, { waybill });
}

/** @param token of an owner, who checkpoints each version. Default: anonymous */
async function advancer({ session }: Clients, mode: Mode, token?: string): Promise<Worker> {
  const checkpointEvery = token === undefined ? 0 : 1;
  const first = { state: state(), waybill: undefined, mode, checkpointEvery };
  let { waybill } = await step(session.beginSession, first, { token });
  return async () => {
    const request = { state: state(), waybill: undefined };
    const sent = { waybill, key: randomUUID(), token };
    ({ waybill } = await step(session.advanceSession, request, sent));
  };
}

const largeState = (): SessionState => ({
  value: { $case: "json", value: { text: randomBytes(STATE_CHARS / 2).toString("hex") } },
});

/**
 * Each state is a new row, including a session's first; one call in a hundred begins a session. Each write
 * first sums the session's stored states, so more of them would cost more.
 */
async function spiller({ session }: Clients): Promise<Worker> {
  const begin = async () =>
    (await step(session.beginSession, { state: largeState(), waybill: undefined })).waybill;
  let waybill = await begin();
  let spills = 1;
  return async () => {
    if (spills === SPILLS_A_SESSION) {
      waybill = await begin();
      spills = 1;
      return;
    }
    const request = { state: largeState(), waybill: undefined };
    ({ waybill } = await step(session.advanceSession, request, { waybill }));
    spills += 1;
  };
}

/** Each session has stored both states before the measurement, so nothing is written. */
async function turner({ session }: Clients): Promise<Worker> {
  const states = [largeState(), largeState()];
  let turn = 0;
  let { waybill } = await step(session.beginSession, { state: states[0], waybill: undefined });
  const work = async () => {
    turn += 1;
    const request = { state: states[turn % 2], waybill: undefined };
    ({ waybill } = await step(session.advanceSession, request, { waybill }));
  };
  await work();
  return work;
}

/**
 * Retries a placed order: the session's step and a read of the order in the service's transaction, which
 * writes no row of the service.
 */
async function placer(cluster: TestCluster): Promise<Worker> {
  const clients = makeClients(cluster.target);
  await shop(clients, 1 + Math.floor(Math.random() * 3000));
  return () => clients.checkout.placeOrder({});
}

async function resumer({ session }: Clients, token: string, mode: Mode): Promise<Worker> {
  const first = { state: state(), waybill: undefined, mode, checkpointEvery: 1 };
  const begun = await step(session.beginSession, first, { token });
  const { name } = begun.response.session!;
  return () => session.resumeSession({ name }, bearer(token));
}
