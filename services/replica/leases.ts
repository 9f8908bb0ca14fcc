import { randomUUID } from "node:crypto";
import { hostname } from "node:os";

/**
 * Tracks the leases that a replica holds on key rings. The replica serves while it holds all of them: without
 * a lease it may not seal, so it could not advance a session.
 */
export class Leases {
  /** Name of this process, unique over time. */
  readonly holder = `${hostname()}/${process.pid}/${randomUUID()}`;
  readonly #serving: (areHeld: boolean) => void;
  readonly #lapsed = new Set<string>();
  #stage: "starting" | "ready" | "stopping" = "starting";

  /** @param serving called with whether the replica serves */
  constructor(serving: (areHeld: boolean) => void) {
    this.#serving = serving;
  }

  /** Returns the callback for changes of the lease on an audience's ring. */
  changedOf(audience: string): (isLeased: boolean) => void {
    return (isLeased) => {
      if (isLeased) this.#lapsed.delete(audience);
      else this.#lapsed.add(audience);
      if (this.#stage === "ready") this.#serving(this.#lapsed.size === 0);
    };
  }

  /** Starts serving, if every lease is held. */
  ready(): void {
    if (this.#stage !== "starting") return;
    this.#stage = "ready";
    this.#serving(this.#lapsed.size === 0);
  }

  /** Stops serving for good. */
  stop(): void {
    this.#stage = "stopping";
    this.#serving(false);
  }
}
