import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { FRONT_PROXY_KEY, FrontProxy } from "./frontProxy.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const HASH = "ab".repeat(32);

function metadata(entries: Record<string, string>): Metadata {
  const made = new Metadata();
  for (const [key, value] of Object.entries(entries)) made.set(key, value);
  return made;
}
const forwarded = {
  "x-forwarded-for": "198.51.100.1, 203.0.113.9",
  "x-forwarded-client-cert": `By=x;Hash=${HASH};Subject="CN=a"`,
};

test("reads the last address and the certificate from the front proxy", () => {
  const origin = new FrontProxy(SECRET).originOf(
    metadata({ ...forwarded, [FRONT_PROXY_KEY]: SECRET }),
    "127.0.0.1:4711",
  );
  expect(origin).toEqual({
    address: "203.0.113.9",
    certificate: Buffer.from(HASH, "hex").toString("base64url"),
  });
});

test("P5 ignores forwarding metadata from other clients", () => {
  const bare = { address: "127.0.0.1", certificate: undefined };
  for (const proof of [undefined, "", "guessed", `${SECRET}x`, SECRET.toUpperCase()]) {
    const sent = { ...forwarded, ...(proof === undefined ? {} : { [FRONT_PROXY_KEY]: proof }) };
    expect(new FrontProxy(SECRET).originOf(metadata(sent), "127.0.0.1:4711")).toEqual(bare);
  }
  // Without a secret every client is untrusted.
  const sent = metadata({ ...forwarded, [FRONT_PROXY_KEY]: "undefined" });
  expect(new FrontProxy(undefined).originOf(sent, "127.0.0.1:4711")).toEqual(bare);
  const twice = metadata({ ...forwarded, [FRONT_PROXY_KEY]: SECRET });
  twice.add(FRONT_PROXY_KEY, SECRET);
  expect(new FrontProxy(SECRET).originOf(twice, "127.0.0.1:4711")).toEqual(bare);
});

test.each([
  ["empty", ""],
  ["short", SECRET.slice(1)],
  ["followed by a line break", `${SECRET}\n`],
  ["not ASCII", `${SECRET}é`],
  ["no text", Buffer.from(SECRET) as unknown as string],
])("P5 K9 a front proxy's secret that is %s is refused at construction", (_name, secret) => {
  expect(() => new FrontProxy(SECRET)).not.toThrow();
  expect(() => new FrontProxy(secret)).toThrow("frontProxySecret must be at least 32 visible");
});

test("ignores a malformed digest of a certificate", () => {
  for (const text of [
    "",
    "Hash=abc",
    `Hash=${HASH}0`,
    `XHash=${HASH}`,
    `Hash=${HASH.toUpperCase()}`,
  ]) {
    const sent = metadata({ [FRONT_PROXY_KEY]: SECRET, "x-forwarded-client-cert": text });
    expect(new FrontProxy(SECRET).originOf(sent, "[::1]:1").certificate, text).toBeUndefined();
  }
});
