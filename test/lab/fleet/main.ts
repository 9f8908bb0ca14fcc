/**
 * Lets thousands of clients, some with thieves, refresh their tokens through a lossy network while replicas
 * are killed, and reports the alarms, forks and missed thefts.
 *
 * Usage: npm run fleet [-- --clients 3000 --rounds 12 --loss 5]
 */
import { parseArgs } from "node:util";
import { runFleet } from "./fleet.ts";

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "3000" },
    rounds: { type: "string", default: "12" },
    loss: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
});
const report = await runFleet({
  clients: Number(values.clients),
  rounds: Number(values.rounds),
  lossPercent: Number(values.loss),
  tell: values.json ? () => {} : (line) => console.log(line),
});
if (values.json) {
  console.log(JSON.stringify(report));
} else {
  const of = (pick: (outcome: (typeof report.outcomes)[number]) => number, fate?: string) =>
    report.outcomes
      .filter((outcome) => fate === undefined || outcome.fate === fate)
      .reduce((sum, outcome) => sum + pick(outcome), 0);
  console.log(`
  fate        client        families  ended  stolen  missed  refreshes until the alarm`);
  for (const { fate, kind, families, ended, robbed, missed, slowest } of report.outcomes) {
    const numbers = [families, ended, robbed, missed].map((number) => `${number}`.padStart(7));
    console.log(`  ${fate.padEnd(11)} ${kind.padEnd(14)}${numbers.join("")}  ${slowest}`);
  }
  console.log(`
  ${report.refreshes} refreshes, ${report.lost} responses lost, ${report.kills} replicas killed
  false alarms                     ${of(({ ended }) => ended, "honest")}
  honest users signed out          ${report.signedOut}
  forked families                  ${report.forked}
  thefts missed                    ${of(({ missed }) => missed)} of ${of(({ robbed }) => robbed)}
  two stores, unsynchronised       ${of(({ ended }) => ended, "twoStores")} of ${of(({ families }) => families, "twoStores")} ended`);
}
