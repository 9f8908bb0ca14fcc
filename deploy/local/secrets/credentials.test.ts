import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadCredentials } from "#shared/auth/credentials/credentials.ts";
import { makeSecrets } from "./credentials.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "waybill-secrets-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("what is there already stays, and what a newer program needs besides is added", async () => {
  const first = await makeSecrets(folder);
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  const jwks = join("credentials", "services.jwks.json");
  // As an older program has left it, which knew fewer services.
  const { keys } = JSON.parse(read(jwks)) as { keys: { kid: string }[] };
  const known = keys.filter(({ kid }) => kid !== "identity" && kid !== "token");
  writeFileSync(join(folder, jwks), JSON.stringify({ keys: known }));
  const { identity: _identity, token: _token, ...passwords } = first.passwords;
  writeFileSync(join(folder, "database-passwords.json"), JSON.stringify(passwords));
  const secrets = ["key-encryption-key", "front-proxy-secret", "admin-secret"].map(read);

  const second = await makeSecrets(folder);
  expect(second.passwords).toMatchObject(passwords);
  expect(second.passwords.identity).toMatch(/^[\w-]{43}$/);
  expect(["key-encryption-key", "front-proxy-secret", "admin-secret"].map(read)).toEqual(secrets);
  const { keys: after } = JSON.parse(read(jwks)) as { keys: { kid: string; x: string }[] };
  expect(after).toEqual(expect.arrayContaining(known));
  expect(after.map(({ kid }) => kid).sort()).toEqual(keys.map(({ kid }) => kid).sort());
  const credentials = loadCredentials(second.credentialsDir);
  for (const { kid } of after) expect(await credentials.own(kid)).toBeDefined();
  expect((await credentials.peer("checkout"))?.calls).toEqual(["catalog"]);
  expect(await makeSecrets(folder)).toEqual(second);
});

test("no secret ends with a line break, also not one that an older version made", async () => {
  const first = await makeSecrets(folder);
  const files = [first.keyEncryptionKeyFile, first.frontProxySecretFile, first.adminSecretFile];
  const contents = files.map((file) => readFileSync(file, "utf8"));
  for (const content of contents) expect(content).toMatch(/^[\w-]{43}$/);
  for (const [index, file] of files.entries()) writeFileSync(file, `${contents[index]}\n`);
  await makeSecrets(folder);
  expect(files.map((file) => readFileSync(file, "utf8"))).toEqual(contents);
});

test("secrets are their owner's alone to read", async () => {
  const { adminSecretFile, frontProxySecretFile, credentialsDir } = await makeSecrets(folder);
  for (const file of [
    adminSecretFile,
    frontProxySecretFile,
    join(credentialsDir, "token.jwk.json"),
  ]) {
    expect(statSync(file).mode & 0o777, file).toBe(0o600);
  }
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});
