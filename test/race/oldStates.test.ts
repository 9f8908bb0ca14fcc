import { join } from "node:path";
import { Metadata, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Checkout, CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import type { AnchorStore } from "#shared/anchors/anchorStore.ts";
import { Anchors } from "#shared/anchors/anchors.ts";
import { RemoteAnchors } from "#shared/anchors/remote/remoteAnchors.ts";
import { SavedResponses, savedAudience } from "#shared/anchors/savedResponses.ts";
import { Assertions } from "#shared/auth/assertions.ts";
import { loadCredentials } from "#shared/auth/credentials/credentials.ts";
import type { AccessToken } from "#shared/auth/tokens/claims.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import type { Contract } from "#shared/contract/contract.ts";
import type { Context, Handlers } from "#shared/contract/handlers.ts";
import { vocabulary } from "#shared/errors.ts";
import { databaseError } from "#shared/pg/errors.ts";
import { createPool } from "#shared/pg/pool.ts";
import { Server } from "#shared/server/server.ts";
import { contract } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal } from "../support/refusal.ts";
import { makeRingSource } from "../support/rings.ts";
import { step } from "../support/step.ts";
import { type Cuttable, startCuttable } from "../support/wire/cuttable.ts";

// A handler decides from the state in the call's waybill. A stale waybill carries a stale state, so the
// handler's error may be wrong: the caller must see that the waybill is stale.

type All = Handlers<typeof CheckoutServiceService, CheckoutState>;
type Client = ServiceClient<typeof CheckoutServiceService>;
type Judge = (context: Context<CheckoutState>) => Promise<void>;

/** The audience, one of the cluster's, whose anchors the session service stores. */
const REMOTE = "catalog";
const ADA = { subject: "users/ada", client: "app", epoch: 1 } as AccessToken;
const ShopErrors = vocabulary("checkout.test", {
  ITEM_NOT_FOUND: [status.NOT_FOUND, "There is no such item."],
});
const releases: (() => unknown)[] = [];

/** Runs first in every handler. */
let judge: Judge;

const view = ({ order }: CheckoutState): Checkout => ({
  items: [],
  address: undefined,
  deliverySpeed: 0,
  quote: undefined,
  order,
});

const handlers: Partial<All> = {
  beginCheckout: async (_request, { session: { state } }) => view(state),
  addItem: async ({ product }, { session: { state } }) => {
    state.order += product.slice("products/".length);
    return view(state);
  },
  async updateItem(_request, context) {
    await judge(context);
    return view(context.session.state);
  },
  async bindCheckout(_request, context) {
    await judge(context);
    return view(context.session.state);
  },
  async endCheckout(_request, context) {
    await judge(context);
    return {};
  },
  async *setItems(_request, context) {
    yield { item: undefined, waybill: undefined };
    await judge(context);
  },
  async *editItems(_requests, context) {
    yield { checkout: undefined, waybill: undefined };
    await judge(context);
  },
  async uploadItems(_requests, context) {
    await judge(context);
    return view(context.session.state);
  },
};

async function serve(served: Contract, audience: string, anchors: AnchorStore): Promise<Client> {
  const server = new Server({ contract: served, translate: databaseError });
  server.checkTokens({
    canCheck: () => true,
    caller: async ({ metadata }) =>
      metadata.get("authorization").length > 0 ? { token: ADA } : undefined,
  });
  const all = new Proxy(handlers, {
    get: (own, name) => own[name as keyof All] ?? (() => Promise.reject(new Error("unused"))),
  }) as All;
  const savedResponses = new SavedResponses(audience, makeRingSource(savedAudience(audience)));
  server.add(CheckoutServiceService, all, {
    state: CheckoutState,
    ring: makeRingSource(audience),
    anchorage: { anchors, savedResponses },
  });
  const target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  const client = createClient(CheckoutServiceService, target);
  releases.push(
    () => client.close(),
    () => server.drain(),
  );
  return client;
}

/** A program with sessions, its connection to their anchors, and its error without it. */
interface Program {
  readonly client: Client;
  readonly way: Cuttable;
  readonly unavailable: string;
}

