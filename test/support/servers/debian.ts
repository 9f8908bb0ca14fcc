import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CACHE } from "../../../deploy/local/paths.ts";

/** Debian programs that tests and benchmarks run: packages needed, and path of the program. */
const PROGRAMS = {
  pgbouncer: {
    packages: ["pgbouncer", "libc-ares2", "libevent-2.1-7"],
    path: "usr/sbin/pgbouncer",
  },
  pgbench: {
    packages: ["postgresql-15", "libpq5"],
    path: "usr/lib/postgresql/15/bin/pgbench",
  },
  redis: {
    packages: ["redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1"],
    path: "usr/bin/redis-server",
  },
  debootstrap: {
    packages: ["debootstrap"],
    path: "usr/sbin/debootstrap",
  },
} as const;

/** A program and the environment with its library path. */
export interface Program {
  readonly path: string;
  readonly env: Record<string, string>;
}

/**
 * Downloads a program from Debian's archive into the cache, once, without installing it. Returns undefined
 * if apt or the archive is unavailable.
 */
export function debianProgram(name: keyof typeof PROGRAMS): Program | undefined {
  const { packages, path } = PROGRAMS[name];
  const folder = join(CACHE, "debian", name);
  const program = {
    path: join(folder, path),
    env: {
      LD_LIBRARY_PATH: join(folder, "usr", "lib", "x86_64-linux-gnu"),
      DEBOOTSTRAP_DIR: join(folder, "usr", "share", "debootstrap"),
    },
  };
  if (existsSync(program.path)) return program;
  const downloads = join(CACHE, "debian", `${name}.packages`);
  mkdirSync(downloads, { recursive: true });
  const run = (command: string, ...args: string[]) =>
    spawnSync(command, args, { cwd: downloads, stdio: "ignore" }).status === 0;
  // A fresh machine has no package lists.
  const fetched =
    run("apt-get", "download", ...packages) ||
    (run("apt-get", "update") && run("apt-get", "download", ...packages));
  if (!fetched) return undefined;
  for (const file of readdirSync(downloads)) run("dpkg", "-x", file, folder);
  rmSync(downloads, { recursive: true });
  return existsSync(program.path) ? program : undefined;
}
