import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Anchors } from "#shared/anchors/anchors.ts";
import { createPool } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { migratedPostgres } from "../../support/postgres.ts";
import { KeptRows } from "./keptRows.ts";

/** Lifetime of a session, and width of a partition, in seconds. */
const KEEP_S = 5;
const WIDTH_S = 5;
/** Bytes of an advance's saved response. */
const ANSWER_BYTES = 600;
const IN_FLIGHT = 400;
/** One session in so many has more rows than its anchor and advances. */
const KEEPS_MORE = 400;
const CARE_MS = 500;
/** The last session's partitions are dropped within this time. */
const LAST_DROP_MS = (KEEP_S + WIDTH_S) * 2000;

/** Bytes of a table and its indexes, without those of empty partitions. */
export interface Weights {
  readonly before: number;
  /** While its sessions were alive. */
  most: number;
  after: number;
}

/** The results of a run. */
export interface Growth {
  readonly sessions: number;
  readonly seconds: number;
  readonly tables: Readonly<Record<string, Weights>>;
  /** Rows left at the end in all tables. */
  readonly rowsLeft: number;
  /** Bytes of a live session's anchor and advances. */
  readonly bytesPerSession: number;
  readonly walBytesPerBegin: number;
  readonly walBytesPerAdvance: number;
  readonly droppedPartitions: number;
  /** Directory entries, spilled states and checkpoints: created, and left at the end. */
  readonly kept: { readonly made: number; readonly left: number };
  /** Reads during a session's life: rows found and rows missing. */
  readonly looks: KeptRows["looks"];
}

/**
 * Begins sessions in a separate Postgres, advances each once, lets them expire, and measures the remaining
 * rows and bytes.
 *
 * @param tell receives the progress, every two seconds
 */
export async function runGrowth(
  sessions: number,
  tell: (line: string) => void = () => {},
): Promise<Growth> {
  const postgres = await migratedPostgres();
  const pool = createPool(postgres.url, { max: 4, name: "growth" });
  const anchors = new Anchors(pool, "session", "growth");
  const kept = new KeptRows(pool, KEEP_S);
  const number = async (statement: string): Promise<number> =>
    Number((await pool.query<{ value: string }>(statement)).rows[0]!.value);
  const weigh = async (): Promise<Map<string, number>> => {
    const { rows } = await pool.query<{ name: string; bytes: string }>(BYTES);
    return new Map(rows.map(({ name, bytes }) => [name, Number(bytes)]));
  };
  const lsn = () => number("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS value");
  let droppedPartitions = 0;
  const keep = async () => {
    const dropped = await anchors.keepPartitions(WIDTH_S, KEEP_S);
    droppedPartitions += dropped?.length ?? 0;
  };
  // Hourly partitions would hold everything, because sessions live for seconds.
  await pool.query(DROP_ALL);
  await keep();
  const tables: Record<string, Weights> = {};
  for (const [name, before] of await weigh())
    tables[name] = { before, most: before, after: before };
  let isOver = false;
  const care = async () => {
    for (; !isOver; await delay(CARE_MS)) {
      await keep().catch(() => {});
      await kept.look();
    }
  };
  const caring = care();
  const began = performance.now();
  let told = began;
  let done = 0;
  let bytesPerSession = 0;
  let walOfBegins = 0;
  let walOfAdvances = 0;
  while (done < sessions) {
    const expiresAt = Date.now() + KEEP_S * 1000;
    const batch = Math.min(IN_FLIGHT * 10, sessions - done);
    const begun = Array.from({ length: batch }, () => ({
      sessionId: newUuid(),
      digest: randomBytes(32),
      savedResponse: randomBytes(ANSWER_BYTES),
    }));
    const identity = { idempotencyDigest: randomBytes(32), requestDigest: randomBytes(32) };
    const at = await lsn();
    await each(begun, (session) => anchors.create({ ...session, expiresAt: Date.now() }));
    const then = await lsn();
    await each(begun, ({ sessionId, digest }) =>
      anchors.advance(
        { sessionId, version: 1, digest },
        {
          digest: randomBytes(32),
          identity,
          savedResponse: randomBytes(ANSWER_BYTES),
          ended: false,
        },
      ),
    );
    walOfBegins += then - at;
    walOfAdvances += (await lsn()) - then;
    const some = begun.filter((_, at) => (done + at) % KEEPS_MORE === 0);
    await each(some, ({ sessionId }) => kept.add(sessionId, expiresAt));
    const weights = await weigh();
    for (const [name, weight] of weights) {
      tables[name]!.most = Math.max(tables[name]!.most, weight);
    }
    if (done === 0) {
      for (const name of ["session.anchor", "session.advance"]) {
        bytesPerSession += (weights.get(name)! - tables[name]!.before) / batch;
      }
    }
    done += batch;
    if (performance.now() - told > 2000) {
      told = performance.now();
      const bytes = [...weights.values()].reduce((sum, weight) => sum + weight);
      tell(`${done} of ${sessions} sessions, ${bytes} bytes`);
    }
  }
  const seconds = (performance.now() - began) / 1000;
  tell("waiting for the last sessions to expire");
  const until = performance.now() + LAST_DROP_MS;
  while ((await number(ROWS)) > 0 && performance.now() < until) await delay(500);
  isOver = true;
  await caring;
  for (const [name, after] of await weigh()) tables[name]!.after = after;
  const rowsLeft = await number(ROWS);
  const left = await kept.left();
  await pool.end();
  await postgres.remove();
  return {
    sessions,
    seconds,
    tables,
    rowsLeft,
    bytesPerSession,
    walBytesPerBegin: walOfBegins / sessions,
    walBytesPerAdvance: walOfAdvances / sessions,
    droppedPartitions,
    kept: { made: kept.made, left },
    looks: kept.looks,
  };
}

async function each<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < items.length; from += IN_FLIGHT) {
    await Promise.all(items.slice(from, from + IN_FLIGHT).map(work));
  }
}

/** Size of the partitions, without the one page of an empty index. */
const BYTES = `
  SELECT parent::text AS name,
         sum(pg_total_relation_size(part.relid)
             - 8192 * (SELECT count(*) FROM pg_index
                        WHERE indrelid IN (part.relid, class.reltoastrelid))) AS bytes
    FROM unnest(ARRAY['session.anchor', 'session.advance', 'session.directory', 'session.spill',
                      'session.checkpoint']::regclass[]) AS parent,
         pg_partition_tree(parent) AS part
    JOIN pg_class AS class ON class.oid = part.relid
   WHERE part.isleaf
   GROUP BY parent`;
const ROWS = `
  SELECT (SELECT count(*) FROM session.anchor) + (SELECT count(*) FROM session.advance)
       + (SELECT count(*) FROM session.directory) + (SELECT count(*) FROM session.spill)
       + (SELECT count(*) FROM session.checkpoint) AS value`;
const DROP_ALL = `
  DO $$
  DECLARE part regclass;
  BEGIN
    FOR part IN
      SELECT inhrelid FROM pg_inherits JOIN pg_class ON oid = inhparent
       WHERE relkind = 'p' AND relnamespace = 'session'::regnamespace
    LOOP
      EXECUTE format('DROP TABLE %s', part);
    END LOOP;
  END $$`;
