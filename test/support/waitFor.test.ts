import { expect, test } from "vitest";
import { waitFor } from "./waitFor.ts";

test("returns the first truthy result", async () => {
  let checks = 0;
  const check = async () => {
    checks += 1;
    return checks === 3 && "ready";
  };
  expect(await waitFor("the third check", check)).toBe("ready");
  expect(checks).toBe(3);
});

test.each([
  ["never holds", () => false],
  ["hangs", () => new Promise<void>(() => {})],
])("fails at its limit when the check %s", async (_, check) => {
  await expect(waitFor<unknown>("the impossible", check, 30)).rejects.toThrow(
    "waited 30 ms for the impossible",
  );
});

test("fails with the error of its check", async () => {
  const check = () => {
    throw new Error("broken");
  };
  await expect(waitFor("anything", check)).rejects.toThrow("broken");
});
