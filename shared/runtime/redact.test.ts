import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { pino } from "pino";
import { expect, test } from "vitest";
import { loggable } from "./redact.ts";

const TOKEN = "eyJhbGciOiJkaXIifQ..AAAA.BBBB.CCCC";

/** An error of grpc-js with the sent metadata. */
function serviceError(): Error {
  const metadata = new Metadata();
  metadata.set("waybill", TOKEN);
  return Object.assign(new Error("14 UNAVAILABLE"), {
    code: 14,
    metadata,
  }) as Partial<ServiceError> & Error;
}

const caused = (by: unknown, levels: number): Error =>
  levels === 0 ? (by as Error) : new Error(`level ${levels}`, { cause: caused(by, levels - 1) });

test.each<[string, unknown]>([
  ["in an error", serviceError()],
  ["in the sixth cause", caused(serviceError(), 6)],
  ["in an error of several", new AggregateError([new Error("a"), serviceError()])],
  ["in the cause of one of several", caused(new AggregateError([caused(serviceError(), 2)]), 2)],
  [
    "in an object in an error",
    Object.assign(new Error("a"), {
      request: { waybill: TOKEN, headers: { Authorization: TOKEN } },
    }),
  ],
  [
    "under a name in another form",
    { config: { "Set-Cookie": TOKEN, access_token: TOKEN, clientSecret: TOKEN } },
  ],
  ["in a list of headers", { rawHeaders: ["authorization", `Bearer ${TOKEN}`, "dpop", TOKEN] }],
  ["in a message", new Error(`cannot open ${TOKEN}: it has expired`)],
  ["in a thrown text", `Bearer ${TOKEN}`],
  ["in a statement's values", Object.assign(new Error("Failed query"), { params: [TOKEN] })],
  ["in a list in a list", [[{ payload: { sub: TOKEN } }]]],
])("C2 a secret is cut out: %s", (_, value) => {
  const text = JSON.stringify(loggable(value));
  for (const part of ["AAAA", "BBBB", "eyJ"]) expect(text).not.toContain(part);
});

test("C2 credentials and passwords are cut out of texts, the rest stays", () => {
  expect(
    loggable("sent DPoP abc.def and basic dXNlcjpwYXNz, to postgres://app:hunter2@db/waybill"),
  ).toBe("sent DPoP [redacted] and basic [redacted], to postgres://app:[redacted]@db/waybill");
});

test("what a person looks for in an error stays", () => {
  const inner = Object.assign(new TypeError("inner"), { code: "23505", table: "order" });
  const error = new Error("outer", { cause: inner });
  expect(loggable({ err: error, calls: 3, big: 5n, at: new Date(0) })).toMatchObject({
    err: {
      type: "Error",
      message: "outer",
      stack: error.stack,
      cause: { type: "TypeError", message: "inner", code: "23505", table: "order" },
    },
    ...{ calls: 3, big: "5", at: new Date(0) },
  });
});

test("a log of any kind can write the copy of an error", () => {
  const copy = loggable(new TypeError("inner"));
  expect(`${copy}`).toBe("TypeError: inner");
  const lines: string[] = [];
  pino({}, { write: (line: string) => void lines.push(line) }).error({ err: copy });
  expect(JSON.parse(lines[0]!)).toMatchObject({ err: { type: "TypeError", message: "inner" } });
});

test("R8 the log is bounded, and written, whatever is thrown", () => {
  const circular: Record<string, unknown> = { error: new Error("a") };
  circular["self"] = circular;
  (circular["error"] as Error).cause = circular;
  let deep: unknown = 1;
  for (let level = 0; level < 10_000; level += 1) deep = { deep };
  const hostile = new Proxy(
    {},
    {
      ownKeys: () => {
        throw new Error("no keys");
      },
    },
  );
  const unreadable = Object.defineProperty({}, "a", {
    enumerable: true,
    get: () => {
      throw new Error("no");
    },
  });
  for (const value of [
    new Error("x".repeat(3_000_000)),
    { bytes: Buffer.alloc(1_000_000), list: Array.from({ length: 100_000 }, () => "y") },
    Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`name${index}`, index])),
    ...[
      circular,
      deep,
      hostile,
      unreadable,
      null,
      undefined,
      Symbol("s"),
      () => 1,
      Object.freeze(new Error("f")),
    ],
    JSON.parse('{"__proto__": {"a": 1}}'),
  ]) {
    const text = JSON.stringify(loggable({ value }));
    expect(text.length).toBeLessThan(20_000);
  }
});
