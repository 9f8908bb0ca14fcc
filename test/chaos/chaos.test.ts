import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readHistory } from "./history.ts";
import { faultsOf } from "./linearizable.ts";
import { runChaos } from "./run.ts";

test("a minute of kills, pauses, restarts, rotations and lost answers: every history is linearizable", async () => {
  const folder = mkdtempSync(join(tmpdir(), "waybill-chaos-"));
  const file = join(folder, "history");
  const { calls, lostAnswers } = await runChaos(1, file);
  expect(lostAnswers).toBeGreaterThan(0);
  const history = await readHistory(file);
  expect(history.lines).toHaveLength(calls);
  expect(faultsOf(history)).toEqual([]);
  rmSync(folder, { recursive: true });
}, 240_000);
