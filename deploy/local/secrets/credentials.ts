import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { savedAudience } from "#shared/anchors/savedResponses.ts";
import { makeCertificates } from "./authority.ts";

/** Each service, and the services that it calls with its own access tokens. */
const SERVICES: Readonly<Record<string, { calls: string[] }>> = {
  keys: { calls: [] },
  identity: { calls: [] },
  token: { calls: [] },
  session: { calls: [] },
  catalog: { calls: [] },
  checkout: { calls: ["catalog"] },
};
const SCHEMAS = ["keys", "identity", "token", "session", "catalog", "checkout"] as const;
type Schema = (typeof SCHEMAS)[number];

/** The passwords of the database's roles. */
export interface Passwords {
  owner: string;
  keys: string;
  identity: string;
  token: string;
  session: string;
  catalog: string;
  checkout: string;
}

/** Where a cluster's secrets lie. */
export interface Secrets {
  credentialsDir: string;
  keyEncryptionKeyFile: string;
  /** Secret that the front proxy sends to replicas to identify itself. */
  frontProxySecretFile: string;
  /** The secret of `serviceAccounts/admin`. */
  adminSecretFile: string;
  /** Holds `ca.crt`, `tls.crt` and `tls.key`. */
  tlsDir: string;
  passwords: Passwords;
}

/**
 * Creates the cluster's credentials in `folder`, readable by its owner alone. Existing ones stay, because
 * they open the waybills of an earlier run.
 */
export async function makeSecrets(folder: string): Promise<Secrets> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  const credentialsDir = join(folder, "credentials");
  makeCredentials(credentialsDir);
  const passwordsFile = join(folder, "database-passwords.json");
  const made = ["owner", ...SCHEMAS].map((role) => [role, makeSecret()]);
  const passwords = { ...Object.fromEntries(made), ...readJson(passwordsFile) } as Passwords;
  writePrivate(passwordsFile, JSON.stringify(passwords));
  return {
    credentialsDir,
    keyEncryptionKeyFile: keepSecret(join(folder, "key-encryption-key")),
    frontProxySecretFile: keepSecret(join(folder, "front-proxy-secret")),
    adminSecretFile: keepSecret(join(folder, "admin-secret")),
    tlsDir: await makeCertificates(folder),
    passwords,
  };
}

/** Builds the address that each service reaches a database by, from the address of the database's owner. */
export function databaseUrls(ownerUrl: string, passwords: Passwords): Record<Schema, string> {
  const urls = SCHEMAS.map((schema) => {
    const url = new URL(ownerUrl);
    url.username = `waybill_${schema}`;
    url.password = passwords[schema];
    return [schema, url.href];
  });
  return Object.fromEntries(urls) as Record<Schema, string>;
}

/**
 * Writes the files of the secret that Kubernetes pods find their database by: the addresses of its owner
 * and of each service, and the services' passwords.
 */
export function writeDatabaseSecret(folder: string, ownerUrl: string, passwords: Passwords): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writePrivate(join(folder, "owner-url"), ownerUrl);
  for (const [schema, url] of Object.entries(databaseUrls(ownerUrl, passwords))) {
    writePrivate(join(folder, `${schema}-url`), url);
    writePrivate(join(folder, `${schema}-password`), passwords[schema as Schema]);
  }
}

/** An Ed25519 key for each service, and the public keys of all with the audiences they may have. */
function makeCredentials(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const jwksFile = join(folder, "services.jwks.json");
  const before = (readJson(jwksFile)["keys"] ?? []) as { kid: string }[];
  const keys = Object.entries(SERVICES).map(([service, { calls }]) => {
    const known = before.find(({ kid }) => kid === service);
    // Saved responses have a ring of their own, apart from that of the waybills.
    const audiences = service === "keys" ? [] : [service, savedAudience(service)];
    if (known !== undefined) return { ...known, audiences, calls };
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const secret = { ...privateKey.export({ format: "jwk" }), kid: service };
    writePrivate(join(folder, `${service}.jwk.json`), JSON.stringify(secret));
    return { ...publicKey.export({ format: "jwk" }), kid: service, audiences, calls };
  });
  // Last, because it says that all are there.
  writePrivate(jwksFile, JSON.stringify({ keys }));
}

/**
 * Makes a file with 32 random bytes in base64url where there is none. No line break follows: the file's
 * bytes become an environment variable of the front proxy, which sends them in a header as they are. A
 * file that an older version made loses its line break.
 */
function keepSecret(file: string): string {
  const kept = existsSync(file) ? readFileSync(file, "utf8").replace(/\r?\n$/, "") : makeSecret();
  writePrivate(file, kept);
  return file;
}

function makeSecret(): string {
  return randomBytes(32).toString("base64url");
}

function readJson(file: string): Record<string, unknown> {
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
}

/**
 * Writes a file that only its owner can read. It is replaced as a whole: a start that is cut off loses
 * nothing, and no reader finds half a file.
 */
export function writePrivate(file: string, content: string): void {
  if (existsSync(file) && readFileSync(file, "utf8") === content) return;
  writeFileSync(`${file}.new`, content, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** A short name for a folder, such as for a socket whose path must stay short. */
export function shortName(path: string): string {
  return createHash("sha256").update(path).digest("hex").slice(0, 12);
}
