/**
 * Makes the vectors of the newest access and refresh tokens. An existing file was shipped: it is never made
 * again, and every later version must accept it.
 */
import { createPrivateKey, createSecretKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JWK } from "jose";
import { deriveRefreshToken } from "../../../services/token/signIns/refreshTokens.ts";
import type { SigningKey } from "../../../services/token/signingKeys/signingKeys.ts";
import { mint } from "../../../services/token/tokens/mint.ts";

const ISSUED_AT = 1_800_000_000;
const FAMILY = "01a20a7a-1363-719b-8e80-1e22d9f6161f";

const keyOf = (id: string, algorithm: SigningKey["algorithm"], key: SigningKey["key"]) => ({
  ...{ id, algorithm, key, publicJwk: {}, state: "active" as const },
  ...{ createdAt: new Date(0), activatesAt: new Date(0) },
});

const access = (["EdDSA", "ES256"] as const).map((algorithm) => {
  const { privateKey } =
    algorithm === "EdDSA"
      ? generateKeyPairSync("ed25519")
      : generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { d: _secret, ...jwk } = privateKey.export({ format: "jwk" }) as JWK;
  const claims = {
    ...{ subject: "users/u", client: "serviceAccounts/web", audiences: ["checkout", "session"] },
    ...{ scopes: ["a", "b"], epoch: 7, family: FAMILY, mayAct: "services/checkout" },
    actors: ["services/catalog", "services/checkout"],
    confirmation: { method: "jkt" as const, thumbprint: "x".repeat(43) },
    expiresAt: ISSUED_AT + 300,
  };
  const key = keyOf(
    `kid-${algorithm}`,
    algorithm,
    createPrivateKey(privateKey.export({ format: "pem", type: "pkcs8" })),
  );
  const token = mint("https://waybill.example", key, claims, ISSUED_AT);
  return { algorithm, jwk: { ...jwk, kid: `kid-${algorithm}`, alg: algorithm }, token };
});

const secret = randomBytes(32);
const position = { family: FAMILY, generation: 4_000_000_000, keyId: "dmVjdG9yczE" };
const refresh = {
  ...position,
  key: secret.toString("hex"),
  token: deriveRefreshToken(position, keyOf(position.keyId, "HMAC", createSecretKey(secret))),
};

const file = join(import.meta.dirname, "v1.json");
if (existsSync(file)) throw new Error(`${file} was shipped: leave it, and make another`);
writeFileSync(file, `${JSON.stringify({ access, refresh }, null, 2)}\n`);
