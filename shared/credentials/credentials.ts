import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type CryptoKey, importJWK, type JWK } from "jose";

/** How services prove to each other who they are. */
export interface Credentials {
  /** The private key of a service that this process serves. @throws Error naming the missing file */
  own(service: string): Promise<CryptoKey>;
  /** The public key and the audiences of any service; undefined when there is no such service. */
  peer(service: string): Promise<Peer | undefined>;
}

/** Another service, as it is known here. */
export interface Peer {
  readonly key: CryptoKey;
  /** The audiences whose rings it is handed. */
  readonly audiences: readonly string[];
  /** The audiences that its own access tokens may be for: the services that it calls. */
  readonly calls: readonly string[];
  /** What its own access tokens may allow. */
  readonly scopes: readonly string[];
}

/**
 * Reads credentials from a folder: `<service>.jwk.json`, an Ed25519 private JWK (RFC 8037) for each
 * service served here, and `services.jwks.json`, the public keys of all, each with its service's name
 * as `kid`, its `audiences`, and, where it calls others, `calls` and `scopes`.
 */
export function loadCredentials(folder: string): Credentials {
  const jwksFile = join(folder, "services.jwks.json");
  const { keys } = readJson(jwksFile) as {
    keys?: (JWK & { audiences?: string[]; calls?: string[]; scopes?: string[] })[];
  };
  if (!Array.isArray(keys)) throw new Error(`${jwksFile}: expected a JWK set with "keys"`);
  const peers = new Map(
    keys.map((jwk) => [
      jwk.kid ?? "",
      importEd25519(jwk, jwksFile).then((key) => ({
        key,
        audiences: jwk.audiences ?? [],
        calls: jwk.calls ?? [],
        scopes: jwk.scopes ?? [],
      })),
    ]),
  );
  for (const peer of peers.values()) peer.catch(() => {});
  const own = new Map<string, Promise<CryptoKey>>();
  return {
    own(service) {
      const file = join(folder, `${service}.jwk.json`);
      let key = own.get(service);
      if (key === undefined) {
        key = importEd25519(readJson(file) as JWK, file);
        own.set(service, key);
      }
      return key;
    },
    peer: async (service) => peers.get(service),
  };
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new Error(`cannot read the credential file ${file}`, { cause });
  }
}

async function importEd25519(jwk: JWK, file: string): Promise<CryptoKey> {
  if (jwk.kty !== "OKP" || jwk.crv !== "Ed25519") {
    throw new Error(`${file}: expected Ed25519 keys (kty OKP, crv Ed25519)`);
  }
  return (await importJWK(jwk, "EdDSA")) as CryptoKey;
}
