import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { NODE_FLAGS } from "../local/replicas.ts";

test("the image starts Node as a local cluster does", () => {
  const text = readFileSync(join(import.meta.dirname, "Dockerfile"), "utf8");
  const [, words] = /^ENTRYPOINT (.*)$/m.exec(text)!;
  const [, ...flags] = JSON.parse(words!) as string[];
  expect(flags).toEqual(NODE_FLAGS);
});
