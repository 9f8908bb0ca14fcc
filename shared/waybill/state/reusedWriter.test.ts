import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { expect, test } from "vitest";
import { KeptWriter } from "./reusedWriter.ts";

const bytesOf = (value: Uint8Array) => new BinaryWriter().uint32(10).bytes(value).finish();

test("what was encoded stays as it is, whatever is encoded after it", () => {
  const writer = new KeptWriter(() => new BinaryWriter());
  const encode = (value: Uint8Array) => writer.encode((each) => each.uint32(10).bytes(value));
  const values = [100, 3, 0, 100_000, 7].map((size, at) => Buffer.alloc(size, at + 1));
  const encoded = values.map(encode);
  expect(encoded).toEqual(values.map((value) => Buffer.from(bytesOf(value))));
});

test("a message that fails in the midst leaves nothing of it to the next, nor does one within another", () => {
  const writer = new KeptWriter(() => new BinaryWriter());
  const value = Buffer.from("next");
  expect(() =>
    writer.encode((each) => {
      each.uint32(10).bytes(Buffer.from("half"));
      throw new Error("failed");
    }),
  ).toThrow("failed");
  const within = (each: BinaryWriter) =>
    each.uint32(10).bytes(writer.encode((inner) => inner.uint32(10).bytes(value)));
  expect(writer.encode(within)).toEqual(Buffer.from(bytesOf(bytesOf(value))));
});
