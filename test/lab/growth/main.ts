/**
 * Begins, advances and expires anchored sessions, some with an owner, a spilled state or a checkpoint, and
 * reports their cost and the rows that remain.
 *
 * Usage: npm run growth [-- SESSIONS]   default: 1,000,000
 */
import { runGrowth } from "./growth.ts";

const sessions = Number(process.argv[2] ?? 1_000_000);
if (!(Number.isInteger(sessions) && sessions >= 1000)) {
  console.error(`SESSIONS ${process.argv[2]}: expected a whole number from 1000`);
  process.exit(2);
}
const growth = await runGrowth(sessions, (line) => console.log(line));
const { tables, kept, looks, rowsLeft } = growth;
console.log(`
${sessions} sessions begun and advanced in ${growth.seconds.toFixed(0)} s
bytes per live session        ${growth.bytesPerSession.toFixed(0)}
WAL bytes per begin           ${growth.walBytesPerBegin.toFixed(0)}
WAL bytes per advance         ${growth.walBytesPerAdvance.toFixed(0)}
partitions dropped            ${growth.droppedPartitions}
entries, spilled states and checkpoints
  created; left at the end    ${kept.made}; ${kept.left}
  read before their expiry    ${looks.found} found, ${looks.lost} missing
rows left                     ${rowsLeft}
bytes before, maximum, after`);
for (const [name, { before, most, after }] of Object.entries(tables)) {
  console.log(`  ${name.padEnd(27)} ${before}, ${most}, ${after}`);
}
const asBefore = Object.values(tables).every(({ before, after }) => after === before);
process.exit(asBefore && rowsLeft === 0 && kept.left === 0 && looks.lost === 0 ? 0 : 1);
