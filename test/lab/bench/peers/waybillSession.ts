import { join } from "node:path";
import {
  type Context,
  type Contract,
  fixedRing,
  type Handlers,
  loadContract,
  RemoteAnchors,
  Server,
} from "waybill";
import { Assertions, loadCredentials } from "waybill/auth";
import { Anchors, createPool, SavedResponses, Spills, savedAudience } from "waybill/postgres";
import {
  AnchoredServiceService,
  Basket,
  type BasketRequest,
  CarriedServiceService,
} from "#proto/waybill/bench/v1/bench.ts";
import { newBasket, type PeerSettings } from "./peer.ts";

export const PROTOSET = join(import.meta.dirname, "../../../../proto/gen/bench.binpb");

const AUDIENCE = "bench";
/** A cluster's service without anchors. */
const ELSEWHERE = "catalog";

const ringOf = (audience: string, { key }: PeerSettings) =>
  fixedRing({
    audience,
    version: 1,
    keys: [{ id: "0123456789A", state: "active", key: Buffer.from(key!, "base64url") }],
  });

const handlers = {
  begin: async ({ size }: BasketRequest, { session }: Context<Basket>) => {
    session.state = newBasket(size);
    return { waybill: undefined, changes: 0 };
  },
  read: async (_request: BasketRequest, { session }: Context<Basket>) => ({
    waybill: undefined,
    changes: session.state.changes,
  }),
  advance: async (_request: BasketRequest, { session }: Context<Basket>) => {
    session.state.changes += 1;
    return { waybill: undefined, changes: session.state.changes };
  },
} satisfies Handlers<typeof CarriedServiceService, Basket>;

/** Carried sessions: the server stores nothing except spilled states. */
export async function waybillSession(settings: PeerSettings): Promise<string> {
  const server = new Server({ contract: loadContract(PROTOSET) });
  const { store } = settings;
  const pool = store === undefined ? undefined : createPool(store, { max: 5, name: "bench" });
  server.add(CarriedServiceService, handlers, {
    ...{ state: Basket, ring: ringOf(AUDIENCE, settings) },
    spills: pool && new Spills(pool, AUDIENCE),
  });
  const port = await server.listen("127.0.0.1:0");
  server.serving(true);
  return `127.0.0.1:${port}`;
}

/** Anchored sessions, in the peer's own schema or at the cluster's session service. */
export async function anchoredSession(settings: PeerSettings): Promise<string> {
  const { sessionService, credentialsDir, store } = settings;
  const contract = loadContract(PROTOSET);
  const server = new Server({
    contract: sessionService === undefined ? contract : elsewhere(contract),
  });
  const audience = sessionService === undefined ? AUDIENCE : ELSEWHERE;
  const savedResponses = new SavedResponses(audience, ringOf(savedAudience(audience), settings));
  let anchors: Anchors | RemoteAnchors;
  if (sessionService === undefined) {
    anchors = new Anchors(createPool(store!, { max: 5, name: "bench" }), AUDIENCE, "bench");
    await anchors.keepPartitions(6 * 3600, 24 * 3600);
  } else {
    const assertions = new Assertions(loadCredentials(credentialsDir!), audience);
    const { contract: cluster } = await import("../../../support/clients.ts");
    anchors = new RemoteAnchors(sessionService, { contract: cluster }, assertions, "bench");
  }
  server.add(AnchoredServiceService, handlers, {
    state: Basket,
    ring: ringOf(audience, settings),
    anchorage: { anchors, savedResponses },
  });
  const port = await server.listen("127.0.0.1:0");
  server.serving(true);
  return `127.0.0.1:${port}`;
}

/** The contract of a service without its own Postgres, under the name of one of the cluster's credentials. */
function elsewhere(contract: Contract): Contract {
  return {
    ...contract,
    method(path) {
      const method = contract.method(path);
      if (method.session === undefined) return method;
      return { ...method, session: { ...method.session, audience: ELSEWHERE, anchor: "session" } };
    },
  };
}
