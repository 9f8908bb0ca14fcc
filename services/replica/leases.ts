import { randomUUID } from "node:crypto";
import { hostname } from "node:os";

/**
 * The leases that a replica holds on rings. It serves while it holds all of them: without one it could
 * answer nothing that advances a session.
 */
export class Leases {
  /** This process: no other ever has this name. */
  readonly holder = `${hostname()}/${process.pid}/${randomUUID()}`;
  readonly #serving: (areHeld: boolean) => void;
  readonly #lapsed = new Set<string>();
  #stage: "starting" | "ready" | "stopping" = "starting";

  /** @param serving hears whether the replica should be called */
  constructor(serving: (areHeld: boolean) => void) {
    this.#serving = serving;
  }

  /** Tells of the lease on one audience's ring. */
  changedOf(audience: string): (isLeased: boolean) => void {
    return (isLeased) => {
      if (isLeased) this.#lapsed.delete(audience);
      else this.#lapsed.add(audience);
      if (this.#stage === "ready") this.#serving(this.#lapsed.size === 0);
    };
  }

  /** Everything is there that the replica waited for. */
  ready(): void {
    if (this.#stage !== "starting") return;
    this.#stage = "ready";
    this.#serving(this.#lapsed.size === 0);
  }

  /** It serves no more, whatever becomes of the leases. */
  stop(): void {
    this.#stage = "stopping";
    this.#serving(false);
  }
}
