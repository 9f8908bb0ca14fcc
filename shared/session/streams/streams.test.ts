import { Metadata } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  type Checkout,
  CheckoutServiceService,
  type EditItemsRequest,
  type EditItemsResponse,
  type SetItemsResponse,
} from "../../../proto/gen/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "../../../proto/gen/waybill/checkout/v1/checkout_state.ts";
import { Step } from "../../../proto/gen/waybill/options/v1/options.ts";
import { contract } from "../../../test/support/clients.ts";
import { refusal } from "../../../test/support/refusal.ts";
import { makeRingSource } from "../../../test/support/rings.ts";
import { type CheckpointStore, NO_CHECKPOINTS } from "../../anchors/checkpoints.ts";
import { type CallSettings, createClient, type ServiceClient } from "../../client/client.ts";
import { Jar } from "../../client/jar/jar.ts";
import type { Contract } from "../../contract/contract.ts";
import type { Context, Handlers } from "../../contract/handlers.ts";
import { Errors } from "../../errors.ts";
import { Server } from "../../server/server.ts";
import { fieldToMetadataValue } from "../../waybill/carriers.ts";
import { fromCompact } from "../../waybill/jwe.ts";
import { Sessions } from "../../waybill/sessions.ts";

type State = CheckoutState;
type All = Handlers<typeof CheckoutServiceService, State>;

const SET = "/waybill.checkout.v1.CheckoutService/SetItems";
const ITEM = { product: "products/1", quantity: 1 };
const ring = makeRingSource("checkout");
const session = { ...contract.method(SET).session!, mode: "carried" as const };
const sessions = new Sessions(session, CheckoutState, ring);

let server: Server;
let address: string;
let client: ServiceClient<typeof CheckoutServiceService>;
/** The SetItems handler's use of its session. */
let itsStep: Step;
/** The handlers of the moment. */
let handlers: Partial<All>;
let causes: unknown[];
/** True if every session counts as revoked. */
let isRevoked: boolean;
const revocations = {
  revocations: { assertFresh() {}, has: () => isRevoked },
  revoke: async () => {},
};
/** The versions that were given to be kept, and whether they were asked for. */
let kept: [number, boolean][];
const checkpoints: CheckpointStore = {
  ...NO_CHECKPOINTS,
  saveIfDue: async ({ version }, isAskedFor) => {
    kept.push([version, isAskedFor]);
  },
};

beforeEach(async () => {
  itsStep = Step.STEP_ADVANCE;
  handlers = {};
  causes = [];
  kept = [];
  isRevoked = false;
  const carried: Contract = {
    ...contract,
    method(path) {
      const method = contract.method(path);
      if (method.session === undefined) return method;
      const step = path === SET ? itsStep : method.step;
      return { ...method, step, session, advancesAnchor: false };
    },
  };
  const log = {
    error: ({ err }: { err: unknown }) => causes.push(err),
    warn() {},
    info() {},
    debug() {},
  };
  server = new Server({ contract: carried, log: log as never });
});
afterEach(async () => {
  client?.close();
  await server.drain();
});

/** Serves the handlers, and gives a first waybill. */
async function serve(given: Partial<All>, more: object = {}): Promise<string> {
  handlers = given;
  const all = new Proxy(handlers, {
    get: (own, name) => own[name as keyof All] ?? (() => Promise.reject(new Error("unused"))),
  }) as All;
  const parts = { state: CheckoutState, ring, checkpoints, revocations, ...more };
  server.add(CheckoutServiceService, all, parts);
  address = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  client = createClient(CheckoutServiceService, address);
  const state = CheckoutState.create({ order: "first" });
  const envelope = sessions.successor(sessions.begin(), sessions.encode(state));
  const { header, iv, ciphertext, tag } = sessions.seal(envelope);
  return [header, "", ...[iv, ciphertext, tag].map((part) => part.toString("base64url"))].join(".");
}

interface Heard<Message> {
  /** Received messages, in order. */
  readonly messages: Message[];
  reply?: string | undefined;
  trailers?: string | undefined;
}

/** Settings of a call with a waybill, and its reply metadata. */
function sending<Message>(waybill?: string): [CallSettings, Heard<Message>] {
  const metadata = new Metadata();
  if (waybill !== undefined) metadata.set("waybill", waybill);
  const heard: Heard<Message> = { messages: [] };
  const of = (received: Metadata) => received.get("waybill").at(-1)?.toString();
  return [
    {
      metadata,
      onMetadata: (received) => {
        heard.reply = of(received);
      },
      onTrailers: (received) => {
        heard.trailers = of(received);
      },
    },
    heard,
  ];
}

