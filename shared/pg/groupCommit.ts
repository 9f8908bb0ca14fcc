import { isUnavailable } from "./errors.ts";

/**
 * Group commit: runs the work of many callers in groups. Items that arrive while a group runs form the next one,
 * so under load each item costs fewer statements and commits. An item that arrives alone does not wait.
 */
export class GroupCommit<Item, Result> {
  readonly #run: (items: Item[]) => Promise<Result[]>;
  readonly #most: number;
  readonly #isForAll: (error: unknown) => boolean;
  #waiting: { item: Item; done: PromiseWithResolvers<Result> }[] = [];
  #isRunning = false;

  /**
   * @param run runs a group, and returns its results in the order of its items. When a group of several fails, each
   *   item is retried alone: one bad item must not fail the others
   * @param most items of a group
   * @param isForAll returns whether an error means that the dependency is unavailable: then waiting items fail with
   *   it, too. Default: the database is unavailable
   */
  constructor(
    run: (items: Item[]) => Promise<Result[]>,
    most = 200,
    isForAll: (error: unknown) => boolean = isUnavailable,
  ) {
    this.#run = run;
    this.#most = most;
    this.#isForAll = isForAll;
  }

  add(item: Item): Promise<Result> {
    const done = Promise.withResolvers<Result>();
    this.#waiting.push({ item, done });
    if (!this.#isRunning) void this.#work();
    return done.promise;
  }

  async #work(): Promise<void> {
    this.#isRunning = true;
    // Items of the same turn of the event loop form one group.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, this.#most);
      try {
        const results = await this.#run(group.map(({ item }) => item));
        for (const [index, { done }] of group.entries()) done.resolve(results[index]!);
      } catch (error) {
        if (this.#isForAll(error)) {
          // Trying one group after another would make each wait for the timeouts of all before it.
          for (const { done } of [...group, ...this.#waiting.splice(0)]) done.reject(error);
        } else if (group.length === 1) group[0]!.done.reject(error);
        else await this.#singly(group);
      }
    }
    this.#isRunning = false;
  }

  async #singly(group: { item: Item; done: PromiseWithResolvers<Result> }[]): Promise<void> {
    for (const { item, done } of group) {
      try {
        const [result] = await this.#run([item]);
        done.resolve(result!);
      } catch (error) {
        done.reject(error);
      }
    }
  }
}
