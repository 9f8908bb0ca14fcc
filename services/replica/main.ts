import { flushCompileCache } from "node:module";
import { createLog } from "#shared/runtime/log.ts";
import { readConfig } from "./config/config.ts";
import { USAGE } from "./config/usage.ts";
import { fail } from "./failure.ts";
import { handleFaults } from "./processFaults.ts";
import { type Replica, startReplica } from "./replica.ts";

/** Prints one JSON line for the program that started this one. */
function tell(event: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify({ ...event, pid: process.pid })}\n`);
}

async function main(): Promise<void> {
  const config = readConfig(process.argv.slice(2), process.env);
  if (config === "help") {
    process.stdout.write(USAGE);
    return;
  }
  const log = createLog(config.logLevel);
  let replica: Replica | undefined;
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= replica?.stop() ?? Promise.resolve();
    return stopping;
  };
  handleFaults(log, stop);
  replica = await startReplica(config, log);

  const end = () => void stop().then(() => process.exit(0));
  process.on("SIGTERM", end);
  process.on("SIGINT", end);

  tell({ event: "listening", address: replica.address });
  log.info({ address: replica.address, roles: config.roles }, "listening");
  await replica.ready;
  if (stopping === undefined) log.info("serving");
  // Node writes the compile cache only at exit, and a killed process does not get there.
  flushCompileCache();
}

main().catch((error: unknown) => fail("replica", error));
