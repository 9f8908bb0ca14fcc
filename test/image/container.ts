import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Image } from "./build.ts";

/** A file or folder of this machine that a container can read. */
export interface Mount {
  readonly from: string;
  /** Absolute path in the container. */
  readonly to: string;
}

/** How a container's root is mounted, and the privileges of its process. */
export interface Isolation {
  readonly isReadOnly: boolean;
  readonly mounts?: readonly Mount[];
}

/** Files that a container needs to reach the network, as Docker mounts them. */
const NETWORK: readonly Mount[] = ["/etc/resolv.conf", "/etc/hosts"].map((file) => ({
  from: file,
  to: file,
}));

/**
 * Builds the command that runs a program in an image: in its own mount namespace, below the image's root,
 * as the image's user, and without capabilities unless that user is root.
 */
export function containerCommand(
  image: Image,
  command: readonly string[],
  { isReadOnly, mounts = [] }: Isolation,
): string[] {
  const { root, user, workdir } = image;
  const all = [...NETWORK, ...mounts];
  for (const { from, to } of all) prepare(from, join(root, to));
  const [uid, gid] = user.split(":");
  const steps = [
    "set -e",
    'mount --bind "$ROOT" "$ROOT"',
    'mount -t proc proc "$ROOT/proc"',
    'mount --rbind /dev "$ROOT/dev"',
    ...all.map(({ from, to }) => {
      const place = quote(join(root, to));
      return `mount --bind ${quote(from)} ${place} && mount -o remount,bind,ro ${place}`;
    }),
    ...(isReadOnly ? ['mount -o remount,bind,ro "$ROOT"'] : []),
    'exec "$@"',
  ].map((step) => step.replaceAll('"$ROOT', `"${root}`));
  const privileges =
    user === "0:0"
      ? []
      : [
          "setpriv",
          `--reuid=${uid}`,
          `--regid=${gid}`,
          "--clear-groups",
          "--no-new-privs",
          "--inh-caps=-all",
          "--bounding-set=-all",
        ];
  const inside = ["chroot", root, ...privileges, "env", "-C", workdir, ...command];
  return ["unshare", "--mount", "/bin/sh", "-c", steps.join("\n"), "sh", ...inside];
}

export function runInImage(image: Image, command: readonly string[]): void {
  const [program, ...args] = containerCommand(image, command, { isReadOnly: false });
  const proxies = Object.entries(process.env).filter(([name]) => /^(https?|no)_proxy$/i.test(name));
  execFileSync(program!, args, {
    env: { ...Object.fromEntries(proxies), ...image.env },
    stdio: ["ignore", "ignore", "inherit"],
  });
}

/** Creates the mount point. */
function prepare(from: string, place: string): void {
  const isFolder = execFileSync("stat", ["-L", "-c", "%F", from], { encoding: "utf8" }).startsWith(
    "dir",
  );
  mkdirSync(isFolder ? place : dirname(place), { recursive: true });
  if (!isFolder) writeFileSync(place, "", { flag: "a" });
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
