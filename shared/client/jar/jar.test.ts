import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CatalogServiceService } from "../../../proto/gen/waybill/catalog/v1/catalog.ts";
import { Mode } from "../../../proto/gen/waybill/options/v1/options.ts";
import {
  SessionServiceService,
  SessionState,
} from "../../../proto/gen/waybill/session/v1/session.ts";
import { contract } from "../../../test/support/clients.ts";
import { refusal } from "../../../test/support/refusal.ts";
import { makeRingSource } from "../../../test/support/rings.ts";
import { NO_CHECKPOINTS } from "../../anchors/checkpoints.ts";
import type { Contract } from "../../contract/contract.ts";
import { Server } from "../../server/server.ts";
import { createClient, type ServiceClient } from "../client.ts";
import { Jar } from "./jar.ts";
import { MemoryStore } from "./stores.ts";

/** The part of a session that tests check. */
const view = (version: number) => ({
  name: "",
  version,
  idleExpireTime: undefined,
  expireTime: undefined,
  mode: Mode.MODE_CARRIED,
});

/** A call that has come to its handler and waits there. */
interface Held {
  readonly method: "advance" | "read";
  readonly number: number;
  go(): void;
}

let server: Server;
let target: string;
let jar: Jar;
let client: ServiceClient<typeof SessionServiceService>;
/** While true, calls wait in their handlers. */
let holding = false;
const held: Held[] = [];
let onHeld = () => {};

const state = (number: number): SessionState => ({ value: { $case: "json", value: { number } } });
const numberOf = (sent: SessionState | undefined): number =>
  sent?.value?.$case === "json" ? Number(sent.value.value?.["number"]) : Number.NaN;

function hold(method: Held["method"], number: number): Promise<void> {
  if (!holding) return Promise.resolve();
  return new Promise((resolve) => {
    held.push({ method, number, go: resolve });
    onHeld();
  });
}

/** Waits until so many calls have come to their handlers, over all. */
function untilHeld(count: number): Promise<void> {
  return new Promise((resolve) => {
    onHeld = () => {
      if (held.length >= count) resolve();
    };
    onHeld();
  });
}

const advance = (number: number, settings = {}) =>
  client.advanceSession({ state: state(number), waybill: undefined }, settings);
const read = async () =>
  numberOf((await client.openSession({ waybill: undefined })).state as SessionState);
const begin = () => client.beginSession({ state: state(0), waybill: undefined });

const ring = makeRingSource("session");

const unused = () => Promise.reject(new Error("not called here"));

/** A server of sessions. @param idleS how long its waybills live unused */
async function serve(idleS: number): Promise<[server: Server, target: string]> {
  const lasting: Contract = {
    ...contract,
    method: (path) => {
      const method = contract.method(path);
      return {
        ...method,
        session: method.session && { ...method.session, idleS, mode: "carried" },
      };
    },
  };
  const made = new Server({ contract: lasting }).add(
    SessionServiceService,
    {
      beginSession: async ({ state: first }, { session }) => {
        session.state = first!;
        return { session: view(1), waybill: undefined };
      },
      advanceSession: async ({ state: next }, { session }) => {
        session.state = next!;
        await hold("advance", numberOf(next));
        return { session: view(session.version + 1), waybill: undefined };
      },
      openSession: async (_request, { session }) => {
        await hold("read", numberOf(session.state));
        return { session: view(session.version), state: session.state, waybill: undefined };
      },
      checkpointSession: async () => ({ session: undefined, waybill: undefined }),
      bindSession: async (_request, { session }) => ({
        session: view(session.version),
        waybill: undefined,
      }),
      endSession: async (_request, { session }) => ({ session: view(session.version) }),
      resumeSession: unused,
      listSessions: unused,
      revokeSession: unused,
    },
    { state: SessionState, ring, checkpoints: NO_CHECKPOINTS },
  );
  return [made, `127.0.0.1:${await made.listen("127.0.0.1:0")}`];
}

beforeEach(async () => {
  holding = false;
  held.length = 0;
  [server, target] = await serve(1800);
  jar = new Jar({ contract });
  client = createClient(SessionServiceService, target, { interceptors: [jar.interceptor()] });
  await begin();
});
afterEach(async () => {
  for (const each of held) each.go();
  client.close();
  await server.drain();
});

test("advances of one session are made one at a time, each on the one before", async () => {
  holding = true;
  const answers = [advance(1), advance(2), advance(3)];
  for (let turn = 1; turn <= 3; turn += 1) {
    await untilHeld(turn);
    // The others have not even been sent.
    expect(held.map(({ number }) => number)).toEqual([1, 2, 3].slice(0, turn));
    held[turn - 1]!.go();
    await answers[turn - 1];
  }
  expect((await Promise.all(answers)).map(({ session }) => session?.version)).toEqual([2, 3, 4]);
});

test("without the jar's turns, advances made at once fork the session", async () => {
  const waybill = jar.peek("session")!;
  const others = [new Jar({ contract }), new Jar({ contract })].map((other) => {
    other.put("session", waybill);
    return createClient(SessionServiceService, target, { interceptors: [other.interceptor()] });
  });
  holding = true;
  const answers = others.map((other, index) =>
    other.advanceSession({ state: state(index + 1), waybill: undefined }),
  );
  await untilHeld(2);
  for (const each of held) each.go();
  expect((await Promise.all(answers)).map(({ session }) => session?.version)).toEqual([2, 2]);
  for (const other of others) other.close();
});

