import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import type { AccessToken } from "../auth/tokens/claims.ts";
import type { Caller } from "../contract/handlers.ts";
import { readRequestIdentity } from "./idempotency.ts";

const ADA = {
  subject: "users/ada",
  client: "app",
  confirmation: { method: "jkt", thumbprint: "one" },
} as AccessToken;

const asked = (caller: Caller, key?: string, request = "request", method = "/a/B") => {
  const metadata = new Metadata();
  if (key !== undefined) metadata.set("idempotency-key", key);
  return readRequestIdentity({ method, headers: metadata, caller }, Buffer.from(request));
};

test("a call is told from others by its method, request and whoever could open its answer", () => {
  const other = { ...ADA, confirmation: { method: "jkt", thumbprint: "two" } } as AccessToken;
  const calls = [
    asked({}),
    asked({}, undefined, "another"),
    asked({}, undefined, "request", "/a/C"),
    asked({ service: "checkout" }),
    asked({ token: ADA }),
    asked({ token: { ...ADA, subject: "users/bob" } }),
    asked({ token: { ...ADA, client: "other" } }),
    asked({ token: other }),
  ];
  expect(new Set(calls.map(({ requestDigest }) => requestDigest.toString("hex"))).size).toBe(8);
  for (const { requestDigest, idempotencyDigest } of calls) {
    expect(idempotencyDigest).toEqual(requestDigest);
  }
  // A token that was renewed meanwhile is the same caller's.
  expect(asked({ token: { ...ADA, id: "renewed" } as AccessToken })).toEqual(calls[4]);
});

test("with a key the key tells them apart, and the request whether it is the same", () => {
  const [one, same, reused] = [asked({}, "k"), asked({}, "k"), asked({}, "k", "another")];
  expect(same).toEqual(one);
  expect(reused.idempotencyDigest).toEqual(one.idempotencyDigest);
  expect(reused.requestDigest).not.toEqual(one.requestDigest);
  expect(asked({}, "l").idempotencyDigest).not.toEqual(one.idempotencyDigest);
});

test("requests of a stream without a key are nobody's repetition", () => {
  const stream = () =>
    readRequestIdentity({ method: "/a/B", headers: new Metadata(), caller: {} }, undefined);
  expect(stream().idempotencyDigest).not.toEqual(stream().idempotencyDigest);
});
