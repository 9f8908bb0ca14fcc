/**
 * Measures the cost of carrying state against other designs on this machine, and writes the report. A missed
 * goal is reported and does not fail the run.
 *
 * Usage: npm run bench -- --help
 */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs, styleText } from "node:util";
import { installTools } from "../../../deploy/local/tools.ts";
import { ConfigError, Failure } from "../../../services/replica/failure.ts";
import { Bench, type Extent } from "./bench.ts";
import { circumstances, machine } from "./results/circumstances.ts";
import { printPart } from "./results/print.ts";
import { writePage, writeReport } from "./results/report.ts";
import type { Part } from "./results/results.ts";
import { SUITES } from "./suites.ts";

const NAMES = Object.keys(SUITES);
const WIDTH = Math.max(...NAMES.map((name) => name.length));

const USAGE = `Usage: npm run bench [-- SUITE… --quick --json FILE --report DIR --page --rounds N --calls N]

${Object.entries(SUITES)
  .map(([name, { about }]) => `  ${name.padEnd(WIDTH)}  ${about}`)
  .join("\n")}

All suites take more than an hour, or ten minutes with --quick.

  --quick       fewer and shorter rounds, to test the suites; writes no report
  --json FILE   writes the results as JSON
  --report DIR  writes REPORT.md, and pictures in report/
                [test/lab/bench; with --quick, --rounds or --calls: none]
  --page        only writes REPORT.md again, with the current findings/; measures nothing
  --rounds N    measurements of each contender, alternating   [5; with --quick: 2]
  --calls N     limit on the calls of one run
  --help        prints this text

Exit code: 0 on success, 1 if a suite failed, 2 for wrong arguments.
`;

const OPTIONS = {
  quick: { type: "boolean", default: false },
  json: { type: "string" },
  report: { type: "string" },
  page: { type: "boolean", default: false },
  rounds: { type: "string" },
  calls: { type: "string" },
  help: { type: "boolean", short: "h", default: false },
} as const;

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    const said = (error as Error).message.split(". ")[0];
    const known = Object.keys(OPTIONS).map((name) => `--${name}`);
    throw new ConfigError(`${said}: expected some of ${known.join(", ")}`);
  }
}

async function main(): Promise<number> {
  const { values: flags, positionals } = parse(process.argv.slice(2));
  if (flags.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  for (const name of positionals) {
    if (NAMES.includes(name)) continue;
    throw new ConfigError(`no suite is called ${name}: expected some of ${NAMES.join(", ")}`);
  }
  if (flags.page) {
    const kept = flags.report ? resolve(flags.report) : import.meta.dirname;
    console.log(writePage(kept, NAMES));
    return 0;
  }
  const extent: Extent = {
    isQuick: flags.quick,
    rounds: whole("--rounds", flags.rounds) ?? (flags.quick ? 2 : 5),
    mostCalls: whole("--calls", flags.calls),
  };
  const isWhole = !flags.quick && flags.rounds === undefined && flags.calls === undefined;
  const folder = flags.report ? resolve(flags.report) : isWhole ? import.meta.dirname : undefined;
  installTools(["ghz", "waybill-load", "waybill-relay"], tell);
  console.log(`${machine()}, Node ${process.version}`);
  const parts: Part[] = [];
  let failed = 0;
  for (const name of positionals.length > 0 ? NAMES.filter(isAmong(positionals)) : NAMES) {
    const part = await runSuite(name, extent);
    if (part === undefined) {
      failed += 1;
      continue;
    }
    parts.push(part);
    // Written after each suite, so that a crash does not lose an hour of results.
    if (flags.json !== undefined) {
      writeFileSync(flags.json, `${JSON.stringify({ machine: machine(), parts }, null, 2)}\n`);
    }
    if (folder !== undefined) tell(`report: ${writeReport(folder, NAMES, part)}`);
  }
  return failed === 0 ? 0 : 1;
}

/** @returns undefined on failure, after printing the error */
async function runSuite(name: string, extent: Extent): Promise<Part | undefined> {
  const bench = new Bench(name, extent);
  const interruption = whenInterrupted(bench);
  const { about, run } = SUITES[name]!;
  let part: Part | undefined;
  try {
    await run(bench);
    part = bench.results.part(name, about, circumstances(extent.rounds, extent.isQuick));
    printPart(part);
  } catch (error) {
    if (!interruption.has()) console.error(`${name} FAILED: ${(error as Error).stack}`);
  }
  if (interruption.has()) return new Promise(() => {});
  interruption.ignore();
  for (const failure of await bench.end()) console.error(failure);
  return part;
}

/** Ctrl-C ends what the suite has started, one by one, and then the bench. */
function whenInterrupted(bench: Bench) {
  let isEnding = false;
  const end = () => {
    // Both the terminal and npm send the signal.
    if (isEnding) return;
    isEnding = true;
    tell("ending the processes of the suite");
    void bench.end().then((failures) => {
      for (const failure of failures) console.error(failure);
      process.exit(130);
    });
  };
  process.on("SIGINT", end);
  process.on("SIGTERM", end);
  return {
    has: () => isEnding,
    ignore() {
      process.off("SIGINT", end);
      process.off("SIGTERM", end);
    },
  };
}

function isAmong(names: readonly string[]): (name: string) => boolean {
  return (name) => names.includes(name);
}

function tell(line: string): void {
  process.stderr.write(`${styleText("dim", line, { stream: process.stderr })}\n`);
}

function whole(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) {
    throw new ConfigError(`${flag} ${text}: expected a whole number from 1`);
  }
  return Number(text);
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    const known = error instanceof Failure;
    console.error(`bench: ${known ? error.message : (error as Error).stack}`);
    process.exit(known ? error.exitCode : 1);
  },
);
