/** A change of a service, as its feed tells it. */
export interface Change {
  readonly number: bigint;
  /** The resources that it changed. */
  readonly resources: readonly string[];
}

/** Most resources whose newest change is remembered by name. */
const MOST_NAMES = 10_000;

/**
 * What is known of a service's changes. It remembers the number of each resource's newest change, and holds
 * answers against it when they are used: so it does not matter whether an answer was kept, or only on its
 * way, when the change was heard of.
 */
export class Changes {
  #position = 0n;
  #seen = 0n;
  #era = 0;
  /** By resource, the least recently changed first. */
  readonly #newest = new Map<string, bigint>();
  /** Of every other resource: it has not changed since. */
  #others = 0n;
  readonly #mostNames: number;

  constructor(mostNames: number = MOST_NAMES) {
    this.#mostNames = mostNames;
  }

  /** How often it began anew: of what was asked for before, nothing is good. */
  get era(): number {
    return this.#era;
  }

  /** Every change up to this one was heard of here. */
  get position(): bigint {
    return this.#position;
  }

  /** The newest change that the caller was told of, by the feed or by an answer. */
  get seen(): bigint {
    return this.#seen > this.#position ? this.#seen : this.#position;
  }

  /** Notes that an answer, such as that to a write, told of a change. */
  see(number: bigint): void {
    if (number > this.#seen) this.#seen = number;
  }

  /**
   * Takes over what comes after `position`.
   *
   * @param number the feed has been read up to here
   */
  hear(number: bigint, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.number <= this.#position) continue;
      for (const resource of change.resources) this.#note(resource, change.number);
    }
    if (number > this.#position) this.#position = number;
  }

  /** Begins anew at a number: what changed before it is not known. */
  reset(number: bigint): void {
    this.#era += 1;
    this.#newest.clear();
    this.#others = number;
    // Numbers that go back are those of a database that was set back.
    if (number < this.#position) this.#seen = number;
    this.#position = number;
  }

  /** Begins anew, at the number of a change that was made after those heard of: the numbers have gone back. */
  setBack(number: bigint): void {
    this.reset(number < this.#position ? number : this.#position);
    this.#others = number;
    this.#seen = number;
  }

  /**
   * Whether an answer is as new as a change, and nothing that it shows has changed since, as far as was
   * heard.
   *
   * @param answer every change up to `position` is in it; `era`: when it was asked for
   * @param resources what it shows; undefined: everything
   */
  allow(
    { position, era }: { readonly position: bigint; readonly era: number },
    resources: readonly string[] | undefined,
    needs: bigint,
  ): boolean {
    if (era !== this.#era || (position < needs && this.#position < needs)) return false;
    return this.#isCurrent(position, resources);
  }

  #isCurrent(position: bigint, resources: readonly string[] | undefined): boolean {
    // Most of the time nothing has changed.
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
