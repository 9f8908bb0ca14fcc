import { expect, test } from "vitest";
import { encodeHeader, fromCompact, parseHeader, toCompact } from "./jwe.ts";

const KID = `${"A".repeat(11)}.${"B".repeat(21)}A`;
const GOOD = { alg: "dir", enc: "A256GCM", typ: "waybill", kid: KID };
const encode = (header: unknown) =>
  Buffer.from(typeof header === "string" ? header : JSON.stringify(header)).toString("base64url");
const parse = (header: unknown) => parseHeader(encode(header), "waybill");

test("a header of ours is read", () => {
  expect(parse(GOOD)).toEqual({ ringKeyId: "A".repeat(11), salt: expect.any(Buffer) });
  expect(parseHeader(encodeHeader("waybill", KID), "waybill")).toEqual(parse(GOOD));
  // The order of its members does not matter.
  expect(parse({ kid: KID, typ: "waybill", enc: "A256GCM", alg: "dir" })).toEqual(parse(GOOD));
});

test.each([
  ["alg", "none"],
  ["alg", "A256KW"],
  ["alg", undefined],
  ["enc", "A128GCM"],
  ["enc", "A256CBC-HS512"],
  ["enc", undefined],
  ["typ", "cursor"],
  ["typ", "JWT"],
  ["typ", undefined],
  ["kid", undefined],
  ["kid", 1],
  ["kid", "../../key"],
  ["kid", KID.slice(1)],
  ["kid", `${KID}A`],
  ["kid", `${KID}\n`],
  ["kid", KID.replace(".", "")],
  ["zip", "DEF"],
  ["crit", ["exp"]],
  ["jku", "https://example.com"],
  ["jwk", {}],
  ["x5u", "https://example.com"],
])("a header whose %s alone is %o is refused", (name, value) => {
  expect(parse(GOOD)).toBeDefined();
  expect(parse({ ...GOOD, [name]: value })).toBeUndefined();
});

test("what is no JSON object is refused", () => {
  for (const text of ["", "{", "null", "1", '"dir"', "[]", "true"]) {
    expect(parse(text), text).toBeUndefined();
  }
  expect(parseHeader("!", "waybill")).toBeUndefined();
  expect(parseHeader(`${encode(GOOD)}=`, "waybill")).toBeUndefined();
});

test("the compact form has five parts, the second empty, iv and tag of their sizes", () => {
  const sealed = {
    header: encode(GOOD),
    iv: Buffer.alloc(12, 1),
    ciphertext: Buffer.alloc(5, 2),
    tag: Buffer.alloc(16, 3),
  };
  const token = toCompact(sealed);
  expect(fromCompact(token)).toEqual(sealed);
  const [header, , iv, ciphertext, tag] = token.split(".");
  for (const parts of [
    [header, "", iv, ciphertext],
    [header, "", iv, ciphertext, tag, ""],
    ["", "", iv, ciphertext, tag],
    [header, "AA", iv, ciphertext, tag],
    [header, "", iv!.slice(2), ciphertext, tag],
    [header, "", iv, ciphertext, `${tag}AA`],
    [header, "", iv, "=", tag],
    [header, "", "", ciphertext, tag],
  ]) {
    expect(fromCompact(parts.join(".")), parts.join(".")).toBeUndefined();
  }
  // A state may be empty.
  expect(fromCompact([header, "", iv, "", tag].join("."))?.ciphertext).toHaveLength(0);
});