async function withAnchorsOfItsOwn(cluster: TestCluster): Promise<Program> {
  const url = new URL(cluster.databaseUrl);
  const way = await startCuttable(url.host);
  url.host = way.target;
  const pool = createPool(url.href, { max: 5, name: "old states", connectTimeoutMs: 500 });
  const client = await serve(contract, "checkout", new Anchors(pool, "checkout", "program/own"));
  releases.push(
    () => pool.end(),
    () => way.close(),
  );
  return { client, way, unavailable: "DATABASE_UNAVAILABLE" };
}

async function withAnchorsElsewhere(cluster: TestCluster): Promise<Program> {
  const way = await startCuttable(cluster.status().replicas[0]!.address);
  const credentials = loadCredentials(join(cluster.dataDir, "secrets", "credentials"));
  const own = new Assertions(credentials, REMOTE);
  const anchors = new RemoteAnchors(way.target, { contract, timeoutMs: 2000 }, own, "program/far");
  const begin = contract.method("/waybill.checkout.v1.CheckoutService/BeginCheckout");
  const session = { ...begin.session!, audience: REMOTE, anchor: "session" } as const;
  const elsewhere: Contract = {
    ...contract,
    method(path) {
      const method = contract.method(path);
      return method.session === undefined ? method : { ...method, session };
    },
  };
  const client = await serve(elsewhere, REMOTE, anchors);
  releases.push(
    () => anchors.close(),
    () => way.close(),
  );
  return { client, way, unavailable: "SESSIONS_UNAVAILABLE" };
}

let cluster: TestCluster;
const programs: Record<string, Program> = {};
beforeAll(async () => {
  cluster = await startTestCluster({ replicas: 1 });
  programs["its own schema"] = await withAnchorsOfItsOwn(cluster);
  programs["the session service"] = await withAnchorsElsewhere(cluster);
});
afterAll(async () => {
  for (const release of releases) await release();
  await cluster?.remove();
});

const ITEM = { product: "products/1", quantity: 1 };

/** One sample call for each kind of step that writes an anchor. */
const STEPS = {
  "an advance": (client: Client, waybill: string, key?: string) =>
    step(client.updateItem, ITEM, { waybill, ...(key && { key }) }),
  "a bind": (client: Client, waybill: string, key?: string) =>
    step(client.bindCheckout, {}, { waybill, token: "hers", ...(key && { key }) }),
  "an end": (client: Client, waybill: string, key?: string) =>
    step(client.endCheckout, {}, { waybill, ...(key && { key }) }),
} as const;

/** A call of each kind of stream, read to its end. */
const STREAMS = {
  "a response stream": async (client: Client, metadata: Metadata) => {
    for await (const _ of client.setItems({ items: [ITEM] }, { metadata }));
  },
  "a bidirectional stream": async (client: Client, metadata: Metadata) => {
    for await (const _ of client.editItems(none(), { metadata }));
  },
  "a request stream": async (client: Client, metadata: Metadata) => {
    await client.uploadItems(none(), { metadata });
  },
} as const;
async function* none(): AsyncGenerator<never> {}

const refuses = async () => {
  throw ShopErrors.ITEM_NOT_FOUND();
};
const breaks = async () => {
  throw new Error("a fault of the handler");
};

