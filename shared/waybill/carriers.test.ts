import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import {
  MAX_MESSAGE_WAYBILL,
  MAX_METADATA_WAYBILL,
  receive,
  toField,
  toMetadataValue,
} from "./carriers.ts";
import { encodeHeader, type Sealed } from "./jwe.ts";

const HEADER = encodeHeader("waybill", `${"A".repeat(11)}.${"A".repeat(22)}`);

/** A sealed envelope of a size. Nothing here opens it. */
const sealedOf = (bytes: number): Sealed => ({
  header: HEADER,
  iv: Buffer.alloc(12, 1),
  ciphertext: Buffer.alloc(bytes, 2),
  tag: Buffer.alloc(16, 3),
});

const metadataOf = (...waybills: string[]) => {
  const metadata = new Metadata();
  for (const waybill of waybills) metadata.add("waybill", waybill);
  return metadata;
};
const NONE = new Metadata();
const refused = (reason: string) => expect.objectContaining({ reason });

/** The largest state, in bytes, whose waybill is no longer than metadata allows. */
const LARGEST = (() => {
  let bytes = 0;
  while (toLength(bytes + 1) <= MAX_METADATA_WAYBILL) bytes += 1;
  return bytes;
})();
function toLength(bytes: number): number {
  const base64 = (length: number) => Math.ceil((length * 4) / 3);
  return HEADER.length + 4 + base64(12) + base64(bytes) + base64(16);
}

test("a waybill arrives as it was sent, by either carrier", () => {
  const sealed = sealedOf(100);
  expect(receive(metadataOf(toMetadataValue(sealed)), undefined)).toEqual({
    sealed,
    carrier: "metadata",
  });
  expect(receive(NONE, toField(sealed))).toEqual({ sealed, carrier: "message" });
});

test("none at all, or an empty one, is none; its successor goes the way the empty one came", () => {
  const none = { sealed: undefined, carrier: "metadata" };
  expect(receive(NONE, undefined)).toEqual(none);
  expect(receive(metadataOf(""), undefined)).toEqual(none);
  const empty = Buffer.alloc(0);
  const field = { protected: empty, iv: empty, ciphertext: empty, tag: empty };
  expect(receive(NONE, field)).toEqual({ sealed: undefined, carrier: "message" });
});

test("two are refused: in the metadata, joined by a comma, or one by each carrier", () => {
  const text = toMetadataValue(sealedOf(10));
  for (const call of [
    () => receive(metadataOf(text, text), undefined),
    () => receive(metadataOf(`${text},${text}`), undefined),
    () => receive(metadataOf(`${text}, ${text}`), undefined),
    () => receive(metadataOf(text), toField(sealedOf(10))),
  ]) {
    expect(call).toThrow(refused("METADATA_DUPLICATED"));
  }
});

test("metadata carries 4,096 characters and not one more, either way", () => {
  const longest = toMetadataValue(sealedOf(LARGEST));
  expect(longest.length).toBeGreaterThan(MAX_METADATA_WAYBILL - 3);
  expect(longest.length).toBeLessThanOrEqual(MAX_METADATA_WAYBILL);
  expect(receive(metadataOf(longest), undefined).sealed).toEqual(sealedOf(LARGEST));
  expect(() => toMetadataValue(sealedOf(LARGEST + 1))).toThrow(refused("WAYBILL_TOO_LARGE"));
  // Refused for its length alone, unread.
  const filled = longest + "A".repeat(MAX_METADATA_WAYBILL - longest.length);
  expect(() => receive(metadataOf(`${filled}A`), undefined)).toThrow(refused("WAYBILL_TOO_LARGE"));
  expect(() => receive(metadataOf("!".repeat(MAX_METADATA_WAYBILL)), undefined)).toThrow(
    refused("WAYBILL_INVALID"),
  );
});

test("a message carries 64 KiB and not one byte more, either way", () => {
  const largest = sealedOf(MAX_MESSAGE_WAYBILL);
  expect(receive(NONE, toField(largest)).sealed).toEqual(largest);
  const larger = sealedOf(MAX_MESSAGE_WAYBILL + 1);
  expect(() => toField(larger)).toThrow(refused("WAYBILL_TOO_LARGE"));
  const field = { ...toField(largest), ciphertext: larger.ciphertext };
  expect(() => receive(NONE, field)).toThrow(refused("WAYBILL_TOO_LARGE"));
});

test("a field whose parts have other sizes than a waybill's is refused", () => {
  const field = toField(sealedOf(10));
  expect(receive(NONE, { ...field, protected: Buffer.alloc(512) }).sealed).toBeDefined();
  for (const other of [
    { ...field, protected: Buffer.alloc(513) },
    { ...field, iv: Buffer.alloc(11) },
    { ...field, iv: Buffer.alloc(13) },
    { ...field, tag: Buffer.alloc(15) },
    { ...field, tag: Buffer.alloc(17) },
    { ...field, iv: Buffer.alloc(0), tag: Buffer.alloc(0) },
  ]) {
    expect(() => receive(NONE, other)).toThrow(refused("WAYBILL_INVALID"));
  }
});
