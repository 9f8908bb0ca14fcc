import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Anchors, createPool, type Pool } from "waybill/postgres";
import { advanceAnchors } from "#shared/anchors/sql/advanceAnchors.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { fingerprint } from "#shared/waybill/chain.ts";
import { migratedPostgres, type TestPostgres } from "../../support/postgres.ts";
import { debianProgram, type Program } from "../../support/servers/debian.ts";
import type { Suite } from "./bench.ts";
import { ratios } from "./results/figures.ts";

const ROUND_S = 3;
/** Low load: advances per second at random times, about one percent of the capacity. */
const LOW_LOAD = 200;
/** The machine's disturbances dominate a 99th percentile; many short turns spread them evenly. */
const TURNS = 10;
const TURN_S = 0.5;
const IN_FLIGHT = 50;
const SESSIONS = 20_000;
const ANSWER_BYTES = 600;
const ANSWER = randomBytes(ANSWER_BYTES);
/** Drawn beforehand: the load generator shares the CPU with the anchors, and pgbench's is written in C. */
const DIGEST_BYTES = 32;
const DIGESTS = randomBytes(DIGEST_BYTES * 1024);
const ASKED = { idempotencyDigest: randomBytes(32), requestDigest: randomBytes(32) };

export const anchors: Suite = {
  about:
    "Group commit of anchored advances, without calls, against pgbench with one row per transaction on the same server.",
  async run(bench) {
    const pgbench = debianProgram("pgbench");
    const postgres = await bench.own("Postgres", migratedPostgres(), (each) => each.remove());
    const settings = { max: IN_FLIGHT + 2, name: "bench" };
    const pool = await bench.own("the pool", createPool(postgres.url, settings), (each) =>
      each.end(),
    );
    const grouped = new Anchors(pool, "session", "bench");
    bench.step(`beginning ${SESSIONS} sessions`);
    const rows = await makeRows(grouped);
    await pool.query(PGBENCH_TABLES);

    const seconds = bench.seconds(ROUND_S);
    const rates = { grouped: [] as number[], pgbench: [] as number[] };
    for (let round = 1; round <= bench.rounds; round += 1) {
      bench.step("maximum throughput", round);
      rates.grouped.push(await drive(rows, seconds, (from, to) => grouped.advance(from, to)));
      if (pgbench === undefined) continue;
      rates.pgbench.push(drivePgbench(pgbench, postgres, Math.max(1, seconds)));
    }
    const named: Record<string, number[]> = {
      [`anchored advances in groups, ${IN_FLIGHT} in flight`]: rates.grouped,
    };
    if (pgbench === undefined) bench.results.leftOut("pgbench", "needs apt");
    else {
      named[`pgbench, ${IN_FLIGHT} clients, one row per transaction`] = rates.pgbench;
      const byRound = ratios(rates.grouped, rates.pgbench);
      bench.results.goal("advances in groups / pgbench", byRound, { unit: "×", atLeast: 2 });
    }
    bench.results.list("maximum throughput", "/s", named);

    const late = { grouped: [] as number[], alone: [] as number[] };
    for (let round = 1; round <= bench.rounds; round += 1) {
      bench.step(`${LOW_LOAD} a second`, round);
      const took = { grouped: [] as number[], alone: [] as number[] };
      for (let turn = 0; turn < (bench.isQuick ? 1 : TURNS); turn += 1) {
        took.grouped.push(...(await trickle(rows, (from, to) => grouped.advance(from, to))));
        took.alone.push(...(await trickle(rows, (from, to) => alone(pool, from, to))));
      }
      late.grouped.push(p99(took.grouped));
      late.alone.push(p99(took.alone));
    }
    bench.results.list(`p99 of ${LOW_LOAD} a second at random times`, "ms", {
      "in groups": late.grouped,
      "one by one": late.alone,
    });
    bench.results.goal(
      `p99 of ${LOW_LOAD} a second, in groups / one by one`,
      ratios(late.grouped, late.alone),
      { unit: "×", atMost: 1 },
    );
    bench.results.note(
      "pgbench runs the UPDATE on version and digest and the INSERT of the advance in one transaction. Its tables have the anchors' indexes but no partitions. Rows are created once, before all rounds.",
    );
  },
};

type Step = Parameters<Anchors["advance"]>;

interface Row {
  readonly sessionId: string;
  version: number;
  digest: Buffer;
}

async function makeRows(grouped: Anchors): Promise<Row[]> {
  const rows = Array.from({ length: SESSIONS }, () => ({
    sessionId: newUuid(),
    version: 1,
    digest: randomBytes(32),
  }));
  await Promise.all(
    rows.map((each) => grouped.create({ ...each, savedResponse: ANSWER, expiresAt: Date.now() })),
  );
  return rows;
}

type Advance = (from: Step[0], to: Step[1]) => Promise<boolean>;

