import { generateKeyPairSync } from "node:crypto";
import { exportJWK, SignJWT } from "jose";
import { afterEach, beforeEach, expect, test } from "vitest";
import { TokenServiceService } from "../../proto/gen/waybill/token/v1/token.ts";
import { contract } from "../../test/support/clients.ts";
import type { Handlers } from "../contract/handlers.ts";
import { Errors } from "../errors.ts";
import { Server } from "../server/server.ts";
import { JwksWatcher } from "./jwksWatcher.ts";
import { AccessTokens } from "./tokens/accessTokens.ts";

let server: Server;
let watcher: JwksWatcher;
let requests = 0;
let answer: () => Promise<string>;
const pair = generateKeyPairSync("ed25519");
const jwk = { ...(await exportJWK(pair.publicKey)), kid: "k1", alg: "EdDSA" };

beforeEach(async () => {
  requests = 0;
  answer = async () => JSON.stringify({ keys: [jwk] });
  const rest = Object.fromEntries(
    Object.keys(TokenServiceService).map((name) => [name, async () => ({})]),
  );
  server = new Server({ contract }).add(TokenServiceService, {
    ...rest,
    getJwks: async () => {
      requests += 1;
      return { contentType: "", data: Buffer.from(await answer()), extensions: [] };
    },
  } as unknown as Handlers<typeof TokenServiceService>);
  watcher = new JwksWatcher({ target: `127.0.0.1:${await server.listen("127.0.0.1:0")}` });
  await watcher.ready;
});
afterEach(async () => {
  watcher.close();
  await server.drain();
});

const make = (kid: string) =>
  new SignJWT({ client_id: "", epoch: 1 })
    .setProtectedHeader({ alg: "EdDSA", typ: "at+jwt", kid })
    .setIssuer("https://a")
    .setSubject("users/u")
    .setAudience("a")
    .setJti("j")
    .setIssuedAt()
    .setExpirationTime("60s")
    .sign(pair.privateKey);

test("ten thousand tokens with keys that nobody knows cost one request a second", async () => {
  const tokens = new AccessTokens("https://a", watcher);
  const [head = "", ...rest] = (await make("k1")).split(".");
  const header = JSON.parse(Buffer.from(head, "base64url").toString("utf8"));
  const startedAt = performance.now();
  for (let batch = 0; batch < 10; batch += 1) {
    const verified = await Promise.allSettled(
      Array.from({ length: 1000 }, async (_, number) => {
        const forged = JSON.stringify({ ...header, kid: `invented-${batch}-${number}` });
        return tokens.verify([Buffer.from(forged).toString("base64url"), ...rest].join("."));
      }),
    );
    expect(verified.every(({ status }) => status === "rejected")).toBe(true);
    expect((await tokens.verify(await make("k1"))).subject).toBe("users/u");
  }
  const seconds = (performance.now() - startedAt) / 1000;
  expect(requests).toBeLessThanOrEqual(2 + Math.ceil(seconds));
});

test("keys that were heard of once stay good while nobody answers, and while nonsense is answered", async () => {
  const known = watcher.find("k1");
  expect(known).toBeDefined();
  for (const nonsense of ["", "[]", '{"keys":{}}', "<html>"]) {
    answer = async () => nonsense;
    await watcher.refresh().catch(() => {});
    expect(watcher.find("k1")).toBe(known);
  }
});

test("a token whose key is not known is not called bad while nobody says which keys there are", async () => {
  const tokens = new AccessTokens("https://a", watcher);
  const jwt = await make("k2");
  answer = async () => {
    throw Errors.DATABASE_UNAVAILABLE();
  };
  for (let time = 0; time < 2; time += 1) {
    await expect(tokens.verify(jwt)).rejects.toMatchObject({ reason: "KEYS_UNAVAILABLE" });
  }
});
