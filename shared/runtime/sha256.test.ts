import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { sha256 } from "./sha256.ts";

test("it is SHA-256 of the parts one after another, texts in UTF-8", () => {
  for (const size of [0, 1, 32, 5000]) {
    const bytes = randomBytes(size);
    expect(sha256(bytes)).toEqual(createHash("sha256").update(bytes).digest());
    const several = createHash("sha256").update("Käse").update(bytes).update("").digest();
    expect(sha256("Käse", bytes, "")).toEqual(several);
  }
});
