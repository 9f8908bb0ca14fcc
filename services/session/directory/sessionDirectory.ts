import type { Pool } from "waybill/postgres";
import type { Directory, Entry } from "#shared/anchors/sessionDirectory.ts";
import { GroupCommit } from "#shared/pg/groupCommit.ts";
import { insertEntries } from "../sql/insertEntries.ts";

/** The session directory in Postgres. A group commit writes the entries of concurrent calls together. */
export class SessionDirectory {
  readonly #groups: GroupCommit<Entry & { audience: string }, undefined>;

  constructor(db: Pool) {
    this.#groups = new GroupCommit(async (entries) => {
      await insertEntries(db, entries);
      return entries.map(() => undefined);
    });
  }

  /** Returns the directory for sessions of one audience. */
  of(audience: string): Directory {
    return {
      register: ({ id, subject, expiresAt }) =>
        this.#groups.add({ id, subject, expiresAt, audience }),
    };
  }
}
