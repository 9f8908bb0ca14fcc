/**
 * Rotates a ring a thousand times while replicas serve and are killed, then opens a waybill of every earlier key.
 *
 * Usage: npm run rotations [-- COUNT]   default: 1,000; the environment variable SEED repeats a run
 */
import { runRotations } from "./rotations.ts";

const count = Number(process.argv[2] ?? 1000);
if (!(Number.isInteger(count) && count > 0 && count <= 10_000)) {
  console.error(`COUNT ${process.argv[2]}: expected a whole number up to 10,000`);
  process.exit(2);
}
const { rotations, kills, waits, keys, refused } = await runRotations(count, (line) =>
  console.log(line),
);
console.log(
  `${rotations} rotations after ${waits} waits, ${kills} kills; each replica opened waybills of ${keys} keys`,
);
const reasons = Object.entries(refused);
for (const [reason, times] of reasons) console.log(`${times} × ${reason}`);
console.log(reasons.length === 0 ? "no call was refused" : "FAILED");
process.exit(reasons.length === 0 ? 0 : 1);
