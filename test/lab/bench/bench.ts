import { styleText } from "node:util";
import { Releasers } from "#shared/runtime/releasers.ts";
import { Results } from "./results/results.ts";

/** The amount of measuring. */
export interface Extent {
  readonly isQuick: boolean;
  /** Measurements of each contender. */
  readonly rounds: number;
  /** Most calls of one run. Undefined: the suite's own limit. */
  readonly mostCalls: number | undefined;
}

/** Divisor of amounts in a quick run. */
const QUICK_SHARE = 0.1;

/** A suite's context: amount of measuring, results, and releasers of its processes. */
export class Bench {
  readonly results = new Results();
  readonly rounds: number;
  readonly isQuick: boolean;
  readonly #suite: string;
  readonly #mostCalls: number;
  readonly #everything = new Releasers();
  readonly #starting = new Set<Promise<unknown>>();
  #releasers = this.#everything;
  #isOver = false;

  constructor(suite: string, extent: Extent) {
    this.#suite = suite;
    this.rounds = extent.rounds;
    this.isQuick = extent.isQuick;
    this.#mostCalls = extent.mostCalls ?? Number.POSITIVE_INFINITY;
  }

  /** Scales a number of calls for a shorter run. */
  calls(full: number): number {
    const wanted = this.isQuick ? Math.ceil(full * QUICK_SHARE) : full;
    return Math.min(wanted, this.#mostCalls);
  }

  /** Scales a number of seconds for a quick run. */
  seconds(full: number): number {
    return this.isQuick ? full * QUICK_SHARE : full;
  }

  /** Reports the current step. @param round counts from 1; default: none */
  step(what: string, round?: number): void {
    if (this.#isOver) throw new Error("interrupted");
    const where = round === undefined ? "" : `round ${round} of ${this.rounds}: `;
    const line = `${this.#suite}: ${where}${what}`;
    process.stderr.write(`${styleText("dim", line, { stream: process.stderr })}\n`);
  }

  /** Registers a releaser, which runs after the suite, even if it fails. */
  own<T>(what: string, starting: T | Promise<T>, release: (started: T) => unknown): Promise<T> {
    const owned = this.#own(what, starting, release);
    this.#starting.add(owned);
    const forget = () => this.#starting.delete(owned);
    owned.then(forget, forget);
    return owned;
  }

  async #own<T>(
    what: string,
    starting: T | Promise<T>,
    release: (started: T) => unknown,
  ): Promise<T> {
    const started = await starting;
    if (this.#isOver) {
      // Finished starting after the interruption.
      await release(started);
      throw new Error("interrupted");
    }
    this.#releasers.push(what, () => release(started));
    return started;
  }

  /** Releases everything started during `work` after it. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    const outer = this.#releasers;
    const inner = new Releasers();
    outer.push("what a step has started", () => inner.release());
    this.#releasers = inner;
    try {
      return await work();
    } finally {
      this.#releasers = outer;
      await inner.release();
    }
  }

  /** Runs the releasers. @returns the failures */
  async end(): Promise<Error[]> {
    this.#isOver = true;
    const failures = await this.#everything.release();
    await Promise.allSettled(this.#starting);
    return failures;
  }
}

/** A section of the report. */
export interface Suite {
  /** One sentence for the report. */
  readonly about: string;
  run(bench: Bench): Promise<void>;
}
