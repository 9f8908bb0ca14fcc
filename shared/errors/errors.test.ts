import { Metadata, status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { Errors, readError } from "./errors.ts";

test("an error arrives as it was sent: all but its cause", () => {
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
    message: "The replica serves as many calls as it can. Try again later.",
    domain: "waybill",
    reason: "OVERLOADED",
    metadata: { limit: "5" },
    violations: [{ field: "a.b", description: "is empty" }],
    retryAfterMs: 1500,
  });
});

test("details that nobody can read are no reason to fall over", () => {
  const metadata = new Metadata();
  const read = () => readError({ code: status.INTERNAL, details: "broken", metadata });
  const bare = { code: status.INTERNAL, message: "broken", reason: "", retryAfterMs: undefined };
  expect(read()).toMatchObject(bare);
  for (const bytes of ["ff", "0a", "1a05ffffffffff"]) {
    metadata.set("grpc-status-details-bin", Buffer.from(bytes, "hex"));
    expect(read()).toMatchObject(bare);
  }
});

test("no public message says more than its reason", () => {
  for (const make of Object.values(Errors)) {
    expect(make({ cause: "secret" }).message).toBe(make().message);
    expect(make().domain).toBe("waybill");
  }
});
