import { createLog } from "#shared/lifecycle/log.ts";
import { ConfigError, readConfig, USAGE } from "./config.ts";
import { startReplica } from "./replica.ts";

/** One line for the program that started this one. */
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
  const replica = await startReplica(config, log);

  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= replica.stop().then(() => process.exit(0));
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);

  tell({ event: "listening", address: replica.address });
  log.info({ address: replica.address, roles: config.roles }, "listening");
  await replica.ready;
  if (stopping === undefined) log.info("serving");
}

main().catch((error: unknown) => {
  if (error instanceof ConfigError) {
    process.stderr.write(`waybill replica: ${error.message}\nSee --help.\n`);
    process.exit(2);
  }
  process.stderr.write(`waybill replica: ${(error as Error).stack}\n`);
  process.exit(1);
});
