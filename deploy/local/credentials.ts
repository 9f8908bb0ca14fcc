import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCertificates } from "./authority.ts";

const SERVICES = ["keys", "session", "catalog", "checkout"];
const SCHEMAS = ["keys", "catalog", "checkout"] as const;

/** The passwords of the database's roles. */
export interface Passwords {
  owner: string;
  keys: string;
  catalog: string;
  checkout: string;
}

/** Where a cluster's secrets lie. */
export interface Secrets {
  credentialsDir: string;
  keyEncryptionKeyFile: string;
  /** Holds `ca.crt`, `tls.crt` and `tls.key`. */
  tlsDir: string;
  passwords: Passwords;
}

/**
 * Makes what a cluster's parts prove themselves with, in `folder`, readable by its owner alone. What
 * is there already stays: waybills of an earlier run are opened with it.
 */
export async function makeSecrets(folder: string): Promise<Secrets> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  const credentialsDir = join(folder, "credentials");
  if (!existsSync(join(credentialsDir, "services.jwks.json"))) makeCredentials(credentialsDir);

  const keyEncryptionKeyFile = join(folder, "key-encryption-key");
  if (!existsSync(keyEncryptionKeyFile)) {
    writePrivate(keyEncryptionKeyFile, `${randomBytes(32).toString("base64url")}\n`);
  }

  const passwordsFile = join(folder, "database-passwords.json");
  if (!existsSync(passwordsFile)) {
    const made = ["owner", ...SCHEMAS].map((role) => [role, randomBytes(24).toString("base64url")]);
    writePrivate(passwordsFile, JSON.stringify(Object.fromEntries(made)));
  }
  const passwords = JSON.parse(readFileSync(passwordsFile, "utf8")) as Passwords;
  const tlsDir = await makeCertificates(folder);
  return { credentialsDir, keyEncryptionKeyFile, tlsDir, passwords };
}

/** An Ed25519 key for each service, and the public keys of all with the audiences they may have. */
function makeCredentials(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const keys = SERVICES.map((service) => {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const secret = { ...privateKey.export({ format: "jwk" }), kid: service };
    writePrivate(join(folder, `${service}.jwk.json`), JSON.stringify(secret));
    const audiences = service === "keys" ? [] : [service];
    return { ...publicKey.export({ format: "jwk" }), kid: service, audiences };
  });
  // Last, because it says that all are there.
  writePrivate(join(folder, "services.jwks.json"), JSON.stringify({ keys }));
}

function writePrivate(file: string, content: string): void {
  writeFileSync(file, content, { mode: 0o600 });
}

/** A short name for a folder, such as for a socket whose path must stay short. */
export function shortName(path: string): string {
  return createHash("sha256").update(path).digest("hex").slice(0, 12);
}
