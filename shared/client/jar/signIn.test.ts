import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  type RefreshRequest,
  type RevokeRequest,
  type SignInRequest,
  TokenResponse,
  TokenServiceService,
} from "../../../proto/gen/waybill/token/v1/token.ts";
import { contract } from "../../../test/support/clients.ts";
import type { Handlers } from "../../contract/handlers.ts";
import { vocabulary } from "../../errors.ts";
import { Server } from "../../server/server.ts";
import { SignIn } from "./signIn.ts";
import { MemoryStore } from "./stores.ts";

const PATH = "/waybill.token.v1.TokenService/ListSignIns";
const TokenErrors = vocabulary("token.waybill", {
  INVALID_GRANT: [status.UNAUTHENTICATED, "no"],
  DATABASE_UNAVAILABLE: [status.UNAVAILABLE, "not now"],
});

/** Checks the requests of a sign-in; end-to-end tests check the token service's decisions. */
let server: Server;
let target: string;
let store: MemoryStore;
let signIn: SignIn;
const refreshes: RefreshRequest[] = [];
const proofs: unknown[] = [];
const revoked: RevokeRequest[] = [];
let lifeS = 300;
let answer: (request: RefreshRequest) => Promise<string>;

beforeEach(async () => {
  refreshes.length = 0;
  proofs.length = 0;
  revoked.length = 0;
  lifeS = 300;
  answer = async () => `refresh-${refreshes.length}`;
  const response = (refreshToken: string, number: number) =>
    TokenResponse.fromPartial({
      refreshToken,
      accessToken: `access-${number}`,
      expiresInSeconds: lifeS,
    });
  const handlers = {
    signIn: async (_request: SignInRequest, { metadata }: { metadata: Metadata }) => {
      proofs.push(metadata.get("dpop")[0]);
      return response("refresh-0", 0);
    },
    refresh: async (request: RefreshRequest, { metadata }: { metadata: Metadata }) => {
      refreshes.push(request);
      proofs.push(metadata.get("dpop")[0]);
      return response(await answer(request), refreshes.length);
    },
    revoke: async (request: RevokeRequest) => {
      revoked.push(request);
      return {};
    },
  };
  const rest = Object.fromEntries(
    Object.keys(TokenServiceService).map((name) => [name, async () => ({})]),
  );
  server = new Server({ contract }).add(TokenServiceService, {
    ...rest,
    ...handlers,
  } as unknown as Handlers<typeof TokenServiceService>);
  target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  store = new MemoryStore();
  signIn = make();
});
afterEach(async () => {
  signIn.close();
  await server.drain();
});

const make = (options = {}) => new SignIn(store, { target, ...options });
const authorized = async (by = signIn): Promise<unknown> => {
  const metadata = new Metadata();
  await by.authorize(PATH, metadata);
  return metadata.get("authorization")[0];
};

test("who is not signed in sends nothing, and who is sends the token that he has", async () => {
  expect(await authorized()).toBeUndefined();
  await signIn.signIn("ada", "secret");
  expect(await authorized()).toBe("Bearer access-0");
  expect(refreshes).toEqual([]);
});

test("a token is renewed before it expires, once for all who wait", async () => {
  lifeS = 0;
  await signIn.signIn("ada", "secret");
  lifeS = 300;
  const all = await Promise.all(Array.from({ length: 20 }, () => authorized()));
  expect(new Set(all)).toEqual(new Set(["Bearer access-1"]));
  expect(refreshes).toHaveLength(1);
  expect(refreshes[0]!.idempotencyKey).toMatch(/^[\w-]{22}$/);
});

