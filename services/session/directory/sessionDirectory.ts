import type { Pool } from "waybill/postgres";
import type { Directory, Entry } from "#shared/anchors/sessionDirectory.ts";
import { GroupCommit } from "#shared/pg/groupCommit.ts";
import { insertEntries } from "../sql/insertEntries.ts";

/** The directory, where it is kept. Entries are written in groups, each awaited by who needs it. */
export class SessionDirectory {
  readonly #groups: GroupCommit<Entry & { audience: string }, undefined>;

  constructor(db: Pool) {
    this.#groups = new GroupCommit(async (entries) => {
      await insertEntries(db, entries);
      return entries.map(() => undefined);
    });
  }

  /** The directory as the sessions of one audience see it. */
  of(audience: string): Directory {
    return {
      register: ({ id, subject, expiresAt }) =>
        this.#groups.add({ id, subject, expiresAt, audience }),
    };
  }
}