describe.each(["its own schema", "the session service"])("anchored in %s", (name) => {
  let program: Program;
  let client: Client;
  let first: string;
  let second: string;
  beforeEach(async () => {
    program = programs[name]!;
    client = program.client;
    first = (await step(client.beginCheckout, {})).waybill!;
    second = (await step(client.addItem, ITEM, { waybill: first })).waybill!;
  });

  describe.each(Object.keys(STEPS) as (keyof typeof STEPS)[])("%s", (kind) => {
    const call = STEPS[kind];
    const reasonOf = async (waybill: string, key?: string) =>
      (await refusal(call(client, waybill, key))).reason;

    test.each([
      ["refusal", refuses, "ITEM_NOT_FOUND"],
      ["fault", breaks, "INTERNAL"],
    ] as const)("S5 is stale with an old waybill despite a %s", async (_, fails, own) => {
      judge = fails;
      expect(await reasonOf(second)).toBe(own);
      expect(await reasonOf(first)).toBe("WAYBILL_STALE");
      expect(await reasonOf(second)).toBe(own);
    });

    test("S5 is refused as ended, whatever its handler throws", async () => {
      judge = async () => {};
      await step(client.endCheckout, {}, { waybill: second, key: "the-end" });
      judge = refuses;
      expect(await reasonOf(first)).toBe("WAYBILL_ENDED");
      expect(await reasonOf(second)).toBe("WAYBILL_ENDED");
    });

    test("gets its saved response although its handler would refuse", async () => {
      judge = async ({ session: { state } }) => {
        state.order += "done";
      };
      const { response } = await call(client, second, "the-same");
      judge = refuses;
      expect((await call(client, second, "the-same")).response).toEqual(response);
    });

    test("cannot reuse a key, whatever its handler throws", async () => {
      const request = { product: "products/2", quantity: 1 };
      const { waybill } = await step(client.addItem, request, { waybill: second, key: "used" });
      judge = refuses;
      expect(await reasonOf(second, "used")).toBe("IDEMPOTENCY_KEY_REUSED");
      expect(await reasonOf(waybill!, "used")).toBe("ITEM_NOT_FOUND");
    });

    test("is UNAVAILABLE while the anchor cannot be read", async () => {
      judge = async () => {
        program.way.cut();
        throw ShopErrors.ITEM_NOT_FOUND();
      };
      try {
        for (const waybill of [first, second]) {
          const report = await refusal(call(client, waybill));
          expect(report).toMatchObject({
            code: status.UNAVAILABLE,
            reason: program.unavailable,
          });
        }
      } finally {
        program.way.mend();
      }
      judge = refuses;
      await expect.poll(() => reasonOf(first), { timeout: 30_000 }).toBe("WAYBILL_STALE");
      expect(await reasonOf(second)).toBe("ITEM_NOT_FOUND");
    });
  });

  test.each(Object.keys(STREAMS) as (keyof typeof STREAMS)[])(
    "S5 %s is stale after a concurrent advance",
    async (kind) => {
      const [isRunning, mayGoOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const run = (waybill: string) => {
        const metadata = new Metadata();
        metadata.set("waybill", waybill);
        return refusal(STREAMS[kind](client, metadata));
      };
      judge = refuses;
      expect((await run(second)).reason).toBe("ITEM_NOT_FOUND");
      judge = async () => {
        isRunning.resolve();
        await mayGoOn.promise;
        throw ShopErrors.ITEM_NOT_FOUND();
      };
      const refused = run(second);
      await isRunning.promise;
      await step(client.addItem, { product: "products/2", quantity: 1 }, { waybill: second });
      mayGoOn.resolve();
      expect((await refused).reason).toBe("WAYBILL_STALE");
    },
  );
});

describe("a handler that asks for its transaction", () => {
  const asks: Record<string, Judge> = {
    "and hides its refusal": async (context) => {
      await context.transaction().catch(() => {});
      throw ShopErrors.ITEM_NOT_FOUND();
    },
    "and does not wait for it": async (context) => {
      context.transaction().catch(() => {});
      throw ShopErrors.ITEM_NOT_FOUND();
    },
  };
  test.each(Object.keys(asks))("S5 %s cannot refuse with an old waybill", async (what) => {
    const { client } = programs["its own schema"]!;
    const { waybill: first } = await step(client.beginCheckout, {});
    const { waybill: second } = await step(client.addItem, ITEM, { waybill: first });
    judge = asks[what]!;
    for (const call of Object.values(STEPS)) {
      expect((await refusal(call(client, second!))).reason).toBe("ITEM_NOT_FOUND");
      expect((await refusal(call(client, first!))).reason).toBe("WAYBILL_STALE");
    }
  });

  test("gets UNAVAILABLE without a free connection", async () => {
    const { client, way, unavailable } = programs["its own schema"]!;
    const { waybill } = await step(client.beginCheckout, {});
    judge = async (context) => {
      way.cut();
      await context.transaction().catch(() => {});
      throw ShopErrors.ITEM_NOT_FOUND();
    };
    try {
      expect((await refusal(step(client.updateItem, ITEM, { waybill }))).reason).toBe(unavailable);
    } finally {
      way.mend();
    }
  });
});
