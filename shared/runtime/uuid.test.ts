import fc from "fast-check";
import { expect, test } from "vitest";
import { UUID_RANDOM_BYTES, uuidFromBytes, uuidToBytes, uuidv7 } from "./uuid.ts";

test("the example of RFC 9562, appendix A.6", () => {
  const random = Buffer.from("0cc318c4dc0c0c07398f", "hex");
  expect(uuidv7(0x017f22e279b0, random)).toBe("017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
});

test("whatever the time and the random bytes, it is of version 7, and later ones sort later", () => {
  const time = fc.integer({ min: 0, max: 2 ** 48 - 2 });
  const random = fc.uint8Array({ minLength: UUID_RANDOM_BYTES, maxLength: UUID_RANDOM_BYTES });
  fc.assert(
    fc.property(time, random, random, (unixMs, first, second) => {
      const id = uuidv7(unixMs, first);
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      expect(uuidv7(unixMs + 1, second) > id).toBe(true);
      expect(uuidFromBytes(uuidToBytes(id))).toBe(id);
    }),
  );
});

test("other text is no UUID", () => {
  for (const text of [
    "",
    "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
    "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
  ]) {
    expect(() => uuidToBytes(text)).toThrow(RangeError);
  }
});
