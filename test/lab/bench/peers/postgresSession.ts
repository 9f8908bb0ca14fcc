import { randomUUID } from "node:crypto";
import { createPool } from "waybill/postgres";
import { Basket } from "#proto/waybill/bench/v1/bench.ts";
import { naming, newBasket, type PeerSettings, servePlainly, sessionOf } from "./peer.ts";

const CREATE = `
  CREATE TABLE IF NOT EXISTS bench_session (
    id uuid PRIMARY KEY,
    state bytea NOT NULL,
    expires_at timestamptz NOT NULL
  )`;
const SELECT = {
  name: "select",
  text: "SELECT state FROM bench_session WHERE id = $1 AND expires_at > now()",
};
const UPSERT = {
  name: "upsert",
  text: `
    INSERT INTO bench_session (id, state, expires_at)
    VALUES ($1, $2, now() + interval '30 minutes')
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at`,
};

/** A session in Postgres: SELECT, and an upsert after a change. */
export async function postgresSession({ store }: PeerSettings): Promise<string> {
  const db = createPool(store!, { max: 10, name: "bench" });
  await db.query(CREATE);
  const load = async (session: string) => {
    const { rows } = await db.query<{ state: Buffer }>({ ...SELECT, values: [session] });
    if (rows[0] === undefined) throw new Error("there is no such session");
    return Basket.decode(rows[0].state);
  };
  const keep = (session: string, basket: Basket) =>
    db.query({ ...UPSERT, values: [session, Basket.encode(basket).finish()] });
  return servePlainly({
    begin: async (size) => {
      const session = randomUUID();
      await keep(session, newBasket(size));
      return { response: { waybill: undefined, changes: 0 }, metadata: naming(session) };
    },
    read: async (_request, metadata) => {
      const { changes } = await load(sessionOf(metadata));
      return { response: { waybill: undefined, changes } };
    },
    advance: async (_request, metadata) => {
      const session = sessionOf(metadata);
      const basket = await load(session);
      basket.changes += 1;
      await keep(session, basket);
      return { response: { waybill: undefined, changes: basket.changes } };
    },
  });
}
