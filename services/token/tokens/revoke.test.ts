import { generateKeyPairSync } from "node:crypto";
import { SignJWT } from "jose";
import { expect, test } from "vitest";
import type { Context } from "waybill";
import { AccessTokens } from "waybill/auth";
import type { TokenDependencies } from "../index.ts";
import { revoke } from "./revoke.ts";

const { privateKey } = generateKeyPairSync("ed25519");
const token = await new SignJWT({ client_id: "", epoch: 1 })
  .setProtectedHeader({ alg: "EdDSA", typ: "at+jwt", kid: "k1" })
  .setIssuer("https://a")
  .setSubject("users/u")
  .setAudience("a")
  .setJti("j")
  .setIssuedAt()
  .setExpirationTime("60s")
  .sign(privateKey);

test("fails while keys are unavailable, and succeeds for an unknown key", async () => {
  const revokeWith = (refresh: () => Promise<void>) => {
    const tokens = new AccessTokens("https://a", { find: () => undefined, refresh });
    const clients = { identify: async () => undefined };
    return revoke({ tokens, clients } as unknown as TokenDependencies)(
      { client: undefined, token },
      {} as Context,
    );
  };
  // RFC 7009 section 2.2: an invalid token counts as revoked.
  expect(await revokeWith(async () => {})).toEqual({});
  const unreachable = () => Promise.reject(new Error("unreachable"));
  await expect(revokeWith(unreachable)).rejects.toMatchObject({ reason: "KEYS_UNAVAILABLE" });
});