async function setItems(waybill?: string): Promise<Heard<SetItemsResponse>> {
  const [settings, heard] = sending<SetItemsResponse>(waybill);
  for await (const message of client.setItems({ items: [ITEM] }, settings)) {
    heard.messages.push(message);
  }
  return heard;
}

/** The version and state of a waybill. */
async function read(waybill: string | undefined): Promise<string> {
  const { version, state } = await sessions.open(fromCompact(waybill!)!);
  return `${version} ${state.order}`;
}

const message = (): SetItemsResponse => ({ item: ITEM, waybill: undefined });
const checkout = (): Checkout => ({
  items: [],
  address: undefined,
  deliverySpeed: 0,
  quote: undefined,
  order: "",
});

test("a session advances at its start, with messages, and at its end", async () => {
  const waybill = await serve({
    async *setItems(_request, context) {
      const { state } = context.session;
      state.order = "at the start";
      await context.advance();
      state.order = "with a message";
      yield await context.advance(message());
      yield message();
      state.order = "at the end";
    },
  });
  const { messages, reply, trailers } = await setItems(waybill);
  expect(await read(reply)).toBe("2 at the start");
  expect(await read(fieldToMetadataValue(messages[0]!.waybill))).toBe("3 with a message");
  expect(messages[1]!.waybill).toBeUndefined();
  expect(await read(trailers)).toBe("4 at the end");
});

test("what is sent at the start is there before the first message", async () => {
  const gate = Promise.withResolvers<void>();
  const waybill = await serve({
    async *setItems(_request, context) {
      context.session.state.order = "early";
      await context.advance();
      await gate.promise;
      yield message();
    },
  });
  const [settings, heard] = sending(waybill);
  const started = Promise.withResolvers<void>();
  const { onMetadata } = settings;
  const stream = client.setItems(
    { items: [ITEM] },
    {
      ...settings,
      onMetadata: (metadata) => {
        onMetadata!(metadata);
        started.resolve();
      },
    },
  );
  const first = stream[Symbol.asyncIterator]().next();
  await started.promise;
  expect(await read(heard.reply)).toBe("2 early");
  gate.resolve();
  expect((await first).value).toMatchObject({ item: ITEM });
});

test("what has not changed is not sealed again, and a handler may put another state there", async () => {
  const waybill = await serve({
    async *setItems() {
      yield message();
    },
    async *editItems(requests, { session: own }) {
      for await (const _request of requests) {
        own.state = CheckoutState.create({ order: "another" });
        yield { checkout: checkout(), waybill: undefined };
      }
    },
  });
  expect(await setItems(waybill)).toMatchObject({
    messages: [{ item: ITEM, waybill: undefined }],
    reply: undefined,
    trailers: undefined,
  });
  const [settings, heard] = sending<EditItemsResponse>(waybill);
  const requests = async function* (): AsyncGenerator<EditItemsRequest> {
    yield { item: ITEM };
    yield { item: ITEM };
  };
  for await (const answer of client.editItems(requests(), settings)) heard.messages.push(answer);
  expect(heard.messages).toHaveLength(2);
  expect(await read(heard.trailers)).toBe("2 another");
});

test("a stream may begin a session, with or without a message", async () => {
  itsStep = Step.STEP_BEGIN;
  let isSilent = false;
  await serve({
    async *setItems(_request, context) {
      context.session.state.order = "begun";
      if (isSilent) return;
      yield await context.advance(message());
      context.session.state.order = "ended";
    },
  });
  const { messages, trailers } = await setItems();
  expect(await read(fieldToMetadataValue(messages[0]!.waybill))).toBe("1 begun");
  expect(await read(trailers)).toBe("2 ended");
  isSilent = true;
  expect(await read((await setItems()).trailers)).toBe("1 begun");
});

test("a stream that reads a session changes nothing of it", async () => {
  itsStep = Step.STEP_READ;
  const seen: string[] = [];
  const waybill = await serve({
    async *setItems(_request, { session: own }) {
      seen.push(own.state.order);
      own.state.order = "changed";
      yield message();
    },
  });
  const { reply, trailers } = await setItems(waybill);
  expect([seen, reply, trailers]).toEqual([["first"], undefined, undefined]);
});

