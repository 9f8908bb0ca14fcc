/**
 * What a program has acquired, let go in reverse order. A release that fails does not keep the
 * others from being done.
 */
export class Releasers {
  readonly #releases: [what: string, release: () => unknown][] = [];

  /** Notes how to let go of something just acquired. */
  push(what: string, release: () => unknown): void {
    this.#releases.push([what, release]);
  }

  /** Lets everything go. @returns the failures, each naming what could not be let go */
  async release(): Promise<Error[]> {
    const failures: Error[] = [];
    for (;;) {
      const next = this.#releases.pop();
      if (next === undefined) return failures;
      const [what, release] = next;
      try {
        await release();
      } catch (cause) {
        failures.push(new Error(`cannot release ${what}`, { cause }));
      }
    }
  }
}
