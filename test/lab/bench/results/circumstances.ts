import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { PROJECT } from "../../../../deploy/local/paths.ts";
import type { Circumstances } from "./results.ts";

/** Where and when this is. */
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

/** What the report itself is made of: it changes in the course of a run. */
const REPORT = [":!test/lab/bench/report", ":!test/lab/bench/REPORT.md"];

/** With a mark when files differ from it. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: PROJECT, encoding: "utf8", stdio: "pipe" }).trim();
  try {
    const isChanged = git("status", "--porcelain", "--", ".", ...REPORT) !== "";
    return `${git("rev-parse", "--short", "HEAD")}${isChanged ? " with changes" : ""}`;
  } catch {
    // From an archive, say.
    return "unknown";
  }
}
