import { openSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { credentials, makeGenericClientConstructor } from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import type { Tls } from "#shared/credentials/tls.ts";
import type { Child, Children } from "./children.ts";
import { Failure } from "./failure.ts";
import { COMPILE_CACHE, PROJECT } from "./paths.ts";

const START_LIMIT_MS = 30_000;
const DRAIN_LIMIT_MS = 35_000;
const MIN_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 5000;
/** A replica that lived this long starts anew at once. */
const STABLE_MS = 10_000;
/**
 * Half of Node's usual nursery: 15 MB less a replica, and as fast. With a fourth of this one, which takes
 * another 11 MB off, answers of many products take an eighth longer (`npm run bench -- start cache`).
 */
export const NODE_FLAGS: readonly string[] = ["--max-semi-space-size=8"];

/** A replica that serves. */
export interface RunningReplica {
  /** Counts from 1. Its successor after a crash has the same number. */
  readonly number: number;
  readonly pid: number;
  readonly address: string;
}

interface Slot {
  readonly number: number;
  child: Child | undefined;
  running: RunningReplica | undefined;
  leaving: boolean;
}

/**
 * The replicas, kept at a number: one that ends unasked is started anew. `changed` hears of each
 * replica that begins to serve or has ended.
 */
export class Replicas {
  readonly #children: Children;
  readonly #folder: string;
  readonly #env: Record<string, string>;
  readonly #args: string[];
  readonly #tls: Tls["client"] | undefined;
  readonly #changed: () => void;
  readonly #slots: Slot[] = [];

  constructor(
    children: Children,
    folder: string,
    roles: readonly string[],
    env: Record<string, string>,
    tls: Tls["client"] | undefined,
    changed: () => void,
  ) {
    this.#children = children;
    this.#folder = folder;
    const program = join(PROJECT, "services", "main.ts");
    this.#args = [...NODE_FLAGS, program, "--roles", roles.join(",")];
    this.#env = env;
    this.#tls = tls;
    this.#changed = changed;
  }

  /** Those that serve and stay. */
  get serving(): readonly RunningReplica[] {
    return this.#slots
      .filter((slot) => !slot.leaving)
      .map((slot) => slot.running)
      .filter((running) => running !== undefined);
  }

  /** How many there are to be. */
  get wanted(): number {
    return this.#slots.filter((slot) => !slot.leaving).length;
  }

  /** Starts one more. Settles when it serves. */
  async add(): Promise<RunningReplica> {
    const taken = new Set(this.#slots.map((slot) => slot.number));
    let number = 1;
    while (taken.has(number)) number += 1;
    const slot: Slot = { number, child: undefined, running: undefined, leaving: false };
    this.#slots.push(slot);
    try {
      const running = await this.#start(slot);
      void this.#keep(slot);
      return running;
    } catch (error) {
      this.#slots.splice(this.#slots.indexOf(slot), 1);
      throw error;
    }
  }

  /**
   * Takes the newest ones out of those that serve.
   *
   * @returns ends them; call it when nobody sends them calls any more
   */
  leave(count: number): () => Promise<void> {
    const leaving = this.#slots.filter((slot) => !slot.leaving).slice(-count);
    for (const slot of leaving) slot.leaving = true;
    return async () => {
      await Promise.all(leaving.map((slot) => slot.child?.end(DRAIN_LIMIT_MS)));
      for (const slot of leaving) this.#slots.splice(this.#slots.indexOf(slot), 1);
    };
  }

  /** Starts a slot's process anew whenever it ends unasked. */
  async #keep(slot: Slot): Promise<void> {
    let backoffMs = MIN_BACKOFF_MS;
    for (;;) {
      const startedAt = Date.now();
      await slot.child?.exited;
      slot.running = undefined;
      if (slot.leaving) return;
      this.#changed();
      backoffMs = Date.now() - startedAt > STABLE_MS ? 0 : Math.max(backoffMs, MIN_BACKOFF_MS);
      await delay(backoffMs);
      if (slot.leaving) return;
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
      // What keeps it from starting is in its log; it is tried again.
      await this.#start(slot).catch(() => slot.child?.end(0));
    }
  }

  async #start(slot: Slot): Promise<RunningReplica> {
    const logFile = join(this.#folder, `replica-${slot.number}.log`);
    const log = openSync(logFile, "a", 0o600);
    const child = await this.#children.start(process.execPath, this.#args, {
      stdio: ["ignore", "pipe", log],
      env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE, ...this.#env },
      cwd: PROJECT,
    });
    slot.child = child;
    const failed = (what: string) =>
      new Failure(`replica ${slot.number} ${what} at its start: see ${logFile}`);
    const limit = AbortSignal.timeout(START_LIMIT_MS);
    const address = await Promise.race([
      listening(child),
      child.exited.then(() => Promise.reject(failed("ended"))),
      aborted(limit).then(() => Promise.reject(failed("did not listen"))),
    ]);
    await Promise.race([
      untilServing(address, this.#tls, limit),
      child.exited.then(() => Promise.reject(failed("ended"))),
      aborted(limit).then(() => Promise.reject(failed("did not serve"))),
    ]);
    slot.running = { number: slot.number, pid: child.pid, address };
    if (!slot.leaving) this.#changed();
    return slot.running;
  }
}

/** The address in the line that a replica prints when it listens. */
async function listening(child: Child): Promise<string> {
  for await (const line of createInterface({ input: child.process.stdout! })) {
    const event = JSON.parse(line) as { event?: string; address?: string };
    if (event.event === "listening" && event.address) {
      child.process.stdout!.resume();
      return event.address;
    }
  }
  return new Promise(() => {});
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true }),
  );
}

const HealthClient = makeGenericClientConstructor(healthService, "Health");

/** Watches a replica's health until it says SERVING. */
function untilServing(
  address: string,
  tls: Tls["client"] | undefined,
  limit: AbortSignal,
): Promise<void> {
  const client = new HealthClient(address, tls?.credentials ?? credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    ...tls?.channel,
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const watch = client["watch"]!({ service: "" });
  watch.on("data", ({ status }: { status: string }) => {
    if (status === "SERVING") resolve();
  });
  watch.on("error", reject);
  limit.addEventListener("abort", () => watch.cancel(), { once: true });
  return promise.finally(() => {
    watch.cancel();
    client.close();
  });
}
