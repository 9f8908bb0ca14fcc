import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Faults } from "./faults.ts";
import { readHistory } from "./history.ts";
import { faultsOf } from "./linearizable.ts";
import { runChaos } from "./run.ts";

/** The faults in a run's history. */
async function refuted(...[minutes, disturb]: [number, Parameters<typeof runChaos>[3]?]) {
  const folder = mkdtempSync(join(tmpdir(), "waybill-chaos-"));
  const file = join(folder, "history");
  const { calls, lostAnswers } = await runChaos(minutes, file, () => {}, disturb);
  expect(lostAnswers).toBeGreaterThan(0);
  const history = await readHistory(file);
  expect(history.lines).toHaveLength(calls);
  const succeeded = history.lines.filter(({ outcome }) => outcome.kind === "ok");
  expect(succeeded.length).toBeGreaterThan(100);
  const wrong = faultsOf(history);
  // Save a refuted history: `npm run chaos -- --check` checks it again.
  if (wrong.length === 0) rmSync(folder, { recursive: true });
  else console.log(`history: ${file}`);
  return wrong;
}

test("a ten-second failover of Postgres loses no acknowledged advance", async () => {
  const failover = async (faults: Faults) => {
    await faults.database();
    await faults.readOnly(10_000);
    await delay(3000);
  };
  expect(await refuted(0.25, failover)).toEqual([]);
}, 120_000);

test("a minute of faults leaves every history linearizable", async () => {
  expect(await refuted(1)).toEqual([]);
}, 240_000);