test("a refresh whose answer is lost is repeated with the same key", async () => {
  await signIn.signIn("ada", "secret");
  answer = async () => {
    if (refreshes.length < 3) throw TokenErrors.DATABASE_UNAVAILABLE();
    return "refresh-3";
  };
  await signIn.renew("access-0");
  expect(refreshes).toHaveLength(3);
  expect(new Set(refreshes.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1);
  await signIn.renew("access-3");
  expect(refreshes[3]!.refreshToken).toBe("refresh-3");
  expect(refreshes[3]!.idempotencyKey).not.toBe(refreshes[0]!.idempotencyKey);
});

test("also by the program's next run, when the first one did not live to hear the answer", async () => {
  await signIn.signIn("ada", "secret");
  answer = async () => {
    throw TokenErrors.DATABASE_UNAVAILABLE();
  };
  await expect(signIn.renew("access-0")).rejects.toThrow("not now");
  const [lost] = refreshes;
  answer = async () => "refresh-9";
  const next = make();
  await next.renew("access-0");
  expect(refreshes.at(-1)).toEqual(lost);
  next.close();
});

test("a token that cannot be renewed now is sent as it is", async () => {
  lifeS = 0;
  await signIn.signIn("ada", "secret");
  answer = async () => {
    throw TokenErrors.DATABASE_UNAVAILABLE();
  };
  expect(await authorized()).toBe("Bearer access-0");
  expect(refreshes.length).toBeGreaterThan(0);
  expect(signIn.isSignedIn).toBe(true);
  answer = async () => "refresh-9";
  expect(await authorized()).toBe(`Bearer access-${refreshes.length}`);
});

test("when the sign-in has ended it is forgotten, and the call goes without", async () => {
  lifeS = 0;
  await signIn.signIn("ada", "secret");
  answer = async () => {
    throw TokenErrors.INVALID_GRANT();
  };
  await expect(signIn.renew("access-0")).rejects.toThrow("no");
  expect(refreshes).toHaveLength(1);
  expect(signIn.isSignedIn).toBe(false);
  expect(await authorized()).toBeUndefined();
});

test("a renewal for a token that was renewed already asks nobody", async () => {
  await signIn.signIn("ada", "secret");
  await Promise.all([signIn.renew("access-0"), signIn.renew("access-0")]);
  await signIn.renew("access-0");
  expect(refreshes).toHaveLength(1);
});

test("signing out revokes the refresh token, and forgets it first", async () => {
  await signIn.signIn("ada", "secret");
  await signIn.signOut();
  expect(revoked).toMatchObject([{ token: "refresh-0" }]);
  expect(signIn.isSignedIn).toBe(false);
  await signIn.signOut();
  expect(revoked).toHaveLength(1);
  await signIn.signIn("ada", "secret");
  await server.drain();
  const error = await signIn.signOut().catch((thrown: ServiceError) => thrown);
  expect((error as ServiceError).code).toBe(status.UNAVAILABLE);
  expect(signIn.isSignedIn).toBe(false);
});

test("with an origin every token is bound to a key of the jar's own", async () => {
  const bound = make({ origin: "https://a.example" });
  await bound.signIn("ada", "secret");
  await bound.renew("access-0");
  expect(await authorized(bound)).toBe("DPoP access-1");
  const metadata = new Metadata();
  await bound.authorize(PATH, metadata);
  const again = new Metadata();
  await bound.authorize(PATH, again);
  // For one method and token a proof is used again for a while.
  expect(again.get("dpop")).toEqual(metadata.get("dpop"));
  const claims = [...proofs, metadata.get("dpop")[0]].map((proof) => {
    const [head, payload] = String(proof).split(".");
    const read = (part: string | undefined) =>
      JSON.parse(Buffer.from(part ?? "", "base64url").toString("utf8"));
    return { jwk: read(head).jwk.x, htu: read(payload).htu, jti: read(payload).jti };
  });
  expect(new Set(claims.map(({ jwk }) => jwk)).size).toBe(1);
  expect(claims.map(({ htu }) => htu)).toEqual([
    "https://a.example/waybill.token.v1.TokenService/SignIn",
    "https://a.example/waybill.token.v1.TokenService/Refresh",
    `https://a.example${PATH}`,
  ]);
  expect(new Set(claims.map(({ jti }) => jti)).size).toBe(3);
  bound.close();
});
