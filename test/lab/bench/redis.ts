import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";
import { Children } from "../../../deploy/local/processes/children.ts";
import { freePort } from "../../../deploy/local/processes/ports.ts";
import { debianProgram } from "../../support/servers/debian.ts";

const START_LIMIT_MS = 10_000;

/** A separate Redis without persistence. */
export interface RunningRedis {
  readonly address: string;
  readonly pid: number;
  end(): Promise<void>;
}

/** @returns undefined if Redis is unavailable or does not run here */
export async function startRedis(): Promise<RunningRedis | undefined> {
  const program = debianProgram("redis");
  if (program === undefined) return undefined;
  const folder = mkdtempSync(join(tmpdir(), "waybill-redis-"));
  const children = new Children();
  const port = await freePort();
  const settings = { port, bind: "127.0.0.1", dir: folder, save: "", appendonly: "no" };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, `${value}`]);
  const child = await children.start(program.path, args, {
    stdio: "ignore",
    env: { ...process.env, ...program.env },
  });
  const end = async () => {
    await child.end(10_000);
    await children.close();
    rmSync(folder, { recursive: true });
  };
  if (await answers(port)) return { address: `127.0.0.1:${port}`, pid: child.pid, end };
  await end();
  return undefined;
}

async function answers(port: number): Promise<boolean> {
  const redis = new Redis(port, "127.0.0.1", { retryStrategy: () => 20 });
  // It does not listen at first.
  redis.on("error", () => {});
  const limit = new AbortController();
  const answered = await Promise.race([
    redis.ping().catch(() => undefined),
    delay(START_LIMIT_MS, undefined, { signal: limit.signal }).catch(() => undefined),
  ]);
  limit.abort();
  redis.disconnect();
  return answered === "PONG";
}
