import { expect, test } from "vitest";
import { runFleet } from "./fleet.ts";

test("detects every theft in a fleet without false alarms", async () => {
  const report = await runFleet({ clients: 500, rounds: 9, lossPercent: 5, tell: () => {} });
  const sum = (pick: (outcome: (typeof report.outcomes)[number]) => number, fate?: string) =>
    report.outcomes
      .filter((outcome) => fate === undefined || outcome.fate === fate)
      .reduce((total, outcome) => total + pick(outcome), 0);
  expect(report.lost).toBeGreaterThan(100);
  expect(report.kills).toBeGreaterThan(1);
  expect(sum(({ robbed }) => robbed)).toBeGreaterThan(3);
  expect({
    falseAlarms: sum(({ ended }) => ended, "honest"),
    signedOut: report.signedOut,
    forked: report.forked,
    missed: sum(({ missed }) => missed),
  }).toEqual({ falseAlarms: 0, signedOut: 0, forked: 0, missed: 0 });
});
