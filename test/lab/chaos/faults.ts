import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import type { TestCluster } from "../../support/cluster.ts";

/** Limit for a killed replica to serve again: one start may take 30 s, and it may start more than once. */
const RESTART_LIMIT_MS = 90_000;
const STEP_MS = 20;

/** Injects faults into a cluster while clients use it, and counts them. */
export class Faults {
  readonly done: Record<string, number> = {};
  readonly #cluster: TestCluster;
  readonly #below: (limit: number) => number;
  readonly #slow: (delayMs: number) => void;
  readonly #restartLimitMs: number;

  /** @param slow delays the network between clients and front proxy */
  constructor(
    cluster: TestCluster,
    below: (limit: number) => number,
    slow: (delayMs: number) => void = () => {},
    restartLimitMs = RESTART_LIMIT_MS,
  ) {
    this.#slow = slow;
    this.#restartLimitMs = restartLimitMs;
    this.#cluster = cluster;
    this.#below = below;
  }

  /** Injects one fault and waits until the cluster has recovered. */
  async next(): Promise<void> {
    const kinds = [
      "kill",
      "kill",
      "kill",
      "pause",
      "pause",
      "database",
      "readOnly",
      "slow",
      "rotate",
    ] as const;
    const kind = kinds[this.#below(kinds.length)]!;
    this.done[kind] = (this.done[kind] ?? 0) + 1;
    await this[kind]();
  }

  /** Kills a replica during its calls. @throws Error if it does not serve again */
  async kill(): Promise<void> {
    const victim = this.#victim();
    process.kill(victim.pid, "SIGKILL");
    const isBack = () => {
      const { replicas } = this.#cluster.status();
      return replicas.some(({ number, pid }) => number === victim.number && pid !== victim.pid);
    };
    const end = performance.now() + this.#restartLimitMs;
    while (!isBack()) {
      if (performance.now() > end) {
        const limit = `${this.#restartLimitMs / 1000} s`;
        throw new Error(`replica ${victim.number} was killed and did not serve again in ${limit}`);
      }
      await delay(STEP_MS);
    }
  }

  /** Pauses a replica, with its transactions open, and resumes it. */
  async pause(): Promise<void> {
    const { pid } = this.#victim();
    process.kill(pid, "SIGSTOP");
    await delay(300 + this.#below(2000));
    process.kill(pid, "SIGCONT");
  }

  async database(): Promise<void> {
    const database = this.#cluster.embeddedDatabase()!;
    await database.stop();
    await delay(this.#below(1000));
    await database.start();
  }

  /** Makes Postgres read-only for a while, like a standby before its promotion. */
  async readOnly(forMs = 500 + this.#below(2000)): Promise<void> {
    const set = async (value: string) => {
      const db = new Client({ connectionString: this.#cluster.databaseUrl });
      await db.connect();
      await db.query(`ALTER SYSTEM SET default_transaction_read_only = ${value}`);
      await db.query("SELECT pg_reload_conf()");
      await db.end();
    };
    await set("on");
    await delay(forMs);
    await set("off");
  }

  /** Slows the network down for a while. */
  async slow(): Promise<void> {
    this.#slow(20 + this.#below(400));
    await delay(500 + this.#below(2000));
    this.#slow(0);
  }

  async rotate(): Promise<void> {
    const audiences = ["session", "session-saved", "checkout", "checkout-saved"];
    const rotating = this.#cluster.rotate(audiences[this.#below(audiences.length)]!);
    // Postgres or the replica may be unavailable; a later rotation will do.
    await rotating.catch(() => {
      this.done["not rotated"] = (this.done["not rotated"] ?? 0) + 1;
    });
  }

  #victim() {
    const { replicas } = this.#cluster.status();
    return replicas[this.#below(replicas.length)]!;
  }
}
