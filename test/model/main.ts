/**
 * Explores every state of a ring, its key service and two replicas, in every interleaving, within larger
 * bounds than the tests. Exits with 1 if an invariant is violated. Takes minutes and gigabytes of memory.
 *
 * Usage: npm run model [-- --rotations N] [--destructions N] [--crashes N] [--jumps N]
 *        default: two rotations; then one and a crash
 */
import { parseArgs } from "node:util";
import { explore } from "./explore.ts";
import { begin, NO_FAULTS, PROTOCOL } from "./ringModel.ts";

const bound = { type: "string" } as const;
const { values } = parseArgs({
  options: { rotations: bound, destructions: bound, crashes: bound, jumps: bound },
});
const given = Object.entries(values).map(([name, value]) => [name, Number(value)] as const);
for (const [name, count] of given) {
  if (Number.isInteger(count) && count >= 0 && count <= 9) continue;
  console.error(`--${name} ${count}: expected a whole number up to 9`);
  process.exit(2);
}
const runs =
  given.length > 0
    ? [{ ...NO_FAULTS, ...Object.fromEntries(given) }]
    : [
        { ...NO_FAULTS, rotations: 2 },
        { ...NO_FAULTS, rotations: 1, crashes: 1 },
      ];
for (const left of runs) {
  console.log(JSON.stringify(left));
  const { states, broken, way } = explore(begin(PROTOCOL, left), PROTOCOL, {
    tell: (line) => console.log(line),
  });
  for (const step of way) console.log(`  ${step}`);
  console.log(broken ?? `${states} states: every invariant holds`);
  if (broken !== undefined) process.exitCode = 1;
}
