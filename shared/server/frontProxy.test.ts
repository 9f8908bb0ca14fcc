import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { FRONT_DOOR_KEY, FrontDoor } from "./frontProxy.ts";

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

test("what the front door says of a caller is believed: the last address, and the certificate", () => {
  const origin = new FrontDoor(SECRET).originOf(
    metadata({ ...forwarded, [FRONT_DOOR_KEY]: SECRET }),
    "127.0.0.1:4711",
  );
  expect(origin).toEqual({
    address: "203.0.113.9",
    certificate: Buffer.from(HASH, "hex").toString("base64url"),
  });
});

test("P5 what anybody else says of himself is not", () => {
  const bare = { address: "127.0.0.1", certificate: undefined };
  for (const proof of [undefined, "", "guessed", `${SECRET}x`, SECRET.toUpperCase()]) {
    const sent = { ...forwarded, ...(proof === undefined ? {} : { [FRONT_DOOR_KEY]: proof }) };
    expect(new FrontDoor(SECRET).originOf(metadata(sent), "127.0.0.1:4711")).toEqual(bare);
  }
  // Without a front door nobody is it.
  const sent = metadata({ ...forwarded, [FRONT_DOOR_KEY]: "undefined" });
  expect(new FrontDoor(undefined).originOf(sent, "127.0.0.1:4711")).toEqual(bare);
  const twice = metadata({ ...forwarded, [FRONT_DOOR_KEY]: SECRET });
  twice.add(FRONT_DOOR_KEY, SECRET);
  expect(new FrontDoor(SECRET).originOf(twice, "127.0.0.1:4711")).toEqual(bare);
});

test.each([
  ["empty", ""],
  ["short", SECRET.slice(1)],
  ["followed by a line break", `${SECRET}\n`],
  ["not ASCII", `${SECRET}é`],
  ["no text", Buffer.from(SECRET) as unknown as string],
])("P5 K9 a front door's secret that is %s is refused at construction", (_name, secret) => {
  expect(() => new FrontDoor(SECRET)).not.toThrow();
  expect(() => new FrontDoor(secret)).toThrow("frontDoorSecret must be at least 32 visible");
});

test("a certificate's digest that has not its form is none", () => {
  for (const text of [
    "",
    "Hash=abc",
    `Hash=${HASH}0`,
    `XHash=${HASH}`,
    `Hash=${HASH.toUpperCase()}`,
  ]) {
    const sent = metadata({ [FRONT_DOOR_KEY]: SECRET, "x-forwarded-client-cert": text });
    expect(new FrontDoor(SECRET).originOf(sent, "[::1]:1").certificate, text).toBeUndefined();
  }
});
