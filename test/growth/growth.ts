import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Anchors } from "#shared/anchors/anchors.ts";
import { createPool } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/waybill/ids.ts";
import { migratedPostgres } from "../fixtures/postgres.ts";

/** A session's life here, and how much time's sessions share a partition, in seconds. */
const KEEP_S = 5;
const WIDTH_S = 5;
/** What an advance keeps of its answer. */
const ANSWER_BYTES = 600;
const IN_FLIGHT = 400;

/** What a run left behind. */
export interface Growth {
  readonly sessions: number;
  readonly seconds: number;
  /** Of tables and indexes, before and after all sessions lived: without the empty partitions' own. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** While they lived. */
  readonly bytesPerSession: number;
  readonly walBytesPerBegin: number;
  readonly walBytesPerAdvance: number;
  readonly droppedPartitions: number;
}

/**
 * Lets sessions begin, advance once and expire, in a Postgres of its own, and weighs what they leave.
 *
 * @param tell hears of the progress, every two seconds
 */
export async function runGrowth(
  sessions: number,
  tell: (line: string) => void = () => {},
): Promise<Growth> {
  const postgres = await migratedPostgres();
  const pool = createPool(postgres.url, { max: 4, name: "growth" });
  const anchors = new Anchors(pool, "session", "growth");
  const number = async (statement: string): Promise<number> =>
    Number((await pool.query<{ value: string }>(statement)).rows[0]!.value);
  const bytes = () => number(BYTES);
  const lsn = () => number("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS value");
  let droppedPartitions = 0;
  const keep = async () => {
    const dropped = await anchors.keepPartitions(WIDTH_S, KEEP_S);
    droppedPartitions += dropped?.length ?? 0;
  };
  // Partitions of hours would hold all that lives for seconds.
  await pool.query(DROP_ALL);
  await keep();
  const bytesBefore = await bytes();
  const keeping = setInterval(() => void keep().catch(() => {}), 1000);
  const began = performance.now();
  let told = began;
  let done = 0;
  let mostPerSession = 0;
  let walOfBegins = 0;
  let walOfAdvances = 0;
  while (done < sessions) {
    const batch = Math.min(IN_FLIGHT * 10, sessions - done);
    const begun = Array.from({ length: batch }, () => ({
      sessionId: newUuid(),
      digest: randomBytes(32),
      answer: randomBytes(ANSWER_BYTES),
    }));
    const asked = { idempotencyDigest: randomBytes(32), requestDigest: randomBytes(32) };
    const at = await lsn();
    await each(begun, (session) => anchors.begin({ ...session, expiresAt: Date.now() }));
    const then = await lsn();
    await each(begun, ({ sessionId, digest }) =>
      anchors.advance(
        { sessionId, version: 1, digest },
        { digest: randomBytes(32), asked, answer: randomBytes(ANSWER_BYTES), ended: false },
      ),
    );
    walOfBegins += then - at;
    walOfAdvances += (await lsn()) - then;
    if (done === 0) mostPerSession = ((await bytes()) - bytesBefore) / batch;
    done += batch;
    if (performance.now() - told > 2000) {
      told = performance.now();
      tell(`${done} of ${sessions} sessions, ${await bytes()} bytes`);
    }
  }
  const seconds = (performance.now() - began) / 1000;
  clearInterval(keeping);
  tell("waiting for the last ones to expire");
  while ((await number(ROWS)) > 0) {
    await delay(500);
    await keep();
  }
  const bytesAfter = await bytes();
  await pool.end();
  await postgres.remove();
  return {
    sessions,
    seconds,
    bytesBefore,
    bytesAfter,
    bytesPerSession: mostPerSession,
    walBytesPerBegin: walOfBegins / sessions,
    walBytesPerAdvance: walOfAdvances / sessions,
    droppedPartitions,
  };
}

async function each<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < items.length; from += IN_FLIGHT) {
    await Promise.all(items.slice(from, from + IN_FLIGHT).map(work));
  }
}

/** What the partitions take, but for the one page that an empty index has. */
const BYTES = `
  SELECT sum(pg_total_relation_size(part.relid)
             - 8192 * (SELECT count(*) FROM pg_index
                        WHERE indrelid IN (part.relid, class.reltoastrelid))) AS value
    FROM unnest(ARRAY['session.anchor', 'session.advance']::regclass[]) AS parent,
         pg_partition_tree(parent) AS part
    JOIN pg_class AS class ON class.oid = part.relid
   WHERE part.isleaf`;
const ROWS = `
  SELECT (SELECT count(*) FROM session.anchor) + (SELECT count(*) FROM session.advance) AS value`;
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
