import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CACHE } from "../../deploy/local/paths.ts";
import { debianProgram } from "../support/servers/debian.ts";

const SUITE = "bookworm";

/** Returns the archive from which this machine's apt installs the suite; undefined if there is none. */
export function debianArchive(): string | undefined {
  const format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
  const args = ["indextargets", "--format", format, "Created-By: Packages"];
  const { status, stdout } = spawnSync("apt-get", args, { encoding: "utf8" });
  if (status !== 0) return undefined;
  const targets = stdout.split("\n").map((line) => line.split(" "));
  return targets.find(([, release, component]) => release === SUITE && component === "main")?.[0];
}

/**
 * Returns a root with Debian's minimal base: the content of the image `debian:bookworm-slim`, with
 * documentation. Made once, then cached. Undefined without debootstrap.
 */
export function debianRoot(archive: string): string | undefined {
  const root = join(CACHE, "debian", `${SUITE}-minbase`);
  if (existsSync(root)) return root;
  const debootstrap = debianProgram("debootstrap");
  if (debootstrap === undefined) return undefined;
  const half = `${root}.half`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half, { recursive: true });
  execFileSync(debootstrap.path, ["--variant=minbase", SUITE, half, archive], {
    env: { ...process.env, ...debootstrap.env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  // As in the image, a package can be installed only after `apt-get update`.
  for (const folder of ["var/lib/apt/lists", "var/cache/apt"]) {
    for (const name of readdirSync(join(half, folder))) {
      rmSync(join(half, folder, name), { recursive: true });
    }
  }
  renameSync(half, root);
  return root;
}
