import { isUnavailable } from "./errors.ts";

/**
 * Does many callers' work in groups: what comes in while one group is under way makes up the next. So
 * the busier it is, the fewer statements and commits each of them costs; alone, nobody waits.
 */
export class GroupCommit<Item, Result> {
  readonly #run: (items: Item[]) => Promise<Result[]>;
  readonly #most: number;
  readonly #isForAll: (error: unknown) => boolean;
  #waiting: { item: Item; done: PromiseWithResolvers<Result> }[] = [];
  #isRunning = false;

  /**
   * @param run does the work of a group, and gives the results in the order of its items. When it
   *   fails for a group of several, each item is tried alone: one must not spoil the others'
   * @param most items of a group
   * @param isForAll whether an error says that nobody answers: then those that wait fail with it, too.
   *   Default: the database is away
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
    // Those that come in the same turn of the event loop go together.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0, this.#most);
      try {
        const results = await this.#run(group.map(({ item }) => item));
        for (const [index, { done }] of group.entries()) done.resolve(results[index]!);
      } catch (error) {
        if (this.#isForAll(error)) {
          // To ask for one group after another would have each wait for all before it.
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