test("a stream of requests answers with the waybill in the reply, or in the trailers after an advance", async () => {
  let hasStart = false;
  const waybill = await serve({
    async uploadItems(requests, context) {
      if (hasStart) {
        context.session.state.order = "at the start";
        await context.advance();
      }
      let count = 0;
      for await (const _request of requests) count += 1;
      context.session.state.order = `${count} requests`;
      return checkout();
    },
  });
  const requests = async function* () {
    yield { product: "products/1" };
    yield { product: "products/2" };
  };
  const [settings, heard] = sending(waybill);
  await client.uploadItems(requests(), settings);
  expect([await read(heard.reply), heard.trailers]).toEqual(["2 2 requests", undefined]);
  hasStart = true;
  const [again, heardAgain] = sending(waybill);
  await client.uploadItems(requests(), again);
  expect(await read(heardAgain.reply)).toBe("2 at the start");
  expect(await read(heardAgain.trailers)).toBe("3 2 requests");
});

test("each version of a carried session may be kept, and one that the handler asks for is", async () => {
  const waybill = await serve({
    async *setItems(_request, context) {
      context.session.state.order = "with a message";
      context.checkpoint();
      yield await context.advance(message());
      context.session.state.order = "at the end";
    },
  });
  await setItems(waybill);
  expect(kept).toEqual([
    [2, false],
    [3, false],
    // As the call leaves it.
    [3, true],
  ]);
});

test("what fails seals nothing that its last advance has not", async () => {
  const waybill = await serve({
    async *setItems(_request, context) {
      context.session.state.order = "advanced";
      yield await context.advance(message());
      context.session.state.order = "lost";
      throw new Error("no more");
    },
  });
  const [settings, heard] = sending<SetItemsResponse>(waybill);
  const stream = (async () => {
    for await (const each of client.setItems({ items: [ITEM] }, settings)) {
      heard.messages.push(each);
    }
  })();
  expect((await refusal(stream)).reason).toBe("INTERNAL");
  expect(await read(fieldToMetadataValue(heard.messages[0]!.waybill))).toBe("2 advanced");
  expect(heard.trailers).toBeUndefined();
});

test("a handler whose caller stops reading is ended", async () => {
  const ended = Promise.withResolvers<void>();
  const waybill = await serve({
    async *setItems(_request, context) {
      try {
        for (;;) yield await context.advance(message());
      } finally {
        ended.resolve();
      }
    },
  });
  const [settings] = sending(waybill);
  for await (const _message of client.setItems({ items: [ITEM] }, settings)) break;
  await ended.promise;
});

test("an advance where there is no place for its waybill is the handler's mistake, and named", async () => {
  const late = async function* (_request: unknown, context: Context<State>) {
    yield message();
    await context.advance();
  };
  let advance = (context: Context<State>): Promise<unknown> => context.advance(checkout());
  const waybill = await serve({
    setItems: late,
    uploadItems: async (_requests, context) => (await advance(context)) as Checkout,
    getCheckout: async (_request, context) => (await context.advance(checkout())) as Checkout,
  });
  expect((await refusal(setItems(waybill))).reason).toBe("INTERNAL");
  const [settings] = sending(waybill);
  const upload = () =>
    client.uploadItems(
      (async function* () {
        yield { product: "products/1" };
      })(),
      settings,
    );
  expect((await refusal(upload())).reason).toBe("INTERNAL");
  advance = async (context) => {
    await context.advance();
    return context.advance();
  };
  expect((await refusal(upload())).reason).toBe("INTERNAL");
  expect((await refusal(client.getCheckout({}, settings))).reason).toBe("INTERNAL");
  expect(causes.map((cause) => (cause as Error).message)).toEqual([
    expect.stringMatching("SetItems has sent its first message"),
    expect.stringMatching("UploadItems advances with a message that has no carrier field"),
    expect.stringMatching("UploadItems has sent its first message"),
    expect.stringContaining(
      "GetCheckout calls advance(), but its contract declares no stream that writes a session",
    ),
  ]);
});

