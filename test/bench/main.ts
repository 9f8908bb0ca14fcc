/**
 * Prints figures of this machine. Nothing is asserted.
 *
 * Usage: npm run bench [-- SUITE …]
 */
import { cpus, totalmem } from "node:os";
import { anchors } from "./anchors.ts";
import { calls } from "./calls.ts";
import { revocation } from "./revocation.ts";
import { sessions } from "./sessions.ts";
import { start } from "./start.ts";
import { tokens } from "./tokens.ts";
import { transfer } from "./transfer.ts";
import { validation } from "./validation.ts";

const SUITES: Record<string, () => Promise<void>> = {
  start,
  transfer,
  validation,
  anchors,
  sessions,
  calls,
  tokens,
  revocation,
};

const names = process.argv.slice(2);
for (const name of names) {
  if (name in SUITES) continue;
  console.error(`there is no suite ${name}: expected some of ${Object.keys(SUITES).join(", ")}`);
  process.exit(2);
}
const [cpu] = cpus();
console.log(
  `${cpus().length} × ${cpu?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.version}`,
);
for (const [name, suite] of Object.entries(SUITES)) {
  if (names.length > 0 && !names.includes(name)) continue;
  console.log(`\n${name}`);
  await suite();
}
