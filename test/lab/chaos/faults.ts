import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import type { TestCluster } from "../../support/cluster.ts";

/** Time that a replica that was killed has to serve again: it is given 30 s, and may be started more than once. */
const RESTART_LIMIT_MS = 90_000;
const STEP_MS = 20;

/** What is done to a cluster while clients use it, and how often it was. */
export class Faults {
  readonly done: Record<string, number> = {};
  readonly #cluster: TestCluster;
  readonly #below: (limit: number) => number;
  readonly #slow: (delayMs: number) => void;
  readonly #restartLimitMs: number;

  /** @param slow makes the network between clients and front proxy slow */
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

  /** Does one thing, and waits until the cluster has got over it. */
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

  /** Kills a replica in the midst of its calls. @throws Error when it does not serve again */
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

  /** Stops a replica where it stands, transactions open, and lets it go on. */
  async pause(): Promise<void> {
    const { pid } = this.#victim();
    process.kill(pid, "SIGSTOP");
    await delay(300 + this.#below(2000));
    process.kill(pid, "SIGCONT");
  }

  /** Restarts Postgres. */
  async database(): Promise<void> {
    const database = this.#cluster.embeddedDatabase()!;
    await database.stop();
    await delay(this.#below(1000));
    await database.start();
  }

  /** Lets Postgres read and not write, as a standby does until it is promoted. */
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

  /** Lets the network be slow for a while. */
  async slow(): Promise<void> {
    this.#slow(20 + this.#below(400));
    await delay(500 + this.#below(2000));
    this.#slow(0);
  }

  async rotate(): Promise<void> {
    const audiences = ["session", "session-saved", "checkout", "checkout-saved"];
    const rotating = this.#cluster.rotate(audiences[this.#below(audiences.length)]!);
    // The database may be away, or the replica that was asked: then it is rotated another time.
    await rotating.catch(() => {
      this.done["not rotated"] = (this.done["not rotated"] ?? 0) + 1;
    });
  }

  #victim() {
    const { replicas } = this.#cluster.status();
    return replicas[this.#below(replicas.length)]!;
  }
}
