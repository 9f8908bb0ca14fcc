import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadWrapping } from "#shared/auth/credentials/wrapping.ts";
import { ConfigError } from "../failure.ts";
import { type Config, readConfig } from "./config.ts";
import { readSecretFile, readVariables, required } from "./environment.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "waybill-environment-"));
  file = join(folder, "secret");
});
afterEach(() => rmSync(folder, { recursive: true }));

const SECRET = "a-secret-of-one-owner-0123456789-abcdef";
const INSIDE = ["a\nb", "a\n\n", "\na", "a\r", "a\tb", "a\u0000", "a\u007f", "a\u0085b"];

test("drops one line break at the end of a variable", () => {
  for (const end of ["", "\n", "\r\n"]) {
    const variables = readVariables({ DATABASE_URL: `postgres://db${end}` });
    expect(required(variables, "DATABASE_URL")).toBe("postgres://db");
  }
});

test("refuses a control character, naming the variable without its value", () => {
  for (const name of ["DATABASE_URL", "WAYBILL_DATABASE_PASSWORD_KEYS", "WAYBILL_KEYS_ADDRESS"]) {
    for (const value of INSIDE) {
      const read = () => readVariables({ [name]: `${SECRET}${value}` });
      expect(read, JSON.stringify(value)).toThrow(ConfigError);
      expect(read).toThrow(`${name}: expected text on one line without control characters`);
      expect(read).not.toThrow(SECRET);
    }
  }
  // Variables of other programs are not checked.
  expect(readVariables({ LS_COLORS: "a\n\n" })).toEqual({});
});

test("drops one line break at the end of a secret file", () => {
  for (const end of ["", "\n", "\r\n"]) {
    writeFileSync(file, `${SECRET}${end}`);
    expect(readSecretFile("WAYBILL_ADMIN_SECRET_FILE", file)).toBe(SECRET);
  }
});

test("refuses a secret file that is short, missing or has control characters", () => {
  for (const value of INSIDE) {
    writeFileSync(file, `${SECRET}${value}`);
    const read = () => readSecretFile("WAYBILL_ADMIN_SECRET_FILE", file);
    expect(read, JSON.stringify(value)).toThrow(ConfigError);
    expect(read).toThrow(`WAYBILL_ADMIN_SECRET_FILE=${file}: expected text on one line`);
    expect(read).not.toThrow(SECRET);
  }
  writeFileSync(file, `${"a".repeat(31)}\n`);
  expect(() => readSecretFile("WAYBILL_ADMIN_SECRET_FILE", file)).toThrow("32 characters or more");
  expect(() => readSecretFile("WAYBILL_ADMIN_SECRET_FILE", folder)).toThrow("EISDIR");
});

test("refuses a front proxy secret that no header can carry", () => {
  const read = (content: string) => {
    writeFileSync(file, content);
    const env = {
      WAYBILL_CREDENTIALS_DIR: "/credentials",
      WAYBILL_DATABASE_URL_CATALOG: "postgres://catalog",
      WAYBILL_KEYS_ADDRESS: "keys:1",
      WAYBILL_ORIGINS: "https://a.example",
      WAYBILL_FRONT_PROXY_SECRET_FILE: file,
    };
    return (readConfig(["--roles", "catalog"], env) as Config).frontProxySecret;
  };
  expect(read(SECRET)).toBe(SECRET);
  expect(read(`${SECRET}\n`)).toBe(SECRET);
  for (const bad of [` ${SECRET}`, `${SECRET} `, `${SECRET} x`, `${SECRET}é`]) {
    expect(() => read(bad), bad).toThrow("expected only visible ASCII characters");
  }
});

test("reads a key-encryption key of one or two exact lines", () => {
  const [one, two] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)].map((each) =>
    each.toString("base64url"),
  );
  const load = (content: string) => {
    writeFileSync(file, content);
    return loadWrapping(file).id;
  };
  const id = load(one!);
  for (const content of [`${one}\n`, `${one}\r\n`, `${one}\n${two}`, `${one}\r\n${two}\n`]) {
    expect(load(content), JSON.stringify(content)).toBe(id);
  }
  for (const bad of ["", "\n", `${one}\n\n`, `${one}\u0000`, ` ${one}`, `${one}${two}`, "x"]) {
    expect(() => load(bad), JSON.stringify(bad)).toThrow(
      /must be 32 bytes in base64url|expected one line or two/,
    );
  }
});
