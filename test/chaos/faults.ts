import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import type { TestCluster } from "../fixtures/cluster.ts";

/** What is done to a cluster while clients use it, and how often it was. */
export class Faults {
  readonly done: Record<string, number> = {};
  readonly #cluster: TestCluster;
  readonly #below: (limit: number) => number;
  readonly #slow: (delayMs: number) => void;

  /** @param slow makes the network between clients and front door slow */
  constructor(
    cluster: TestCluster,
    below: (limit: number) => number,
    slow: (delayMs: number) => void = () => {},
  ) {
    this.#slow = slow;
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

  /** Kills a replica in the midst of its calls. */
  async kill(): Promise<void> {
    const victim = this.#victim();
    process.kill(victim.pid, "SIGKILL");
    await this.#until(() => {
      const { replicas } = this.#cluster.status();
      return replicas.some(({ number, pid }) => number === victim.number && pid !== victim.pid);
    });
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

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) await delay(20);
  }
}
