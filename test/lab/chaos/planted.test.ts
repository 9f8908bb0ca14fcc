import { afterAll, beforeAll, expect, test } from "vitest";
import { Anchors } from "#shared/anchors/anchors.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import { Errors } from "#shared/errors.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import type { Server } from "#shared/server/server.ts";
import { fingerprint } from "#shared/waybill/chain.ts";
import { makeClients } from "../../support/clients.ts";
import { migratedPostgres, type TestPostgres } from "../../support/postgres.ts";
import { seededRandom } from "../../support/random.ts";
import { makeRingSource } from "../../support/rings.ts";
import { makeRings, serveSessions } from "../../support/servers/anchoredServer.ts";
import { startLossyProxy } from "../fleet/lossyProxy.ts";
import type { Line } from "./history.ts";
import { faultsOf } from "./linearizable.ts";
import { contendForSessions } from "./workload.ts";

let postgres: TestPostgres;
let pool: Pool;
beforeAll(async () => {
  postgres = await migratedPostgres();
  pool = createPool(postgres.url, { max: 10, name: "planted" });
});
afterAll(async () => {
  await pool?.end();
  await postgres?.remove();
});

const random = seededRandom();
const below = (limit: number) => random.below(limit);
const rings = makeRings();
const savedRing = makeRingSource(savedAudience("session"));
type Advance = Parameters<Anchors["advance"]>;

/** Sets the version without comparing it first. */
class Unguarded extends Anchors {
  override async advance(from: Advance[0], to: Advance[1]): Promise<boolean> {
    await this.pool.query(
      `UPDATE session.anchor SET version = $2::integer, head = $3::bytea, answer = $4::bytea
        WHERE session_id = $1::uuid`,
      [from.sessionId, from.version + 1, fingerprint("anchor", to.digest), to.savedResponse],
    );
    return true;
  }
}

/** Saves the response after the step, outside its transaction, and sometimes fails before that. */
class Afterwards extends Anchors {
  override async advance(from: Advance[0], to: Advance[1]): Promise<boolean> {
    const moved = await super.advance(from, { ...to, savedResponse: Buffer.alloc(0) });
    if (!moved) return false;
    if (below(10) === 0) throw Errors.DATABASE_UNAVAILABLE({ cause: "died between the two" });
    await this.pool.query("UPDATE session.anchor SET answer = $2::bytea WHERE session_id = $1", [
      from.sessionId,
      to.savedResponse,
    ]);
    return true;
  }
}

/** Treats every retry as a new call. */
class Keyless extends SavedResponses {
  override seal(answer: Parameters<SavedResponses["seal"]>[0]): Buffer {
    return super.seal({ ...answer, idempotencyDigest: Buffer.alloc(32) });
  }
}

/** Records the history of five groups of clients of two replicas behind a lossy network. */
async function observe(
  makeAnchors: (pool: Pool, schema: string, replica: string) => Anchors,
  savedResponses: SavedResponses,
): Promise<number> {
  const servers: Server[] = [];
  const proxies: Awaited<ReturnType<typeof startLossyProxy>>[] = [];
  for (const replica of ["a", "b"]) {
    const anchors = makeAnchors(pool, "session", replica);
    const { target, server } = await serveSessions(pool, { ...rings, savedResponses }, { anchors });
    servers.push(server);
    proxies.push(await startLossyProxy(target, () => below(20) === 0));
  }
  const lines: Line[] = [];
  const groups = Array.from({ length: 5 }, async (_, number) => {
    const clients = proxies.map(({ target }) =>
      makeClients(target, { withJar: false, retries: false }),
    );
    await contendForSessions({
      name: `g${number}`,
      clients,
      token: async () => undefined,
      below,
      write: (line) => lines.push(line),
      isOver: () => lines.length > 1500,
    });
    for (const client of clients) client.close();
  });
  await Promise.all(groups);
  for (const proxy of proxies) await proxy.close();
  for (const server of servers) await server.drain();
  return faultsOf({ lines, final: undefined }).length;
}

const usual = (...[db, schema, replica]: ConstructorParameters<typeof Anchors>) =>
  new Anchors(db, schema, replica);
const savedResponses = new SavedResponses("session", savedRing);

test("accepts the histories of a program with every guard", async () => {
  expect(await observe(usual, savedResponses)).toBe(0);
});

test.each([
  [
    "no compare-and-set",
    (...made: ConstructorParameters<typeof Anchors>) => new Unguarded(...made),
    savedResponses,
  ],
  ["retries without a key", usual, new Keyless("session", savedRing)],
  [
    "a saved answer outside the transaction",
    (...made: ConstructorParameters<typeof Anchors>) => new Afterwards(...made),
    savedResponses,
  ],
] as const)("finds a planted bug: %s", async (_, makeAnchors, its) => {
  expect(await observe(makeAnchors, its)).toBeGreaterThan(0);
});
