import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { Anchors, createPool, type Pool } from "waybill/postgres";
import { BasketRequest } from "#proto/waybill/bench/v1/bench.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { toolPath } from "../../../deploy/local/tools.ts";
import type { Bench, Suite } from "./bench.ts";
import type { Store } from "./contender.ts";
import { putLoad } from "./load.ts";
import { beginSessions } from "./peers/beginSessions.ts";
import type { PeerSettings } from "./peers/peer.ts";
import { type Peer, startPeer } from "./peers/start.ts";
import { PROTOSET } from "./peers/waybillSession.ts";
import { residentMbOfTree } from "./processTimes.ts";
import { count as countText } from "./results/figures.ts";
import { postgresStore, redisStore } from "./stores.ts";

const MANY = 1_000_000;
const FEW_SHARE = 0.01;
/** Sessions begun by calls; the others are begun in groups without calls. */
const MOST_ANCHORED_CALLS = 100_000;
const SIZE = 195;
/** Enough calls for a process to release its start-up memory. */
const FIRST_CALLS = 20_000;
const AT_A_TIME = 100_000;
const GROUP = 4000;
const MB = 2 ** 20;
/** A stored session would take more than its id. */
const ID_BYTES = 16;

const BEGIN = BasketRequest.encode({ waybill: undefined, size: SIZE }).finish();

/** The control: memory left by calls is not counted as sessions. */
const READS = "… as many reads of 1,000 sessions instead";

/** MB held or resident with no sessions, a few, and many. */
type ByCount = number[];

export const memory: Suite = {
  about: `Memory and storage of live sessions with a state of ${SIZE + 5} bytes.`,
  async run(bench) {
    if (toolPath("waybill-load") === undefined) {
      bench.results.leftOut("everything", "the load generator needs Go");
      return;
    }
    const many = bench.calls(MANY);
    const counts = [0, Math.ceil(many * FEW_SHARE), many];
    const held = new Map<string, ByCount>();
    const resident = new Map<string, ByCount>();
    const kept = new Map<string, ByCount>();
    const tables = { held, resident, kept };
    await carriedSessions(bench, counts, tables);
    await redisSessions(bench, counts, tables);
    await anchoredSessions(bench, counts, tables);
    const measures = counts.map((count) => ({ name: sessionsText(count), unit: "MB" }));
    const rows = (each: Map<string, ByCount>) =>
      Array.from(each, ([name, byCount]) => {
        const figures = byCount.map((mb, index) => [measures[index]!.name, [mb]] as const);
        return [name, Object.fromEntries(figures)] as const;
      });
    bench.results.table("held by the service after garbage collection", measures, rows(held));
    bench.results.table("resident memory of the service", measures, rows(resident));
    bench.results.table("in a store", measures, rows(kept));
    bench.results.note(
      "Measured once, not in rounds. Held: the heap and memory outside it, after three garbage collections. The control is another process of the same program that served as many reads without new sessions, so that memory left by calls is not counted as sessions.",
    );
  },
};

interface Tables {
  readonly held: Map<string, ByCount>;
  readonly resident: Map<string, ByCount>;
  readonly kept: Map<string, ByCount>;
}

function sessionsText(count: number): string {
  return count === 0 ? "no session" : `${countText(count)} sessions`;
}

function startHeld(bench: Bench, kind: string, settings: PeerSettings): Promise<Peer> {
  bench.step(`starting ${kind}`);
  return bench.own(kind, startPeer(kind, settings, ["--expose-gc"]), (each) => each.end());
}

async function carriedSessions(bench: Bench, counts: readonly number[], tables: Tables) {
  const key = randomBytes(32).toString("base64url");
  const beginning = await startHeld(bench, "waybill", { key });
  const reading = await startHeld(bench, "waybill", { key });
  const begins = "Waybill, carried: begins";
  await weigh(tables, begins, beginning, () => begin(bench, beginning, bench.calls(FIRST_CALLS)));
  await weigh(tables, READS, reading, () => read(bench, reading, bench.calls(FIRST_CALLS)));
  for (const more of steps(counts)) {
    await weigh(tables, begins, beginning, () => begin(bench, beginning, more));
    await weigh(tables, READS, reading, () => read(bench, reading, more));
  }
  const more = counts[2]! - counts[1]!;
  const grown = growthBySessions(tables.held, begins);
  bench.results.goal(
    `bytes in a service for each of ${countText(more)} more carried sessions, over as many reads`,
    [(grown * MB) / more],
    { unit: "B", atMost: ID_BYTES },
  );
}

async function redisSessions(bench: Bench, counts: readonly number[], tables: Tables) {
  const store = await redisStore(bench);
  if (store === undefined) return;
  const { store: url } = store.settings(store.address);
  const redis = await bench.own("the connection", new Redis(url!), (each) => each.quit());
  const peer = await startHeld(bench, "redis", { store: url! });
  const name = "Redis session: begins";
  const used: ByCount = [];
  const note = async () => {
    const info = await redis.info("memory");
    used.push(Number(/^used_memory:(\d+)/m.exec(info)?.[1]) / MB);
  };
  await note();
  await weigh(tables, name, peer, () => begin(bench, peer, bench.calls(FIRST_CALLS)));
  // Warm-up sessions do not count.
  await redis.flushall();
  for (const more of steps(counts)) {
    await weigh(tables, name, peer, () => begin(bench, peer, more));
    await note();
  }
  tables.kept.set("Redis: used_memory", used);
  bench.results.list("in a store, per session", "bytes", {
    Redis: [((used.at(-1)! - used[0]!) * MB) / counts.at(-1)!],
  });
}

