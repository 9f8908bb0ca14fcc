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

test("C2 a refusal whose cause is text that is no JSON does not repeat the text", () => {
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

test("the cause of a refusal is cut where it is long", () => {
  for (const cause of ["x".repeat(10_000), new Error("x".repeat(10_000))]) {
    tell("/a.B/C", Errors.INVALID_FIELD({ cause }));
  }
  expect(lines.map(({ why }) => (why as string).length)).toEqual([500, 500]);
});

test("C2 a program's own log gets nothing secret, wherever an error has it", () => {
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
