import { createSecretKey } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { JWK } from "jose";
import { describe, expect, test } from "vitest";
import { AccessTokens } from "#shared/auth/tokens/accessTokens.ts";
import { importKeys } from "#shared/auth/tokens/verificationKeys.ts";
import {
  deriveRefreshToken,
  readRefreshToken,
} from "../../../services/token/signIns/refreshTokens.ts";

interface Vectors {
  access: { algorithm: string; jwk: JWK; token: string }[];
  refresh: { family: string; generation: number; keyId: string; key: string; token: string };
}

const FILES = readdirSync(import.meta.dirname).filter((file) => file.endsWith(".json"));

describe.each(FILES)("%s: released tokens stay valid", (file) => {
  const text = readFileSync(join(import.meta.dirname, file), "utf8");
  const { access, refresh } = JSON.parse(text) as Vectors;

  test.each(access)("an access token, $algorithm", async ({ jwk, token }) => {
    const keys = await importKeys({ keys: [jwk] }, ["EdDSA", "ES256"]);
    const source = { find: (kid: string) => keys.get(kid), refresh: async () => {} };
    const tokens = new AccessTokens("https://waybill.example", source, () => 1_800_000_100_000);
    expect(await tokens.verify(token)).toEqual({
      id: expect.stringMatching(/^[\w-]{22}$/),
      issuer: "https://waybill.example",
      subject: "users/u",
      client: "serviceAccounts/web",
      audiences: ["checkout", "session"],
      scopes: ["a", "b"],
      issuedAt: 1_800_000_000,
      expiresAt: 1_800_000_300,
      epoch: 7,
      family: "01a20a7a-1363-719b-8e80-1e22d9f6161f",
      actors: ["services/catalog", "services/checkout"],
      mayAct: "services/checkout",
      confirmation: { method: "jkt", thumbprint: "x".repeat(43) },
    });
  });

  test("a refresh token", async () => {
    const { key: hex, token, ...position } = refresh;
    const key = {
      ...{
        id: position.keyId,
        algorithm: "HMAC" as const,
        publicJwk: {},
        state: "retired" as const,
      },
      ...{ key: createSecretKey(Buffer.from(hex, "hex")) },
      ...{ createdAt: new Date(), activatesAt: new Date() },
    };
    expect(await readRefreshToken(token, async () => key)).toEqual(position);
    expect(deriveRefreshToken(position, key)).toBe(token);
  });
});
