import { createHash } from "node:crypto";
import { Groups } from "#shared/pg/groups.ts";
import type { Db } from "#shared/pg/pool.ts";
import { type Spend, spend } from "./sql/spend.ts";

/** Lets things be used once: on whatever replica, of any number of uses at once one is the first. */
export class Spending {
  readonly #groups: Groups<Spend, boolean>;

  constructor(db: Db) {
    this.#groups = new Groups(async (items) => {
      const first = new Set((await spend(db, unique(items))).map((each) => each.toString("hex")));
      // Of the same one twice in a group, the first is the one that was noted.
      return items.map(({ digest }) => first.delete(digest.toString("hex")));
    });
  }

  /** @param lifeS for how long to remember it: as long as it would be taken for good, in seconds */
  once(id: string, lifeS: number): Promise<boolean> {
    return this.#groups.add({ digest: createHash("sha256").update(id).digest(), lifeS });
  }
}

function unique(items: Spend[]): Spend[] {
  return [...new Map(items.map((item) => [item.digest.toString("hex"), item])).values()];
}