async function anchoredSessions(bench: Bench, counts: readonly number[], tables: Tables) {
  const store = await postgresStore(bench);
  const pool = await poolOf(bench, store);
  const key = randomBytes(32).toString("base64url");
  const peer = await startHeld(bench, "anchored", { key, ...store.settings(store.address) });
  const name = "Waybill, anchored: begins";
  await weigh(tables, name, peer, () =>
    begin(bench, peer, bench.calls(FIRST_CALLS), "AnchoredService"),
  );
  await pool.query("TRUNCATE bench.anchor, bench.advance");
  const bytes: ByCount = [(await weighTables(pool)) / MB];
  let called = 0;
  for (const more of steps(counts)) {
    const calls = Math.min(more, MOST_ANCHORED_CALLS - called);
    await weigh(tables, name, peer, () => begin(bench, peer, calls, "AnchoredService"));
    called += calls;
    await beginInGroups(bench, pool, more - calls);
    bytes.push((await weighTables(pool)) / MB);
  }
  tables.kept.set("Waybill, anchored: Postgres", bytes);
  const more = called - counts[1]!;
  bench.results.goal(
    `bytes in a service for each of ${countText(more)} more anchored sessions, over as many reads or more`,
    [(growthBySessions(tables.held, name) * MB) / more],
    { unit: "B", atMost: ID_BYTES },
  );
  bench.results.list("in Postgres, per anchored session after its begin", "bytes", {
    "anchor and advance, with indexes": [((bytes.at(-1)! - bytes[0]!) * MB) / counts.at(-1)!],
  });
}

/** Sessions to add at each step. */
function steps(counts: readonly number[]): number[] {
  return counts.slice(1).map((count, index) => count - counts[index]!);
}

/** From a few sessions to many, so that memory of the first calls does not count. */
function growth(held: Map<string, ByCount>, name: string): number {
  const [, few, many] = held.get(name)!;
  return many! - few!;
}

/** Growth beyond the control. A control that shrinks does not count as growth of the other. */
function growthBySessions(held: Map<string, ByCount>, name: string): number {
  return growth(held, name) - Math.max(0, growth(held, READS));
}

async function weigh(tables: Tables, name: string, peer: Peer, work: () => Promise<void>) {
  await work();
  tables.held.set(name, [...(tables.held.get(name) ?? []), (await peer.heldBytes()) / MB]);
  const mb = residentMbOfTree(peer.pid);
  tables.resident.set(name, [...(tables.resident.get(name) ?? []), mb]);
}

async function begin(bench: Bench, peer: Peer, count: number, service = "CarriedService") {
  await inParts(bench, `beginning at ${service}`, count, (calls) =>
    putLoad({
      ...{ target: peer.address, method: `waybill.bench.v1.${service}/Begin` },
      ...{ protoset: PROTOSET, calls, messages: [BEGIN] },
    }),
  );
}

async function read(bench: Bench, peer: Peer, count: number) {
  await inParts(bench, "reading", count, async (calls) => {
    const wanted = { service: "CarriedService", carrier: "waybill", size: SIZE } as const;
    // New sessions for each part, so that no waybill is refreshed.
    const sent = await beginSessions(peer.address, { ...wanted, count: Math.min(1000, calls) });
    await putLoad({
      ...{ target: peer.address, method: "waybill.bench.v1.CarriedService/Read" },
      ...{ protoset: PROTOSET, calls, ...sent },
    });
  });
}

/** Reports progress. */
async function inParts(
  bench: Bench,
  what: string,
  count: number,
  work: (part: number) => Promise<unknown>,
) {
  for (let done = 0; done < count; done += AT_A_TIME) {
    bench.step(`${what}: ${countText(done)} of ${countText(count)}`);
    await work(Math.min(AT_A_TIME, count - done));
  }
}

/** Begins sessions with the service's statement, in groups, with saved responses of the service's length. */
async function beginInGroups(bench: Bench, pool: Pool, count: number): Promise<void> {
  const { rows } = await pool.query<{ length: number }>(
    "SELECT avg(length(answer))::int4 AS length FROM bench.anchor",
  );
  const answerBytes = rows[0]!.length ?? 0;
  const anchors = new Anchors(pool, "bench", "bench");
  await inParts(bench, "beginning in groups", count, async (part) => {
    for (let done = 0; done < part; done += GROUP) {
      const group = Array.from({ length: Math.min(GROUP, part - done) }, () =>
        anchors.create({
          ...{ sessionId: newUuid(), digest: randomBytes(32), expiresAt: Date.now() },
          savedResponse: randomBytes(answerBytes),
        }),
      );
      await Promise.all(group);
    }
  });
}

async function poolOf(bench: Bench, store: Store): Promise<Pool> {
  const { store: url } = store.settings(store.address);
  const pool = createPool(url!, { max: 4, name: "bench" });
  return bench.own("the pool", pool, (each) => each.end());
}

async function weighTables(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ bytes: string }>(`
    SELECT sum(pg_total_relation_size(part.relid))::text AS bytes
      FROM unnest(ARRAY['bench.anchor', 'bench.advance']::regclass[]) AS parent,
           pg_partition_tree(parent) AS part
     WHERE part.isleaf`);
  return Number(rows[0]!.bytes);
}
