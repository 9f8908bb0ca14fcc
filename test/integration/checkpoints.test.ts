import { afterAll, beforeAll, expect, test } from "vitest";
import { type EnvelopeV1, Part } from "#proto/waybill/envelope/v1/envelope.ts";
import { SessionState } from "#proto/waybill/session/v1/session.ts";
import { Checkpoints } from "#shared/anchors/checkpoints.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import type { Entry } from "#shared/anchors/sessionDirectory.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { uuidFromBytes } from "#shared/runtime/uuid.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { contract } from "../support/clients.ts";
import { migratedPostgres, type TestPostgres } from "../support/postgres.ts";
import { makeRingSource } from "../support/rings.ts";

const ADA = { subject: "users/ada", client: "", epoch: 1 };
const BEGIN = "/waybill.session.v1.SessionService/BeginSession";
const savedResponses = new SavedResponses("session", makeRingSource(savedAudience("session")));
const sessions = new Sessions(
  contract.method(BEGIN).session!,
  SessionState,
  makeRingSource("session"),
);

let postgres: TestPostgres;
let pool: Pool;
const listed: Entry[] = [];
const failures: unknown[] = [];
const directory = { register: async (entry: Entry) => void listed.push(entry) };
const make = (own: Pool = pool) =>
  new Checkpoints(own, "session", savedResponses, {
    directory,
    failed: (error) => failures.push(error),
  });
beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 5, name: "checkpoints" });
});
afterAll(async () => {
  await pool?.end();
  await postgres?.remove();
});

/** Makes the versions of a session, as envelopes. @param every checkpoint interval that the handler sets */
function versions(count: number, every = 0, owner: typeof ADA | null = ADA): EnvelopeV1[] {
  const session = sessions.begin(owner ?? undefined);
  session.checkpointEvery = every;
  return Array.from({ length: count }, () => {
    const next = sessions.successor(session, sessions.encode(session.state));
    sessions.advanceTo(session, next);
    return next;
  });
}
const idOf = ({ sessionId }: EnvelopeV1) => uuidFromBytes(sessionId);
const kept = async (envelope: EnvelopeV1) => (await make().read(idOf(envelope)))?.version;

test("only versions divisible by the session's interval are saved", async () => {
  const checkpoints = make();
  const seen: (number | undefined)[] = [];
  for (const each of versions(7, 3)) {
    await checkpoints.saveIfDue(each, false);
    seen.push(await kept(each));
  }
  expect(seen).toEqual([undefined, undefined, 3, 3, 3, 6, 6]);
  const [none] = versions(1);
  await checkpoints.saveIfDue(none!, false);
  expect(await kept(none!)).toBeUndefined();
});

test("a checkpoint saves the state and lists the session", async () => {
  const [first] = versions(1, 1);
  await make().saveIfDue(first!, false);
  expect(await make().read(idOf(first!))).toMatchObject(first!);
  expect(listed.at(-1)).toEqual({
    id: idOf(first!),
    subject: "users/ada",
    expiresAt: Number(first!.expiresAt) * 1000,
  });
});

test("an older version never replaces a newer one", async () => {
  const checkpoints = make();
  const [one, two, three] = versions(3);
  await checkpoints.saveIfDue(two!, true);
  await checkpoints.saveIfDue(one!, true);
  expect(await kept(two!)).toBe(2);
  const others = versions(3);
  await Promise.all(
    [three!, two!, others[2]!, others[0]!, one!].map((each) => checkpoints.saveIfDue(each, true)),
  );
  expect([await kept(three!), await kept(others[0]!)]).toEqual([3, 3]);
});

test("an anonymous session is refused an explicit checkpoint", async () => {
  const [first] = versions(1, 1, null);
  await make().saveIfDue(first!, false);
  expect(await kept(first!)).toBeUndefined();
  await expect(make().saveIfDue(first!, true)).rejects.toMatchObject({
    reason: "SESSION_NOT_OWNED",
  });
});

test("without Postgres only explicit checkpoints fail", async () => {
  const away = createPool("postgres://127.0.0.1:1/nowhere", { max: 1, name: "away" });
  const [first] = versions(1, 1);
  const before = failures.length;
  await make(away).saveIfDue(first!, false);
  expect(failures).toHaveLength(before + 1);
  await expect(make(away).saveIfDue(first!, true)).rejects.toThrow("ECONNREFUSED");
  await away.end();
});

test("refuses a row altered or swapped in the table", async () => {
  const checkpoints = make();
  const [mine, other] = [versions(1)[0]!, versions(1)[0]!];
  for (const each of [mine, other]) await checkpoints.saveIfDue(each, true);
  const put = (content: string, ...values: unknown[]) =>
    pool.query(`UPDATE session.checkpoint SET ${content} WHERE session_id = $1`, [
      idOf(mine),
      ...values,
    ]);
  const refused = () =>
    expect(checkpoints.read(idOf(mine))).rejects.toMatchObject({
      reason: "SESSION_NOT_FOUND",
      details: { alarm: true },
    });
  await put("version = 2");
  await refused();
  await put("version = 1, content = set_byte(content, 90, get_byte(content, 90) # 1)");
  await refused();
  await put(
    "content = (SELECT content FROM session.checkpoint WHERE session_id = $2)",
    idOf(other),
  );
  await refused();
  // An anchor of this session, if there were one, would be a way back.
  const anchored = { ...mine, mode: 2, digest: Buffer.alloc(32, 1) };
  const answer = {
    sessionId: mine.sessionId,
    version: 1,
    digest: anchored.digest,
    parentDigest: Buffer.alloc(0),
    idempotencyDigest: Buffer.alloc(0),
    requestDigest: Buffer.alloc(0),
    response: Buffer.alloc(0),
    successor: anchored,
    part: Part.PART_UNSPECIFIED,
  };
  await put("content = $2", savedResponses.seal(answer));
  await refused();
  await put("content = $2", savedResponses.seal({ ...answer, successor: mine }));
  expect(await kept(mine)).toBe(1);
});

test("a hanging store delays calls only briefly", async () => {
  const [first, second] = versions(2, 1);
  const heard: unknown[] = [];
  let asked = 0;
  const hangs = {
    register: () => {
      asked += 1;
      return new Promise<void>(() => {});
    },
  };
  const options = { directory: hangs, failed: (error: unknown) => heard.push(error) };
  const checkpoints = new Checkpoints(pool, "session", savedResponses, options);
  await checkpoints.saveIfDue(first!, false);
  await checkpoints.saveIfDue(second!, false);
  expect([asked, heard.length]).toEqual([1, 1]);
});
