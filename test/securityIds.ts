/**
 * Compares the list of security requirements with the tests: a requirement that is shown has a test with
 * its id at the start of a name, and a later one has none.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const project = join(import.meta.dirname, "..");
const requirements = JSON.parse(
  readFileSync(join(import.meta.dirname, "security.json"), "utf8"),
) as Record<string, string | { later: string; because: string }>;

const named = new Set<string>();
for (const folder of ["shared", "services", "deploy", "test"]) {
  for (const file of readdirSync(join(project, folder), { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".test.ts")) continue;
    const text = readFileSync(join(project, folder, file), "utf8");
    for (const [, ids] of text.matchAll(/["'`]((?:[CEGJKPRSVX]\d+ )+)/g)) {
      for (const id of ids!.trim().split(" ")) named.add(id);
    }
  }
}

const faults = [
  ...Object.entries(requirements).flatMap(([id, requirement]) => {
    if (typeof requirement === "string" && !named.has(id))
      return [`${id} has no test: ${requirement}`];
    if (typeof requirement !== "string" && named.has(id))
      return [`${id} has a test: say so in the list`];
    return [];
  }),
  ...[...named].filter((id) => !(id in requirements)).map((id) => `${id} is not in the list`),
];
for (const fault of faults) console.log(fault);
process.exit(faults.length === 0 ? 0 : 1);
