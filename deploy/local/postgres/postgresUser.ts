import { execFileSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { dirname } from "node:path";
import { Failure } from "../../../services/replica/failure.ts";

/** The user that Postgres runs as: it refuses to run as root. */
export interface PostgresUser {
  readonly uid: number;
  readonly gid: number;
}

/** Finds or creates the user; undefined unless this process is root. */
export function postgresUser(): PostgresUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string) => Number(execFileSync("id", [flag, "postgres"], { stdio: "pipe" }));
  try {
    return { uid: id("-u"), gid: id("-g") };
  } catch {
    // The user does not exist yet.
  }
  try {
    execFileSync("groupadd", ["--force", "--system", "postgres"], { stdio: "pipe" });
    execFileSync("useradd", ["--system", "-g", "postgres", "postgres"], { stdio: "pipe" });
    return { uid: id("-u"), gid: id("-g") };
  } catch (cause) {
    throw new Failure(
      `Postgres does not run as root, and the user "postgres" cannot be created (${(cause as Error).message}): run as another user, or set DATABASE_URL`,
    );
  }
}

/**
 * Finds the first folder above `path` that the user may not enter; undefined: the user can reach `path`.
 * Folders that do not exist yet do not count: the user will own them.
 */
export function blockingFolder(path: string, user: PostgresUser | undefined): string | undefined {
  if (user === undefined) return undefined;
  const ancestors: string[] = [];
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    ancestors.unshift(folder);
    if (folder === dirname(folder)) break;
  }
  return ancestors.find((folder) => exists(folder) && !mayEnter(folder, user));
}

function mayEnter(folder: string, { uid, gid }: PostgresUser): boolean {
  const { mode, uid: owner, gid: group } = statSync(folder);
  if (owner === uid) return (mode & 0o100) !== 0;
  if (group === gid) return (mode & 0o010) !== 0;
  return (mode & 0o001) !== 0;
}

function exists(path: string): boolean {
  try {
    accessSync(path, constants.F_OK);
    return true;
  } catch {
    return false;
  }
}
