/**
 * Lets clients contend for sessions and orders while faults are injected: replicas are killed and paused,
 * Postgres restarts, rings rotate, and responses are lost. Then proves from the recorded history that each
 * session's calls are linearizable and each order was placed exactly once.
 *
 * Usage: npm run chaos -- [--minutes 60] [--history FILE] [--json]
 *        npm run chaos -- --check FILE   checks a recorded history
 *
 * The environment variable SEED repeats the random choices of a run.
 */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readHistory } from "./history.ts";
import { faultsOf } from "./linearizable.ts";
import { runChaos } from "./run.ts";

const USAGE = `Usage: npm run chaos -- [--minutes MINUTES] [--history FILE] [--json]
       npm run chaos -- --check FILE

  --minutes MINUTES  length of the run, up to 240; default: 3
  --history FILE     writes the history as JSON lines; default: a new file
  --check FILE       checks a recorded history instead of running
  --json             prints the report as JSON
  --help             prints this text
`;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "3" },
    history: { type: "string" },
    check: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
const minutes = Number(values.minutes);
if (!(minutes > 0 && minutes <= 240)) {
  console.error(`--minutes ${values.minutes}: expected a number up to 240`);
  process.exit(2);
}
const file =
  values.check ?? values.history ?? join(mkdtempSync(join(tmpdir(), "waybill-chaos-")), "history");
const tell = values.json ? () => {} : (line: string) => console.log(line);
const run = values.check === undefined ? await runChaos(minutes, file, tell) : undefined;
const history = await readHistory(file);
const faults = faultsOf(history);
const sessions = new Set(history.lines.map(({ session }) => session)).size;
if (values.json) {
  console.log(JSON.stringify({ ...run, file, sessions, wrong: faults }));
} else {
  for (const { session, what } of faults) console.log(`${session}: ${what}`);
  const { calls, unknown, lostAnswers, faults: done } = run ?? { calls: history.lines.length };
  console.log(`${calls} calls of ${sessions} sessions; history: ${file}`);
  if (run)
    console.log(
      `${lostAnswers} responses lost, ${unknown} unknown outcomes; ${JSON.stringify(done)}`,
    );
  console.log(
    faults.length === 0
      ? "every history is linearizable"
      : `FAILED: ${faults.length} sessions are not linearizable`,
  );
}
process.exit(faults.length === 0 ? 0 : 1);