test("reads go in parallel, beside an advance too", async () => {
  holding = true;
  const answers = [read(), read(), advance(1), read()];
  await untilHeld(4);
  for (const each of held) each.go();
  await Promise.all(answers);
});

test("a late read does not bring back what an advance has replaced", async () => {
  // To a server whose waybills live ten times as long this one is aging: a read renews it.
  client.close();
  await server.drain();
  [server, target] = await serve(18_000);
  client = createClient(SessionServiceService, target, { interceptors: [jar.interceptor()] });
  const first = jar.peek("session");
  await read();
  expect(jar.peek("session")).not.toBe(first);
  jar.put("session", first!);

  holding = true;
  const late = read();
  await untilHeld(1);
  const advanced = advance(1);
  await untilHeld(2);
  held[1]!.go();
  await advanced;
  const newest = jar.peek("session");
  held[0]!.go();
  expect(await late).toBe(0);
  expect(jar.peek("session")).toBe(newest);
  holding = false;
  expect(await read()).toBe(1);
});

test("a call that is cancelled while it waits is never sent, and gives up its place", async () => {
  holding = true;
  const first = advance(1);
  await untilHeld(1);
  const controller = new AbortController();
  const second = advance(2, { signal: controller.signal });
  const third = advance(3);
  controller.abort();
  expect((await refusal(second)).code).toBe(status.CANCELLED);
  held[0]!.go();
  await first;
  await untilHeld(2);
  held[1]!.go();
  await third;
  expect(held.map(({ number }) => number)).toEqual([1, 3]);
});

test("a call that is cancelled while it is made gives its turn to the next", async () => {
  holding = true;
  const controller = new AbortController();
  const first = advance(1, { signal: controller.signal });
  await untilHeld(1);
  const second = advance(2);
  controller.abort();
  expect((await refusal(first)).code).toBe(status.CANCELLED);
  await untilHeld(2);
  held[1]!.go();
  // The outcome of the first is unknown: the second was sent with the jar's waybill.
  expect((await second).session?.version).toBe(2);
});

test("calls of services without sessions pass through", async () => {
  const other = createClient(CatalogServiceService, target, {
    interceptors: [jar.interceptor()],
  });
  const call = other.getProduct({ name: "products/1" });
  expect((await refusal(call)).code).toBe(status.UNIMPLEMENTED);
  other.close();
});

test("a call whose deadline passes while it waits is never sent, and gives up its place", async () => {
  holding = true;
  const first = advance(1);
  await untilHeld(1);
  const second = advance(2, { timeoutMs: 50 });
  expect((await refusal(second)).code).toBe(status.DEADLINE_EXCEEDED);
  held[0]!.go();
  await first;
  holding = false;
  await advance(3);
  expect(await read()).toBe(3);
  expect(held.map(({ number }) => number)).toEqual([1]);
});

test("a refused advance leaves the jar as it was, and the next one goes on", async () => {
  const before = jar.peek("session");
  const nothing = client.advanceSession({ state: undefined, waybill: undefined });
  expect((await refusal(nothing)).reason).toBe("INVALID_FIELD");
  expect(jar.peek("session")).toBe(before);
  await advance(1);
  expect(await read()).toBe(1);
  // A read that brings no waybill leaves the jar as it was, too.
  expect(await read()).toBe(1);
});

test("a waybill that has ended, or is of no use, is dropped", async () => {
  await client.endSession({ waybill: undefined });
  expect(jar.peek("session")).toBeUndefined();
  expect((await refusal(read())).reason).toBe("WAYBILL_MISSING");
  jar.put("session", "a..b.c.d");
  expect((await refusal(read())).reason).toBe("WAYBILL_INVALID");
  expect(jar.peek("session")).toBeUndefined();
  await begin();
  expect(await read()).toBe(0);
});

test("several sessions of one audience lie side by side", async () => {
  const second = createClient(SessionServiceService, target, {
    interceptors: [jar.interceptor("second")],
  });
  expect((await refusal(second.openSession({ waybill: undefined }))).reason).toBe(
    "WAYBILL_MISSING",
  );
  await second.beginSession({ state: state(7), waybill: undefined });
  await advance(1);
  const opened = await second.openSession({ waybill: undefined });
  expect(numberOf(opened.state as SessionState)).toBe(7);
  jar.forget("session", "second");
  expect(jar.peek("session", "second")).toBeUndefined();
  expect(await read()).toBe(1);
  second.close();
});

test.each<[string, unknown]>([
  ["contract", undefined],
  ["contract", {}],
  ["contract", { contract: "image.binpb" }],
  ["store", { contract, store: new Map([["get", 1]]).entries() }],
  ["store", { contract, store: null }],
  ["signIn.target", { contract, signIn: { target: "" } }],
  ["signIn.target", { contract, signIn: {} }],
  ["signIn.origin", { contract, signIn: { target: "a:1", origin: "" } }],
  ["signIn.origin", { contract, signIn: { target: "a:1", origin: "a:1" } }],
  ["signIn.origin", { contract, signIn: { target: "a:1", origin: "https://a/" } }],
  ["signIn.origin", { contract, signIn: { target: "a:1", origin: null } }],
])("a jar with a bad option is refused: %s", (name, options) => {
  const good = { target: "127.0.0.1:1", origin: "https://a.example:8443" };
  new Jar({ contract, store: new MemoryStore(), signIn: good }).close();
  expect(() => new Jar(options as never)).toThrow(`Jar: ${name} must`);
});
