import { calculateJwkThumbprint, exportJWK } from "jose";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  type ExchangeRequest,
  type GrantClientCredentialsRequest,
  TokenResponse,
  TokenServiceService,
} from "../../proto/gen/waybill/token/v1/token.ts";
import { makeCredentials } from "../../test/support/callers/credentials.ts";
import { contract } from "../../test/support/clients.ts";
import { waitFor } from "../../test/support/waitFor.ts";
import type { BoundAuthorization } from "../client/client.ts";
import type { Context, Handlers } from "../contract/handlers.ts";
import { vocabulary } from "../errors.ts";
import { Server } from "../server/server.ts";
import type { Credentials } from "./credentials/credentials.ts";
import { ServiceTokens } from "./serviceTokens.ts";
import type { AccessToken } from "./tokens/claims.ts";
import { Proofs } from "./tokens/dpop.ts";

const { AWAY } = vocabulary("test", { AWAY: [13, "away"] });

let server: Server;
let credentials: Credentials;
let tokens: ServiceTokens;
let clock: { now: number };
let isAway = false;
const granted: GrantClientCredentialsRequest[] = [];
const exchanged: ExchangeRequest[] = [];
let proofs: (string | undefined)[] = [];

beforeEach(async () => {
  credentials ??= await makeCredentials();
  granted.length = 0;
  exchanged.length = 0;
  proofs = [];
  isAway = false;
  clock = { now: 0 };
  const answer = (accessToken: string) => {
    if (isAway) throw AWAY();
    return TokenResponse.fromPartial({ accessToken, expiresInSeconds: 100 });
  };
  const rest = Object.fromEntries(
    Object.keys(TokenServiceService).map((name) => [name, async () => ({})]),
  );
  server = new Server({ contract }).add(TokenServiceService, {
    ...rest,
    grantClientCredentials: async (request: GrantClientCredentialsRequest) => {
      granted.push(request);
      return answer(`own-${granted.length}`);
    },
    exchange: async (request: ExchangeRequest, { metadata }: Context) => {
      exchanged.push(request);
      proofs.push(metadata.get("dpop")[0]?.toString());
      return answer(`acting-${exchanged.length}`);
    },
  } as unknown as Handlers<typeof TokenServiceService>);
  tokens = new ServiceTokens({
    ...{ contract, credentials, issuer: "https://a", service: "checkout" },
    target: `127.0.0.1:${await server.listen("127.0.0.1:0")}`,
    monotonic: () => clock.now,
  });
});
afterEach(async () => {
  tokens.close();
  await server.drain();
});

/** Settles when so many grants have been asked for. */
async function untilGranted(count: number): Promise<void> {
  await waitFor(`${count} grants`, () => granted.length >= count);
}

test("many who wait for a token wait for the same one, and another audience has another", async () => {
  const all = await Promise.all(Array.from({ length: 50 }, () => tokens.own("catalog")));
  expect(new Set(all)).toEqual(new Set(["own-1"]));
  expect(await tokens.own("identity")).toBe("own-2");
  expect(granted.map(({ wanted }) => wanted?.audiences)).toEqual([["catalog"], ["identity"]]);
  expect(granted[0]!.client).toMatchObject({
    client: "services/checkout",
    proof: { $case: "assertion" },
  });
});

test("a token is renewed in the background before it expires, and nobody waits for it", async () => {
  expect(await tokens.own("a")).toBe("own-1");
  clock.now = 62_000;
  expect(await tokens.own("a")).toBe("own-1");
  expect(granted).toHaveLength(1);
  // At seventy seconds of a hundred, give or take a tenth.
  clock.now = 78_000;
  expect(await tokens.own("a")).toBe("own-1");
  await untilGranted(2);
  const next = await waitFor("another token", async () => {
    const token = await tokens.own("a");
    return token !== "own-1" && token;
  });
  expect(next).toBe("own-2");
  expect(granted).toHaveLength(2);
});

test("while it can't be renewed the one that is there is used, as long as it is good", async () => {
  await tokens.own("a");
  isAway = true;
  clock.now = 90_000;
  for (let call = 0; call < 3; call += 1) expect(await tokens.own("a")).toBe("own-1");
  clock.now = 95_001;
  await expect(tokens.own("a")).rejects.toThrow("away");
  isAway = false;
  expect(await tokens.own("a")).toMatch(/^own-[3-9]$/);
});

test("a call goes with the service's own token, or on behalf of whoever it is made for", async () => {
  const caller = (jwt: string) => ({ jwt });
  const path = "/waybill.identity.v1.IdentityService/GetUser";
  expect(await tokens.authorize(path, undefined)).toBe("Bearer own-1");
  expect(await tokens.authorize(path, {})).toBe("Bearer own-1");
  expect(await tokens.authorize(path, caller("a"))).toBe("Bearer acting-1");
  expect(await tokens.authorize(path, caller("b"))).toBe("Bearer acting-2");
  expect(await tokens.authorize(path, caller("a"))).toBe("Bearer acting-1");
  expect(exchanged.map(({ subjectToken, wanted }) => [subjectToken, wanted?.audiences])).toEqual([
    ["a", ["identity"]],
    ["b", ["identity"]],
  ]);
  // A method that reads no token gets none.
  for (const method of [
    "/waybill.catalog.v1.CatalogService/GetProduct",
    "/waybill.token.v1.TokenService/Refresh",
    "/waybill.keys.v1.KeysService/GetRing",
  ]) {
    expect(await tokens.authorize(method, caller("a"))).toBeUndefined();
  }
  expect(granted).toHaveLength(1);
});

test("C4 on behalf of a caller with a bound token, proves the service's own key", async () => {
  const path = "/waybill.identity.v1.IdentityService/GetUser";
  const confirmation = { method: "jkt", thumbprint: "x".repeat(43) } as const;
  const caller = (jwt: string, bound?: AccessToken["confirmation"]) => ({
    jwt,
    token: { confirmation: bound } as AccessToken,
  });
  expect(await tokens.authorize(path, caller("unbound"))).toBe("Bearer acting-1");
  expect(proofs).toEqual([undefined]);
  const made = await tokens.authorize(path, caller("bound", confirmation));
  expect(made).toMatchObject({ authorization: "DPoP acting-2" });
  const { dpop } = made as BoundAuthorization;
  const { key } = (await credentials.peer("checkout"))!;
  const thumbprint = await calculateJwkThumbprint(await exportJWK(key));
  const verifier = new Proofs();
  const granting = `https://a${TokenServiceService.exchange.path}`;
  expect(await verifier.verify(proofs[1]!, [granting], undefined)).toMatchObject({ thumbprint });
  expect(await verifier.verify(dpop, [`https://a${path}`], "acting-2")).toMatchObject({
    thumbprint,
  });
  // The token is cached, each call has a proof of its own.
  const again = (await tokens.authorize(path, caller("bound", confirmation))) as typeof made;
  expect(again).toMatchObject({ authorization: "DPoP acting-2" });
  expect((again as BoundAuthorization).dpop).not.toBe(dpop);
  expect(exchanged).toHaveLength(2);
});
