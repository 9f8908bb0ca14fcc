import { pino } from "pino";
import { beforeEach, expect, test } from "vitest";
import { Errors } from "../errors.ts";
import { failureLog } from "./failureLog.ts";

let lines: Record<string, unknown>[];
let tell: ReturnType<typeof failureLog>;
beforeEach(() => {
  lines = [];
  tell = failureLog(pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) }));
});

test("C2 does not log text that is not JSON", () => {
  try {
    JSON.parse('{"sub": secret-of-the-caller}');
    expect.unreachable();
  } catch (cause) {
    expect(String(cause)).toContain("secret");
    tell("/a.B/C", Errors.CREDENTIAL_INVALID({ cause }));
  }
  expect(lines).toMatchObject([{ reason: "CREDENTIAL_INVALID", why: "not JSON" }]);
  expect(JSON.stringify(lines)).not.toContain("secret");
});

test("cuts a long cause of a refusal", () => {
  for (const cause of ["x".repeat(10_000), new Error("x".repeat(10_000))]) {
    tell("/a.B/C", Errors.INVALID_FIELD({ cause }));
  }
  expect(lines.map(({ why }) => (why as string).length)).toEqual([500, 500]);
});

test("C2 logs no secret from any part of an error", () => {
  const inner = Object.assign(new Error("inner"), { request: { waybill: "abc" } });
  const cause = new AggregateError([new Error("outer", { cause: inner })], "Bearer abc");
  tell("/a.B/C", Errors.INTERNAL({ cause }));
  tell("/a.B/C", Errors.WAYBILL_INVALID({ cause: "not one: Bearer abc" }));
  expect(lines).toMatchObject([
    { err: { errors: [{ message: "outer", cause: { message: "inner" } }] } },
    { why: "not one: Bearer [redacted]" },
  ]);
  expect(JSON.stringify(lines)).not.toContain("abc");
});
