import type { Bench } from "./bench.ts";
import { loadOf, type Recipe, sessionsOf, startContender } from "./contender.ts";
import { putLoad } from "./load.ts";
import { startRelay } from "./relay.ts";

/** TCP payload of a call in both directions, in bytes. */
export interface WireBytes extends Record<string, number> {
  client: number;
}

/**
 * Counts a call's bytes on the wire in a separate run: between client and service and, if there is a store,
 * between service and store. Includes opening the four connections.
 */
export function wireBytes(bench: Bench, recipe: Recipe, calls: number): Promise<WireBytes> {
  return bench.during(() => countBytes(bench, recipe, calls));
}

async function countBytes(bench: Bench, recipe: Recipe, calls: number): Promise<WireBytes> {
  const startOwn = (target: string) =>
    bench.own("a relay", startRelay(target), (relay) => relay.end());
  const { store } = recipe;
  const toStore = store && (await startOwn(store.address));
  const relayed = store && toStore && { ...store, address: toStore.address };
  const contender = await startContender(bench, { ...recipe, store: relayed });
  const toService = await startOwn(contender.address);
  const sent = await sessionsOf(contender, calls);
  const counts = async () => {
    const [client, stored] = [await toService.passed(), await toStore?.passed()];
    const sum = (each: typeof stored) => (each ? each.toTarget + each.fromTarget : 0);
    return { client: sum(client), store: sum(stored) };
  };
  const before = await counts();
  await putLoad({ ...loadOf(contender), target: toService.address, ...sent, calls });
  const after = await counts();
  const client = (after.client - before.client) / calls;
  return store === undefined ? { client } : { client, store: (after.store - before.store) / calls };
}
