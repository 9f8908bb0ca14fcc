import { createPrivateKey, createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type CryptoKey, importJWK, type JWK } from "jose";

/** The keys that services authenticate to each other with. */
export interface Credentials {
  /** The private key of a service that this process serves. @throws Error naming the missing file */
  own(service: string): Promise<CryptoKey>;
  /** The public key and the permissions of any service; undefined when it is unknown. */
  peer(service: string): Promise<Peer | undefined>;
}

/** The public key and the permissions of a service. */
export interface Peer {
  readonly key: CryptoKey;
  /** The audiences whose rings it may read. */
  readonly audiences: readonly string[];
  /** The audiences that its own access tokens may be for: the services that it calls. */
  readonly calls: readonly string[];
  /** The scopes that its own access tokens may have. */
  readonly scopes: readonly string[];
}

/**
 * Reads credentials from a folder: `<service>.jwk.json`, an Ed25519 private JWK (RFC 8037) for each
 * service served here, and `services.jwks.json`, the public keys of all, each with its service's name
 * as `kid`, its `audiences`, and, where it calls others, `calls` and `scopes`.
 *
 * @throws Error naming the file, the key by its `kid` or its index, and the rule that it breaks
 */
export function loadCredentials(folder: string): Credentials {
  const jwksFile = join(folder, "services.jwks.json");
  const keys = (readJson(jwksFile) as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys)) throw new Error(`${jwksFile}: expected a JWK set with "keys"`);
  const peers = new Map<string, Promise<Peer>>();
  for (const [index, jwk] of (keys as (PeerJwk | null)[]).entries()) {
    const kid = jwk?.kid;
    if (!jwk || typeof kid !== "string" || kid === "") {
      throw new Error(`${jwksFile}: the key at index ${index} must have its service's name as kid`);
    }
    const name = `${jwksFile}: the key ${kid}`;
    if (peers.has(kid)) throw new Error(`${name} is there twice; each service has one key`);
    const { audiences = [], calls = [], scopes = [] } = jwk;
    for (const [property, list] of Object.entries({ audiences, calls, scopes })) {
      // In a string, includes() would match any substring.
      if (!Array.isArray(list) || !list.every((each) => typeof each === "string")) {
        throw new Error(`${name} must have an array of strings as ${property}`);
      }
    }
    const imported = importEd25519(jwk, name, "public");
    peers.set(
      kid,
      imported.then((key) => ({ key, audiences, calls, scopes })),
    );
  }
  const own = new Map<string, Promise<CryptoKey>>();
  return {
    own(service) {
      const file = join(folder, `${service}.jwk.json`);
      let key = own.get(service);
      if (key === undefined) {
        key = importEd25519(readJson(file) as JWK, file, "private");
        own.set(service, key);
      }
      return key;
    },
    peer: async (service) => peers.get(service),
  };
}

function readJson(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    throw new Error(`cannot read the credential file ${file}`, { cause });
  }
  try {
    return JSON.parse(text);
  } catch {
    // Without its cause: V8's message quotes the text, which is a private key.
    throw new Error(`the credential file ${file} is not JSON`);
  }
}

/**
 * Imports a key.
 *
 * @throws Error naming the key and the rule that it breaks
 */
function importEd25519(
  jwk: JWK | null,
  name: string,
  half: "public" | "private",
): Promise<CryptoKey> {
  if (jwk?.kty !== "OKP" || jwk.crv !== "Ed25519") {
    throw new Error(`${name} must be an Ed25519 key (kty OKP, crv Ed25519)`);
  }
  const { kty, crv, x, d } = jwk;
  if ((d === undefined) !== (half === "public")) {
    const rule =
      half === "public" ? "public: it must not have the member d" : "private: it needs d";
    throw new Error(`${name} must be ${rule}`);
  }
  const parts = { kty, crv, x, ...(d === undefined ? {} : { d }) } as { x: string };
  const key = { key: parts, format: "jwk" } as const;
  let derived: JWK | undefined;
  try {
    const publicKey = createPublicKey(d === undefined ? key : createPrivateKey(key));
    derived = publicKey.export({ format: "jwk" }) as JWK;
  } catch {
    // Without its cause: the message could quote the key.
  }
  // Compared as text: a lenient base64url decoder reads several texts as one key.
  if (derived === undefined || derived.x !== x) {
    const pair = half === "public" ? "" : " that belongs to its d";
    throw new Error(`${name} must have as x a public key of 32 bytes in base64url${pair}`);
  }
  return importJWK(parts as JWK, "EdDSA") as Promise<CryptoKey>;
}

/** An entry of `services.jwks.json`. */
type PeerJwk = JWK & { audiences?: string[]; calls?: string[]; scopes?: string[] };
