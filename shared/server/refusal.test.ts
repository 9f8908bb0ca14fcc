import { gzipSync } from "node:zlib";
import { status } from "@grpc/grpc-js";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  Checkout,
  CheckoutServiceService,
  EditItemsResponse,
  SetItemsResponse,
} from "../../proto/gen/waybill/checkout/v1/checkout.ts";
import {
  carriedCheckout,
  carriedWaybill,
  KINDS,
  requestOf,
} from "../../test/support/servers/carriedCheckout.ts";
import { type Field, type RawResponse, rawCall } from "../../test/support/wire/rawCall.ts";
import type { Context } from "../contract/handlers.ts";
import { Errors, StatusError } from "../errors.ts";
import type { Call } from "./call.ts";
import type { Server, ServerOptions } from "./server.ts";

/** Half of a surrogate pair: it cannot be encoded in UTF-8. */
const HALF = "\ud83d";

let server: Server;
let target: string;
/** The current test's handlers. */
let act: (context: Context<unknown>) => void;
/** Runs in a stream after its first message. */
let actLater: (context: Context<unknown>) => void;
let lines: Record<string, unknown>[];

async function serve(
  options: Omit<ServerOptions, "contract"> = {},
  definition = CheckoutServiceService,
): Promise<void> {
  const write = (line: string) => void lines.push(JSON.parse(line));
  // One place of each kind: a call that does not free its place blocks the next one.
  const all = { log: pino({}, { write }), maxCalls: 1, maxStreams: 1, ...options };
  server = carriedCheckout(
    all,
    {
      getCheckout: async (_request, context) => {
        act(context);
        return Checkout.create();
      },
      setItems: (_request, context) => responses(context, SetItemsResponse.create()),
      // Throws synchronously, while the others reject.
      uploadItems: (_request, context) => {
        act(context);
        return Promise.resolve(Checkout.create());
      },
      editItems: (_request, context) => responses(context, EditItemsResponse.create()),
    },
    definition,
  );
  target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
}

async function* responses<T>(context: Context<unknown>, message: T): AsyncGenerator<T> {
  act(context);
  yield message;
  actLater(context);
}

beforeEach(() => {
  lines = [];
  actLater = () => {};
});
afterEach(async () => {
  // Waits for running calls.
  await server.drain();
});

const WAYS: readonly [string, string, Field[], Buffer?][] = [
  ...KINDS.map(([kind, path]): [string, string, Field[]] => [kind, path, []]),
  [
    "unary, compressed",
    KINDS[0]![1],
    [["grpc-encoding", "gzip"]],
    ((message) => {
      const head = Buffer.from([1, 0, 0, 0, message.length]);
      return Buffer.concat([head, message]);
    })(gzipSync("")),
  ],
];

/** Values that a handler may throw, and the resulting status. */
const THROWN: readonly [what: string, thrown: () => unknown, code: status][] = [
  ["null", () => null, status.INTERNAL],
  ["undefined", () => undefined, status.INTERNAL],
  ["a text", () => HALF, status.INTERNAL],
  ["a symbol", () => Symbol("a"), status.INTERNAL],
  ["a frozen object", () => Object.freeze({ code: 3 }), status.INTERNAL],
  ["an object without a prototype", () => Object.create(null), status.INTERNAL],
  [
    "an error whose message cannot be read",
    () =>
      Object.defineProperty(new Error("a"), "message", {
        get: () => {
          throw new Error("no message");
        },
      }),
    status.INTERNAL,
  ],
  [
    "an error whose cause is itself",
    () => {
      const error = new Error("a");
      error.cause = error;
      return error;
    },
    status.INTERNAL,
  ],
  [
    "a proxy that refuses everything",
    () =>
      new Proxy(
        {},
        {
          get: () => {
            throw new Error("no property");
          },
          getPrototypeOf: () => {
            throw new Error("no prototype");
          },
        },
      ),
    status.INTERNAL,
  ],
  [
    "a frozen refusal",
    () => Object.freeze(Errors.SESSION_NOT_FOUND({ metadata: Object.freeze({ a: "b" }) })),
    status.NOT_FOUND,
  ],
  ["a refusal with half a surrogate pair in its message", () => error(`a${HALF}b`), status.ABORTED],
  [
    "a refusal with half a surrogate pair in its details",
    () =>
      Errors.INVALID_FIELD({
        metadata: { [HALF]: HALF },
        violations: [{ field: HALF, description: HALF }],
      }),
    status.INVALID_ARGUMENT,
  ],
  [
    "a refusal with control characters in its message",
    () => error("a\0b\nc\u2028"),
    status.ABORTED,
  ],
  ["a refusal whose message is no text", () => error(5 as never), status.INTERNAL],
  ["a refusal with the code OK", () => new StatusError(0, "a", "A", "a", {}), status.INTERNAL],
  ["a refusal without a code", () => new StatusError(NaN, "a", "A", "a", {}), status.INTERNAL],
  [
    "a refusal that cannot be encoded",
    () =>
      Object.assign(error("a"), {
        toStatusObject() {
          throw new Error("not encoded");
        },
      }),
    status.INTERNAL,
  ],
];

