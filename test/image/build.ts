import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { execForm, type Instruction, type Stage } from "./dockerfile.ts";

/** Docker's default environment of a container. */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** A stage during its build, or the finished image. */
export interface Image {
  readonly root: string;
  workdir: string;
  /** `UID:GID`. */
  user: string;
  env: Record<string, string>;
  entrypoint: string[];
  cmd: string[];
}

export interface BuildContext {
  readonly folder: string;
  /** Returns whether Docker sends a file, by its path in the folder, to the build. */
  isSent(file: string): boolean;
  /** Finished stages by name. */
  readonly stages: Map<string, Image>;
  /** Runs a command of a RUN instruction. */
  run(image: Image, command: readonly string[]): void;
}

/** Runs the instructions of a stage on a root that holds its base image. */
export function buildStage(stage: Stage, root: string, context: BuildContext): Image {
  const image: Image = {
    root,
    workdir: "/",
    user: "0:0",
    env: { PATH: DEFAULT_PATH },
    entrypoint: [],
    cmd: [],
  };
  for (const instruction of stage.instructions) carryOut(instruction, image, context);
  if (stage.name !== undefined) context.stages.set(stage.name, image);
  return image;
}

function carryOut({ name, text }: Instruction, image: Image, context: BuildContext): void {
  switch (name) {
    case "WORKDIR":
      image.workdir = resolve(image.workdir, text);
      mkdirSync(join(image.root, image.workdir), { recursive: true });
      return;
    case "ENV": {
      const [, key, value] = /^([A-Za-z_]\w*)=(\S+)$/.exec(text) ?? [];
      if (key === undefined) throw new Error(`ENV ${text}: expected one NAME=VALUE`);
      image.env[key] = value!;
      return;
    }
    case "USER":
      if (!/^\d+:\d+$/.test(text)) throw new Error(`USER ${text}: expected numbers, UID:GID`);
      image.user = text;
      return;
    case "COPY":
      copy(text, image, context);
      return;
    case "RUN":
      context.run(image, execForm(text) ?? ["/bin/sh", "-c", text]);
      return;
    case "ENTRYPOINT":
    case "CMD": {
      const words = execForm(text);
      if (words === undefined) throw new Error(`${name} ${text}: expected the exec form`);
      image[name === "CMD" ? "cmd" : "entrypoint"] = words;
      return;
    }
    default:
      throw new Error(`${name}: this build does not know the instruction`);
  }
}

/** Copies as Docker does: a folder's content goes into the destination, and root owns every file. */
function copy(text: string, image: Image, context: BuildContext): void {
  const words = text.split(/\s+/);
  const flags = words.filter((word) => word.startsWith("--"));
  const paths = words.filter((word) => !word.startsWith("--"));
  const target = paths.pop()!;
  const to = join(image.root, resolve(image.workdir, target));
  const from = flags.map((flag) => /^--from=(.+)$/.exec(flag)?.[1]);
  if (from.length > 1 || from.includes(undefined)) throw new Error(`COPY ${text}: unknown flag`);
  const stage = from[0] === undefined ? undefined : context.stages.get(from[0]);
  if (from[0] !== undefined && stage === undefined) throw new Error(`COPY ${text}: no such stage`);
  if (paths.length > 1 && !target.endsWith("/")) {
    throw new Error(`COPY ${text}: expected a destination that ends with /`);
  }
  for (const path of paths) {
    const source = join(stage?.root ?? context.folder, path);
    if (!existsSync(source)) throw new Error(`COPY ${text}: there is no ${path}`);
    const isFolder = statSync(source).isDirectory();
    const place = isFolder || !target.endsWith("/") ? to : join(to, path);
    mkdirSync(isFolder ? place : dirname(place), { recursive: true });
    if (stage !== undefined) {
      execFileSync("cp", ["-a", "--reflink=auto", isFolder ? `${source}/.` : source, place]);
    } else {
      copySent(source, place, text, context);
    }
    execFileSync("chown", ["-R", "-h", "0:0", place]);
  }
}

function copySent(source: string, place: string, text: string, context: BuildContext): void {
  const files = statSync(source).isDirectory()
    ? readdirSync(source, { recursive: true, withFileTypes: true })
        .filter((entry) => !entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name))
    : [source];
  const sent = files.filter((file) => context.isSent(relative(context.folder, file)));
  if (sent.length === 0) throw new Error(`COPY ${text}: .dockerignore keeps all of it out`);
  for (const file of sent) cpSync(file, join(place, relative(source, file)));
}
