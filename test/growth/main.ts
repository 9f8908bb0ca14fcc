/**
 * Lets anchored sessions begin, advance and expire, and reports what they cost and leave behind.
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
const { bytesBefore, bytesAfter } = growth;
console.log(`
${sessions} sessions begun and advanced in ${growth.seconds.toFixed(0)} s
bytes per live session        ${growth.bytesPerSession.toFixed(0)}
WAL bytes per begin           ${growth.walBytesPerBegin.toFixed(0)}
WAL bytes per advance         ${growth.walBytesPerAdvance.toFixed(0)}
partitions dropped            ${growth.droppedPartitions}
bytes before and after        ${bytesBefore}, ${bytesAfter}`);
process.exit(bytesAfter === bytesBefore ? 0 : 1);