/** Advances a session that has no other advance in flight. @returns its duration in ms */
async function advanceOne(rows: Row[], advance: Advance): Promise<number> {
  // Removed while an advance is in flight.
  const at = Math.floor(Math.random() * rows.length);
  const each = rows[at]!;
  rows[at] = rows.at(-1)!;
  rows.pop();
  const { version } = each;
  const next = { digest: someDigest(), identity: ASKED, savedResponse: ANSWER, ended: false };
  const start = performance.now();
  if (!(await advance({ ...each }, next))) throw new Error("an advance of the bench was refused");
  const ms = performance.now() - start;
  rows.push(Object.assign(each, { version: version + 1, digest: next.digest }));
  return ms;
}

function someDigest(): Buffer {
  const at = DIGEST_BYTES * Math.floor((Math.random() * DIGESTS.length) / DIGEST_BYTES);
  return DIGESTS.subarray(at, at + DIGEST_BYTES);
}

/** Advances random sessions for a while, with a fixed number in flight. @returns advances per second */
async function drive(rows: Row[], seconds: number, advance: Advance): Promise<number> {
  let count = 0;
  const start = performance.now();
  const end = start + seconds * 1000;
  const worker = async () => {
    for (; performance.now() < end; count += 1) await advanceOne(rows, advance);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return (count * 1000) / (performance.now() - start);
}

/** Advances sessions at independent random times. @returns the duration of each, in ms */
async function trickle(rows: Row[], advance: Advance): Promise<number[]> {
  const underWay: Promise<number>[] = [];
  let next = performance.now();
  const end = next + TURN_S * 1000;
  while (next < end) {
    // A timer would bundle the arrivals of each millisecond.
    await nextTurn();
    if (performance.now() < next) continue;
    underWay.push(advanceOne(rows, advance));
    next -= (Math.log(1 - Math.random()) * 1000) / LOW_LOAD;
  }
  return Promise.all(underWay);
}

function p99(figures: number[]): number {
  return figures.toSorted((a, b) => a - b)[Math.floor(figures.length * 0.99)]!;
}

/** The same statement for a single session. */
async function alone(pool: Pool, from: Step[0], to: Step[1]): Promise<boolean> {
  const move = {
    sessionId: from.sessionId,
    version: from.version,
    head: fingerprint("anchor", from.digest),
    nextHead: fingerprint("anchor", to.digest),
    digest: fingerprint("advance", to.digest),
    parent: fingerprint("advance", from.digest),
    call: to.identity.requestDigest,
    answer: to.savedResponse,
    ended: to.ended,
    isSaved: false,
  };
  return (await advanceAnchors(pool, "session", "bench", [move])).get(move.sessionId) === "moved";
}

/** pgbench has no memory of digests, so the digest of a version is derived from its number. */
const PGBENCH_TABLES = `
  CREATE TABLE bench_anchor (LIKE session.anchor INCLUDING ALL);
  CREATE TABLE bench_advance (LIKE session.advance INCLUDING ALL);
  INSERT INTO bench_anchor (session_id, version, head, answer)
  SELECT ('00000000-0000-7000-8000-' || number)::uuid, 1, sha256(int4send(1)),
         (SELECT answer FROM session.anchor LIMIT 1)
    FROM generate_series(100000000001, 100000000000 + ${SESSIONS}) AS number;
  INSERT INTO bench_advance (session_id, version, digest, replica)
  SELECT session_id, 1, head, 'bench' FROM bench_anchor;
  ANALYZE bench_anchor, bench_advance`;

/** A row that does not match ends the run, because \\gset requires one. */
const PGBENCH = `\\set number random(100000000001, 100000000000 + ${SESSIONS})
BEGIN;
UPDATE bench_anchor
   SET version = version + 1, head = sha256(int4send(version + 1)), answer = :answer, ended = false
 WHERE session_id = ('00000000-0000-7000-8000-' || :number)::uuid
   AND version > 0 AND head = sha256(int4send(version)) AND NOT ended
RETURNING version \\gset
INSERT INTO bench_advance (session_id, version, digest, parent, call, answer, replica)
VALUES (('00000000-0000-7000-8000-' || :number)::uuid, :version, :digest, :digest, :digest, NULL, 'bench');
COMMIT;
`;

/** @returns transactions a second */
function drivePgbench({ path, env }: Program, { url }: TestPostgres, seconds: number): number {
  const folder = mkdtempSync(join(tmpdir(), "waybill-pgbench-"));
  const script = join(folder, "advance.sql");
  const bytea = (size: number) => `'\\x${randomBytes(size).toString("hex")}'::bytea`;
  writeFileSync(
    script,
    PGBENCH.replaceAll(":answer", bytea(ANSWER_BYTES)).replaceAll(":digest", bytea(32)),
  );
  const args = ["-n", "-M", "prepared", "-c", `${IN_FLIGHT}`, "-j", "2", "-T", `${seconds}`];
  const said = execFileSync(path, [...args, "-f", script, url], {
    encoding: "utf8",
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "ignore"],
  });
  rmSync(folder, { recursive: true });
  return Number(/tps = ([\d.]+)/.exec(said)?.[1]);
}
