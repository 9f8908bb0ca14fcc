import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { Basket } from "#proto/waybill/bench/v1/bench.ts";
import { naming, newBasket, type PeerSettings, servePlainly, sessionOf } from "./peer.ts";

const IDLE_S = 30 * 60;

/** A session in Redis: GET, and SETEX after a change. */
export async function redisSession({ store, isPipelined = false }: PeerSettings): Promise<string> {
  const redis = new Redis(store!, { enableAutoPipelining: isPipelined });
  const load = async (session: string) => {
    const bytes = await redis.getBuffer(session);
    if (bytes === null) throw new Error("there is no such session");
    return Basket.decode(bytes);
  };
  const keep = (session: string, basket: Basket) => {
    const { buffer, byteOffset, byteLength } = Basket.encode(basket).finish();
    // ioredis writes any other byte array as decimal text.
    return redis.setex(session, IDLE_S, Buffer.from(buffer, byteOffset, byteLength));
  };
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