function error(message: string): StatusError {
  const made = new StatusError(status.ABORTED, "a", "A", "a", {});
  return Object.defineProperty(made, "message", { value: message });
}

describe.each(WAYS)("%s", (_kind, path, extra, body = requestOf(path)) => {
  const send = (): Promise<RawResponse> =>
    rawCall(target, path, { fields: [["waybill", carriedWaybill()], ...extra], body });
  /** Asserts that the process lives and that the last call freed its place. */
  const expectServed = async () => {
    act = () => {};
    expect(await send()).toMatchObject({ code: status.OK });
  };

  test("R8 a call ends and frees its place, whatever a handler throws", async () => {
    await serve();
    await expectServed();
    for (const [what, thrown, code] of THROWN) {
      act = () => {
        throw thrown();
      };
      const response = await send();
      expect({ what, code: response.code }).toEqual({ what, code });
      await expectServed();
    }
    // Every error is logged, even if it cannot be written itself.
    expect(lines).toHaveLength(THROWN.length);
  });

  test("R8 replaces half a surrogate pair in an error message", async () => {
    await serve();
    act = () => {
      throw error(`100% a${HALF}b 😀\n`);
    };
    expect((await send()).report.message).toBe("100% a\ufffdb 😀\n");
  });

  test("R8 a stream ends, whatever it throws after its first message", async () => {
    if (!path.endsWith("SetItems") && !path.endsWith("EditItems")) return;
    await serve();
    for (const [what, thrown, code] of THROWN) {
      act = () => {};
      actLater = () => {
        throw thrown();
      };
      const response = await send();
      expect({ what, code: response.code }).toEqual({ what, code });
      actLater = () => {};
      await expectServed();
    }
  });

  test("R8 initial metadata that HTTP/2 refuses fail with INTERNAL", async () => {
    await serve();
    for (const [key, ...values] of [
      ["connection", "close"],
      ["transfer-encoding", "chunked"],
      ["te", "gzip"],
      ["etag", "a", "b"],
      ["content-type", "text/plain", "text/html"],
    ] as const) {
      act = ({ reply }) => {
        for (const value of values) reply.add(key, value);
      };
      const { code, report } = await send();
      expect({ key, code, reason: report.reason }).toEqual({
        key,
        code: status.INTERNAL,
        reason: "INTERNAL",
      });
      await expectServed();
    }
    expect(lines.map(({ msg }) => msg)).toEqual(Array(5).fill("call failed"));
  });

  test("R1 initial metadata larger than clients accept fail with INTERNAL", async () => {
    await serve();
    for (const [key, value] of [
      ["a", "b".repeat(200_000)],
      ["a-bin", Buffer.alloc(70_000)],
      ["a", "b".repeat(16_400)],
    ] as const) {
      act = ({ reply }) => reply.set(key, value);
      const { code, report } = await send();
      expect({ code, reason: report.reason }).toEqual({
        code: status.INTERNAL,
        reason: "INTERNAL",
      });
      await expectServed();
    }
    act = ({ reply }) => reply.set("a", "b".repeat(16_000));
    expect((await send()).code).toBe(status.OK);
    const message = expect.stringMatching(/^the initial metadata have \d+ bytes; at most 16384$/);
    expect(lines).toMatchObject(Array(3).fill({ msg: "call failed", err: { message } }));
  });

  test("R8 trailers that HTTP/2 refuses fail with INTERNAL", async () => {
    if (path === KINDS[0]![1]) return;
    await serve();
    act = (context) => (context as Call).trailers.set("connection", "close");
    const { code, report } = await send();
    expect({ code, reason: report.reason }).toEqual({
      code: status.INTERNAL,
      reason: "INTERNAL",
    });
    await expectServed();
  });

  test("R8 a response that cannot be encoded fails with INTERNAL and is logged", async () => {
    let encode: (() => Buffer) | undefined;
    const definition = Object.fromEntries(
      Object.entries(CheckoutServiceService).map(([name, method]) => [
        name,
        {
          ...method,
          responseSerialize: (message: never) => encode?.() ?? method.responseSerialize(message),
        },
      ]),
    ) as unknown as typeof CheckoutServiceService;
    await serve({}, definition);
    await expectServed();
    for (const fault of [
      () => {
        throw new Error("no bytes");
      },
      () => ({}) as Buffer,
    ]) {
      encode = fault;
      act = () => {};
      expect(await send()).toMatchObject({ code: status.INTERNAL });
      encode = undefined;
      await expectServed();
    }
    expect(lines[0]).toMatchObject({ msg: "call failed", err: { message: "no bytes" } });
  });

  test.each<[string, Partial<ServerOptions>]>([
    ["translation", { translate: fail }],
    ["log", { log: { error: fail, warn: fail, info: fail, debug: fail } as never }],
  ])("R8 a %s that fails costs no answer", async (_what, options) => {
    await serve(options);
    await expectServed();
    for (const thrown of [new Error("a"), Errors.SESSION_NOT_FOUND()]) {
      act = () => {
        throw thrown;
      };
      const code = thrown instanceof StatusError ? status.NOT_FOUND : status.INTERNAL;
      expect((await send()).code).toBe(code);
      await expectServed();
    }
  });
});

function fail(): never {
  throw new Error("failed itself");
}
