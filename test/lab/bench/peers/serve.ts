/**
 * Runs one peer of the comparison: a server of the measured calls with one design for sessions. Sends its
 * address to its parent process and exits with it.
 *
 * Usage: forked, with KIND and a JSON object of settings
 */
import { setTimeout as delay } from "node:timers/promises";
import { type PeerSettings, type Serve, serveJoinedBy } from "./peer.ts";

/** Loads only the libraries of the chosen kind. */
const KINDS: Record<string, () => Promise<Serve>> = {
  floor: async () => (await import("./floor.ts")).floor,
  passing: async () => (await import("./floor.ts")).passing,
  redis: async () => (await import("./redisSession.ts")).redisSession,
  postgres: async () => (await import("./postgresSession.ts")).postgresSession,
  iron: async () => (await import("./ironSession.ts")).ironSession,
  jose: async () => (await import("./joseSession.ts")).joseSession,
  waybill: async () => (await import("./waybillSession.ts")).waybillSession,
  anchored: async () => (await import("./waybillSession.ts")).anchoredSession,
};

const [kind = "", settings = "{}"] = process.argv.slice(2);
const load = KINDS[kind];
if (load === undefined) throw new Error(`there is no peer ${kind}`);
// With --expose-gc it reports on request the memory left after garbage collection.
process.on("message", () => {
  void settled().then((memory) => process.send?.(memory));
});
await serveJoinedBy(await load(), JSON.parse(settings) as PeerSettings);

async function settled(): Promise<number> {
  for (let turn = 0; turn < 3; turn += 1) {
    await delay(100);
    globalThis.gc?.();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
