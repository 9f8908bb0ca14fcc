/** A change of a service, from its feed. */
export interface Change {
  readonly number: bigint;
  /** The resources that it changed. */
  readonly resources: readonly string[];
}

/** Most resources whose newest change is stored by name. */
const MOST_NAMES = 10_000;

/**
 * Invalidates cached responses by a service's changes. It stores the number of each resource's newest change
 * and compares responses with it when they are used, so a response that was still in flight when the change
 * arrived is invalidated too.
 */
export class Changes {
  #position = 0n;
  #seen = 0n;
  #era = 0;
  /** By resource, the least recently changed first. */
  readonly #newest = new Map<string, bigint>();
  /** The newest change of any resource that is not in `#newest`. */
  #others = 0n;
  readonly #mostNames: number;

  constructor(mostNames: number = MOST_NAMES) {
    this.#mostNames = mostNames;
  }

  /** Grows by one at each reset. Responses that were requested in an earlier era are stale. */
  get era(): number {
    return this.#era;
  }

  /** Every change up to this one was applied. */
  get position(): bigint {
    return this.#position;
  }

  /** The newest change that the feed or a response has named. */
  get seen(): bigint {
    return this.#seen > this.#position ? this.#seen : this.#position;
  }

  /** Records a change that a response, such as that of a write, has named. */
  see(number: bigint): void {
    if (number > this.#seen) this.#seen = number;
  }

  /**
   * Applies the changes after `position`.
   *
   * @param number the feed was read up to this change
   */
  apply(number: bigint, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.number <= this.#position) continue;
      for (const resource of change.resources) this.#note(resource, change.number);
    }
    if (number > this.#position) this.#position = number;
  }

  /** Starts a new era at a number: earlier changes are unknown. */
  reset(number: bigint): void {
    this.#era += 1;
    this.#newest.clear();
    this.#others = number;
    // Numbers go back when the service's database was restored to an earlier state.
    if (number < this.#position) this.#seen = number;
    this.#position = number;
  }

  /** Starts a new era, because the newest change has a number that is not above the known ones. */
  setBack(number: bigint): void {
    this.reset(number < this.#position ? number : this.#position);
    this.#others = number;
    this.#seen = number;
  }

  /**
   * Returns whether a response is as new as the change `needs`, and no resource that it shows has changed
   * since, as far as changes were received.
   *
   * @param response contains every change up to `position`; was requested in `era`
   * @param resources the resources that it shows; undefined: all
   */
  allow(
    { position, era }: { readonly position: bigint; readonly era: number },
    resources: readonly string[] | undefined,
    needs: bigint,
  ): boolean {
    if (era !== this.#era || (position < needs && this.#position < needs)) return false;
    if (position >= this.#position) return true;
    if (resources === undefined) return false;
    return resources.every((name) => (this.#newest.get(name) ?? this.#others) <= position);
  }

  #note(resource: string, number: bigint): void {
    this.#newest.delete(resource);
    this.#newest.set(resource, number);
    if (this.#newest.size <= this.#mostNames) return;
    const [oldest] = this.#newest;
    const [name, since] = oldest!;
    this.#newest.delete(name);
    if (since > this.#others) this.#others = since;
  }
}
