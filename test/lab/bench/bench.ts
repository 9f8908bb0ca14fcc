import { styleText } from "node:util";
import { Releasers } from "#shared/runtime/releasers.ts";
import { Results } from "./results/results.ts";

/** How much is measured. */
export interface Extent {
  readonly isQuick: boolean;
  /** How often each contender is measured. */
  readonly rounds: number;
  /** No run has more calls than that. Undefined: no bound but the suite's own. */
  readonly mostCalls: number | undefined;
}

/** A quick run has so much less of what is many. */
const QUICK_SHARE = 0.1;

/** What a suite is given: how much it is to measure, where it reports to, and who ends what it starts. */
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

  /** So many calls, or what a shorter run makes of them. */
  calls(full: number): number {
    const wanted = this.isQuick ? Math.ceil(full * QUICK_SHARE) : full;
    return Math.min(wanted, this.#mostCalls);
  }

  /** So many seconds, or what a quick run makes of them. */
  seconds(full: number): number {
    return this.isQuick ? full * QUICK_SHARE : full;
  }

  /** Says what is done now. @param round counts from 1; default: none is under way */
  step(what: string, round?: number): void {
    if (this.#isOver) throw new Error("interrupted");
    const where = round === undefined ? "" : `round ${round} of ${this.rounds}: `;
    const line = `${this.#suite}: ${where}${what}`;
    process.stderr.write(`${styleText("dim", line, { stream: process.stderr })}\n`);
  }

  /** Notes how to end something that is started: done after the suite, also when it fails. */
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
      // What was under way when all else was ended.
      await release(started);
      throw new Error("interrupted");
    }
    this.#releasers.push(what, () => release(started));
    return started;
  }

  /** What is started in the course of this work is ended after it. */
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

  /** Ends what was started. @returns what could not be ended */
  async end(): Promise<Error[]> {
    this.#isOver = true;
    const failures = await this.#everything.release();
    await Promise.allSettled(this.#starting);
    return failures;
  }
}

/** A part of the bench. */
export interface Suite {
  /** What it shows, in a sentence. */
  readonly about: string;
  run(bench: Bench): Promise<void>;
}
