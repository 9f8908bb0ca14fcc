import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { credentials, makeGenericClientConstructor } from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import type { Tls } from "#shared/auth/credentials/tls.ts";
import { Failure } from "../../../services/replica/failure.ts";
import { LOCAL_CHANNEL, programEnvironment } from "../environment.ts";
import { COMPILE_CACHE, PROJECT } from "../paths.ts";
import type { Child, Children } from "./children.ts";

const START_LIMIT_MS = 30_000;
const DRAIN_LIMIT_MS = 35_000;
const MIN_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 5000;
/** A replica that ran this long before it exited is restarted without delay. */
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
  /** Aborted when the replica is to end and not to be started anew. */
  readonly leaving: AbortController;
  child: Child | undefined;
  running: RunningReplica | undefined;
  /** Settles when nothing starts a process for this slot any more. */
  settled: Promise<unknown>;
}

/** How replicas are started. */
export interface ReplicaSettings {
  readonly roles: readonly string[];
  /** Takes a log for each replica. */
  readonly logFolder: string;
  readonly env: Readonly<Record<string, string>>;
  /** How to call a replica; undefined: in plaintext. */
  readonly tls: Tls["client"] | undefined;
  /** A replica that does not serve within this time of its start is ended. */
  readonly startLimitMs?: number | undefined;
}

/**
 * The replicas of a cluster. One that ends unasked is started anew. `changed` is called whenever the
 * list of those that serve has changed.
 */
export class Replicas {
  readonly #children: Children;
  readonly #settings: ReplicaSettings;
  readonly #args: readonly string[];
  readonly #changed: () => void;
  readonly #slots: Slot[] = [];

  constructor(children: Children, settings: ReplicaSettings, changed: () => void) {
    this.#children = children;
    this.#settings = settings;
    const program = join(PROJECT, "services", "replica", "main.ts");
    this.#args = [...NODE_FLAGS, program, "--roles", settings.roles.join(",")];
    this.#changed = changed;
  }

  /** Those that serve and stay. */
  get serving(): readonly RunningReplica[] {
    return this.#staying.map((slot) => slot.running).filter((running) => running !== undefined);
  }

  /** How many there are to be. */
  get wanted(): number {
    return this.#staying.length;
  }

  get #staying(): Slot[] {
    return this.#slots.filter((slot) => !slot.leaving.signal.aborted);
  }

  /**
   * Starts more replicas. Settles when all of them serve. If one of them does not, all of them are ended
   * before this throws, and the others never knew of them.
   */
  async add(count: number): Promise<void> {
    const added = Array.from({ length: count }, () => this.#addSlot());
    const starts = added.map((slot) => {
      const start = this.#start(slot);
      slot.settled = start.catch(() => {});
      return start;
    });
    try {
      const running = await Promise.all(starts);
      for (const [index, slot] of added.entries()) slot.running = running[index];
    } catch (error) {
      await this.#end(added);
      throw error;
    }
    this.#changed();
    for (const slot of added) slot.settled = this.#keep(slot);
  }

  /**
   * Takes the newest replicas out of those that serve.
   *
   * @returns ends them; to be called when the front proxy sends them no more calls
   */
  leave(count: number): () => Promise<void> {
    const leaving = this.#staying.slice(-count);
    for (const slot of leaving) slot.leaving.abort();
    return () => this.#end(leaving);
  }

  #addSlot(): Slot {
    const taken = new Set(this.#slots.map((slot) => slot.number));
    let number = 1;
    while (taken.has(number)) number += 1;
    const slot: Slot = {
      number,
      leaving: new AbortController(),
      child: undefined,
      running: undefined,
      settled: Promise.resolve(),
    };
    this.#slots.push(slot);
    return slot;
  }

  /** Ends the replicas of some slots, also those that are being started, and drops the slots. */
  async #end(slots: readonly Slot[]): Promise<void> {
    for (const slot of slots) slot.leaving.abort();
    await Promise.all(
      slots.map(async (slot) => {
        await slot.child?.end(DRAIN_LIMIT_MS);
        await slot.settled;
      }),
    );
    for (const slot of slots) this.#slots.splice(this.#slots.indexOf(slot), 1);
  }

  /** Starts a slot's process anew whenever it ends unasked. */
  async #keep(slot: Slot): Promise<void> {
    const { signal } = slot.leaving;
    let backoffMs = MIN_BACKOFF_MS;
    for (;;) {
      const startedAt = Date.now();
      await slot.child?.exited;
      slot.running = undefined;
      if (signal.aborted) return;
      this.#changed();
      backoffMs = Date.now() - startedAt > STABLE_MS ? 0 : Math.max(backoffMs, MIN_BACKOFF_MS);
      await delay(backoffMs, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
      // The reason of a failed start is in the replica's log. The loop tries again.
      slot.running = await this.#start(slot).catch(() => undefined);
      if (slot.running !== undefined && !signal.aborted) this.#changed();
    }
  }

  async #start(slot: Slot): Promise<RunningReplica> {
    const { tls, env, logFolder, startLimitMs = START_LIMIT_MS } = this.#settings;
    const name = `replica ${slot.number}`;
    const { child, ready } = await this.#children.startServing({
      name,
      command: process.execPath,
      args: this.#args,
      options: {
        env: programEnvironment({ NODE_COMPILE_CACHE: COMPILE_CACHE, ...env }),
        cwd: PROJECT,
      },
      logFile: join(logFolder, `replica-${slot.number}.log`),
      readsStdout: true,
      startLimitMs,
      async ready(started, over) {
        slot.child = started;
        // It was told to leave while its process was being made.
        if (slot.leaving.signal.aborted) throw new Failure(`${name} is not needed any more`);
        const address = await listening(started);
        await untilServing(address, tls, over);
        return address;
      },
    });
    return { number: slot.number, pid: child.pid, address: ready };
  }
}

/** The address in the line that a replica prints when it listens. */
export async function listening(child: Child): Promise<string> {
  for await (const line of createInterface({ input: child.process.stdout! })) {
    const event = JSON.parse(line) as { event?: string; address?: string };
    if (event.event === "listening" && event.address) {
      child.process.stdout!.resume();
      return event.address;
    }
  }
  return new Promise(() => {});
}

const HealthClient = makeGenericClientConstructor(healthService, "Health");

/** Watches a replica's health until it says SERVING, or until `over` is aborted. */
export async function untilServing(
  address: string,
  tls: Tls["client"] | undefined,
  over: AbortSignal,
): Promise<void> {
  const client = new HealthClient(address, tls?.credentials ?? credentials.createInsecure(), {
    ...LOCAL_CHANNEL,
    ...tls?.channel,
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const watch = client["watch"]!({ service: "" });
  watch.on("data", ({ status }: { status: string }) => {
    if (status === "SERVING") resolve();
  });
  watch.on("error", ({ message }: Error) =>
    reject(new Failure(`the replica at ${address} did not answer its health check: ${message}`)),
  );
  over.addEventListener("abort", () => watch.cancel(), { once: true });
  try {
    await promise;
  } finally {
    watch.cancel();
    client.close();
  }
}
