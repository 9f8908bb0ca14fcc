import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type ErrorDetails, Errors, MAX_VIOLATIONS, readError, StatusError } from "./errors.ts";

test("a caller reads every detail of an error except its cause", () => {
  const error = Errors.OVERLOADED({
    cause: "the password is hunter2",
    metadata: { limit: "5" },
    violations: [{ field: "a.b", description: "is empty" }],
    retryAfterMs: 1500,
  });
  const { code, details, metadata } = error.toStatusObject();
  expect(metadata.get("grpc-status-details-bin")[0]!.toString("latin1")).not.toContain("hunter2");
  expect(readError({ code, details, metadata })).toEqual({
    code: status.RESOURCE_EXHAUSTED,
    message: "The replica is at its limit of concurrent calls. Retry later.",
    domain: "waybill",
    reason: "OVERLOADED",
    metadata: { limit: "5" },
    violations: [{ field: "a.b", description: "is empty" }],
    retryAfterMs: 1500,
  });
});

test("unreadable details read as empty", () => {
  const metadata = new Metadata();
  const read = () => readError({ code: status.INTERNAL, details: "broken", metadata });
  const bare = { code: status.INTERNAL, message: "broken", reason: "", retryAfterMs: undefined };
  expect(read()).toMatchObject(bare);
  for (const bytes of ["ff", "0a", "1a05ffffffffff"]) {
    metadata.set("grpc-status-details-bin", Buffer.from(bytes, "hex"));
    expect(read()).toMatchObject(bare);
  }
});

/** Counts the bytes that an error adds to the headers of a response, as HTTP/2 does. */
function headerSize({ details, metadata }: Pick<StatusObject, "details" | "metadata">): number {
  const headers = { "grpc-message": encodeURI(details), ...metadata.toHttp2Headers() };
  return Object.entries(headers)
    .map(([name, value]) => name.length + String(value).length + 32)
    .reduce((sum, size) => sum + size, 0);
}

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 5000 }),
  fc.string({ minLength: 200, maxLength: 3000 }),
  fc.constantFrom("\ud83d", "\ud83d\ude00".repeat(200), "\u00e9".repeat(2000), "", "%".repeat(500)),
);

test("R1 a status takes less than 4 KiB of headers", () => {
  const given = fc.record({
    message: text,
    metadata: fc.dictionary(text, text, { maxKeys: 40 }),
    violations: fc.array(fc.record({ field: text, description: text }), { maxLength: 1000 }),
    retryAfterMs: fc.option(fc.nat(), { nil: undefined }),
  });
  fc.assert(
    fc.property(given, ({ message, retryAfterMs, ...details }) => {
      const more = retryAfterMs === undefined ? {} : { retryAfterMs };
      const error = new StatusError(status.ABORTED, "shop", "OUT_OF_STOCK", message, {
        ...details,
        ...more,
      });
      const sent = error.toStatusObject();
      expect(headerSize(sent)).toBeLessThan(4096);
      // The machine-readable part always arrives.
      expect(readError(sent)).toMatchObject({ reason: "OUT_OF_STOCK", domain: "shop", ...more });
    }),
    // Shrinking texts of thousands of characters takes minutes.
    { numRuns: 300, endOnFailure: true },
  );
});

test("R1 an error within its bounds is sent whole, and longer parts are cut", () => {
  const violations = Array.from({ length: MAX_VIOLATIONS + 1 }, (_, at) => ({
    field: `items[${at}]`,
    description: "is bad",
  }));
  const read = (details: ErrorDetails) => readError(Errors.INVALID_FIELD(details).toStatusObject());
  const whole = violations.slice(0, MAX_VIOLATIONS);
  expect(read({ violations: whole }).violations).toEqual(whole);
  expect(read({ violations }).violations).toEqual(whole);
  const long = { field: "a".repeat(1000), description: "\u00e9".repeat(1000) };
  const cut = read({ violations: [long] }).violations[0]!;
  expect(long.field.startsWith(cut.field.slice(0, -1))).toBe(true);
  expect(cut.description).toMatch(/^\u00e9+\u2026$/);
  const metadata = { a: "b".repeat(1000), c: "d" };
  expect(read({ metadata }).metadata).toEqual({ a: expect.stringMatching(/^b+\u2026$/), c: "d" });
});

test("a public message does not depend on the cause", () => {
  for (const make of Object.values(Errors)) {
    expect(make({ cause: "secret" }).message).toBe(make().message);
    expect(make().domain).toBe("waybill");
  }
});
