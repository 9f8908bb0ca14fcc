import { afterEach, beforeEach, expect, test } from "vitest";
import {
  type ExternalIssuer,
  startExternalIssuer,
} from "../../../test/support/callers/externalIssuer.ts";
import { ExternalJwks } from "./externalJwks.ts";

let issuer: ExternalIssuer;
let clock: { now: number };
let jwks: ExternalJwks;
beforeEach(async () => {
  issuer = await startExternalIssuer();
  clock = { now: 0 };
  const { jwksUri: uri, caCertificate } = issuer;
  jwks = new ExternalJwks({ uri, caCertificate, algorithms: ["RS256"] }, () => clock.now);
});
afterEach(() => issuer.close());

const fail = () =>
  issuer.answer((_request, response) => {
    response.writeHead(500).end();
  });
/** Refreshes concurrently, and returns the outcomes. */
const refreshes = async (count: number) => {
  const settled = await Promise.allSettled(Array.from({ length: count }, () => jwks.refresh()));
  return settled.map(({ status }) => status);
};

test("X5 rejects with the error of a failed fetch until the next one", async () => {
  fail();
  expect(await refreshes(3)).toEqual(Array(3).fill("rejected"));
  issuer.answer(undefined);
  for (const now of [1, 5000, 9999]) {
    clock.now = now;
    expect(await refreshes(3)).toEqual(Array(3).fill("rejected"));
  }
  expect(issuer.requests()).toBe(1);
  clock.now = 10_000;
  expect(await refreshes(3)).toEqual(Array(3).fill("fulfilled"));
  expect(jwks.find("k1")).toBeDefined();
  expect(issuer.requests()).toBe(2);
});

test("X5 fetches once for an unknown key, and does not find it", async () => {
  await jwks.refresh();
  for (let time = 0; time < 3; time += 1) {
    clock.now += 1000;
    expect(await refreshes(2)).toEqual(["fulfilled", "fulfilled"]);
    expect(jwks.find("k2")).toBeUndefined();
  }
  expect(issuer.requests()).toBe(2);
});

test("X5 uses cached keys while fetches fail", async () => {
  await jwks.refresh();
  await issuer.rotate();
  fail();
  clock.now = 1000;
  expect(await refreshes(2)).toEqual(["rejected", "rejected"]);
  expect(jwks.find("k1")).toBeDefined();
  clock.now = 10_999;
  expect(await refreshes(2)).toEqual(["rejected", "rejected"]);
  expect(issuer.requests()).toBe(2);
  issuer.answer(undefined);
  clock.now = 11_000;
  await jwks.refresh();
  expect(jwks.find("k2")).toBeDefined();
  // A success clears the error.
  clock.now = 11_001;
  expect(await refreshes(2)).toEqual(["fulfilled", "fulfilled"]);
});
