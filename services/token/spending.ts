import { createHash } from "node:crypto";
import type { Db } from "waybill/postgres";
import { GroupCommit } from "#shared/pg/groupCommit.ts";
import { type Spend, spend } from "./sql/spend.ts";

/** Accepts each id once, over all replicas: of concurrent uses, exactly one is the first. */
export class Spending {
  readonly #groups: GroupCommit<Spend, boolean>;

  constructor(db: Db) {
    this.#groups = new GroupCommit(async (items) => {
      const first = new Set((await spend(db, unique(items))).map((each) => each.toString("hex")));
      // An id may be twice in one group: only its first use counts.
      return items.map(({ digest }) => first.delete(digest.toString("hex")));
    });
  }

  /**
   * Records a use of an id. @returns true for the first use
   *
   * @param lifeS seconds to remember the id: at least as long as it would be accepted
   */
  once(id: string, lifeS: number): Promise<boolean> {
    return this.#groups.add({ digest: createHash("sha256").update(id).digest(), lifeS });
  }
}

function unique(items: Spend[]): Spend[] {
  return [...new Map(items.map((item) => [item.digest.toString("hex"), item])).values()];
}
