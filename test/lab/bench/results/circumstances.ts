import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { PROJECT } from "../../../../deploy/local/paths.ts";
import type { Circumstances } from "./results.ts";

/** The date, commit and machine of a run. */
export function circumstances(rounds: number, isQuick: boolean): Circumstances {
  return {
    date: `${new Date().toISOString().slice(0, 16)}Z`,
    commit: commit(),
    machine: machine(),
    node: process.version,
    rounds,
    isQuick,
  };
}

export function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
}

/** The report's own files, which change during a run. */
const REPORT = [":!test/lab/bench/report", ":!test/lab/bench/REPORT.md"];

/** Marked if other files differ from the commit. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: PROJECT, encoding: "utf8", stdio: "pipe" }).trim();
  try {
    const isChanged = git("status", "--porcelain", "--", ".", ...REPORT) !== "";
    return `${git("rev-parse", "--short", "HEAD")}${isChanged ? " with changes" : ""}`;
  } catch {
    // Without git, as from an archive.
    return "unknown";
  }
}