test.each([
  ["advances", Step.STEP_ADVANCE],
  ["reads", Step.STEP_READ],
])("a stream that %s a session gets no further when that is revoked", async (_, step) => {
  itsStep = step;
  const waybill = await serve({
    async *setItems(_request, context) {
      for (let at = 0; ; at += 1) {
        context.session.state.order = `${at}`;
        yield step === Step.STEP_READ ? message() : await context.advance(message());
      }
    },
  });
  const [settings] = sending(waybill);
  const run = (async () => {
    for await (const _each of client.setItems({ items: [ITEM] }, settings)) isRevoked = true;
  })();
  expect((await refusal(run)).reason).toBe("WAYBILL_REVOKED");
});

test("a stream of requests whose session is revoked meanwhile changes nothing", async () => {
  const waybill = await serve({
    async uploadItems(requests, context) {
      for await (const _request of requests) isRevoked = true;
      context.session.state.order = "changed";
      return checkout();
    },
  });
  const [settings] = sending(waybill);
  const upload = client.uploadItems(
    (async function* () {
      yield { product: "products/1" };
    })(),
    settings,
  );
  expect((await refusal(upload)).reason).toBe("WAYBILL_REVOKED");
});

test("a version whose waybill no metadata could bring is not made", async () => {
  const waybill = await serve({
    async *setItems(_request, context) {
      context.session.state.order = "x".repeat(5000);
      yield await context.advance(message());
    },
  });
  expect((await refusal(setItems(waybill))).reason).toBe("WAYBILL_TOO_LARGE");
  expect(kept).toEqual([]);
});

test("an upload whose source fails fails with that, and leaves nothing open", async () => {
  const [begun, ended] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const waybill = await serve({
    async uploadItems(requests) {
      try {
        for await (const _request of requests) begun.resolve();
      } finally {
        ended.resolve();
      }
      return checkout();
    },
  });
  const [settings] = sending(waybill);
  const source = async function* () {
    yield { product: "products/1" };
    await begun.promise;
    throw new Error("the source has failed");
  };
  await expect(client.uploadItems(source(), settings)).rejects.toThrow("the source has failed");
  await ended.promise;
});

test("a drain waits for a stream with a session, and does not disturb it", async () => {
  const gate = Promise.withResolvers<void>();
  let signal: AbortSignal | undefined;
  const waybill = await serve({
    async *setItems(_request, context) {
      ({ signal } = context);
      yield await context.advance(message());
      await gate.promise;
      context.session.state.order = "at the end";
    },
  });
  const [settings, heard] = sending<SetItemsResponse>(waybill);
  const stream = client.setItems({ items: [ITEM] }, settings)[Symbol.asyncIterator]();
  await stream.next();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  let isDrained = false;
  const drained = server.drain().then(() => {
    isDrained = true;
  });
  // Longer than a drain that waits for no call.
  await vi.advanceTimersByTimeAsync(700);
  vi.useRealTimers();
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
  expect([isDrained, signal!.aborted]).toEqual([false, false]);
  gate.resolve();
  expect((await stream.next()).done).toBe(true);
  expect(await read(heard.trailers)).toBe("3 at the end");
  await drained;
});

test("the stream of a carried session has no transaction to offer, whatever others have", async () => {
  const waybill = await serve(
    {
      async *setItems(_request, context) {
        await context.transaction();
        yield message();
      },
    },
    { anchorage: { anchors: { beginTransaction() {} }, savedResponses: {} } },
  );
  expect((await refusal(setItems(waybill))).reason).toBe("INTERNAL");
  expect(String(causes[0])).toMatch(
    "calls transaction(), but its contract declares no step that writes an anchored session",
  );
});

test("a jar's stream keeps its turn while it is opened again", async () => {
  itsStep = Step.STEP_ADVANCE;
  const order: string[] = [];
  const waybill = await serve({
    async *setItems(_request, context) {
      order.push("stream");
      context.session.state.order += "1";
      yield await context.advance(message());
      if (order.length === 1) throw Errors.KEYS_UNAVAILABLE({ retryAfterMs: 50 });
    },
    async addItem() {
      order.push("call");
      return checkout();
    },
  });
  const jar = new Jar({ contract });
  jar.put("checkout", waybill);
  const own = createClient(CheckoutServiceService, address, { interceptors: [jar.interceptor()] });
  const streaming = (async () => {
    for await (const _each of own.setItems({ items: [ITEM] }));
  })();
  await Promise.all([streaming, own.addItem({ product: "products/1" })]);
  expect(order).toEqual(["stream", "stream", "call"]);
  own.close();
});
