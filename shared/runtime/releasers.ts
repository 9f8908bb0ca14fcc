/**
 * Releases a program's resources, in the reverse order of their acquisition. A release that fails does not stop the
 * others.
 */
export class Releasers {
  readonly #releases: [what: string, release: () => unknown][] = [];

  /** Adds the release of a resource that was just acquired. */
  push(what: string, release: () => unknown): void {
    this.#releases.push([what, release]);
  }

  /** Releases everything. @returns the failures, each naming its resource */
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
