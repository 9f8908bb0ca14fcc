import { enableCompileCache, flushCompileCache } from "node:module";
import { join } from "node:path";
import { readConfig, USAGE } from "./config.ts";
import { fail } from "./failure.ts";

// Keeps the compiled code for the next start, which then needs no compiler for TypeScript: a third
// less memory. Where the folder can't be written, the start is just a little dearer.
enableCompileCache(join(import.meta.dirname, "..", ".cache", "node"));

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
  // After the cache is on: what is imported statically is compiled before it.
  const { createLog } = await import("#shared/lifecycle/log.ts");
  const { startReplica } = await import("./replica.ts");
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
  flushCompileCache();
}

main().catch((error: unknown) => fail("replica", error));
