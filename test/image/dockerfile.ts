/** An instruction of a Dockerfile: its name in capitals, and its text. */
export interface Instruction {
  readonly name: string;
  readonly text: string;
}

/** A stage: its base image, its name if it has one, and its instructions in order. */
export interface Stage {
  readonly base: string;
  readonly name: string | undefined;
  readonly instructions: readonly Instruction[];
}

/** Parses a Dockerfile into its stages. */
export function parseDockerfile(text: string): Stage[] {
  const stages: { base: string; name: string | undefined; instructions: Instruction[] }[] = [];
  const lines = text.replace(/^\s*#.*\n/gm, "").replace(/\\\n/g, " ");
  for (const line of lines.split("\n").filter((each) => each.trim() !== "")) {
    const [, word, rest] = /^\s*(\S+)\s+(.*?)\s*$/.exec(line)!;
    const name = word!.toUpperCase();
    if (name === "FROM") {
      const [, base, as] = /^(\S+)(?:\s+AS\s+(\S+))?$/i.exec(rest!)!;
      stages.push({ base: base!, name: as, instructions: [] });
    } else {
      const stage = stages.at(-1);
      if (stage === undefined) throw new Error(`${line}: expected FROM first`);
      stage.instructions.push({ name, text: rest! });
    }
  }
  return stages;
}

/** Parses the exec form, `["program", "argument"]`. Undefined for the shell form. */
export function execForm(text: string): string[] | undefined {
  return text.startsWith("[") ? (JSON.parse(text) as string[]) : undefined;
}

/** Parses a .dockerignore. @returns whether Docker sends a file to the build */
export function readDockerignore(text: string): (file: string) => boolean {
  const rules = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => ({ keeps: line.startsWith("!"), pattern: globPattern(line.replace(/^!/, "")) }));
  return (file) => {
    const parts = file.split("/");
    const paths = parts.map((_part, index) => parts.slice(0, index + 1).join("/"));
    // A pattern that matches a folder matches its content. The last matching rule decides.
    const last = rules.findLast(({ pattern }) => paths.some((path) => pattern.test(path)));
    return last?.keeps ?? true;
  };
}

/** Compiles a Docker pattern: `**` matches any number of folders, `*` and `?` match within a name. */
function globPattern(glob: string): RegExp {
  const parts = glob.split(/(\*\*\/|\*\*|\*|\?)/).map((part) => {
    if (part === "**/") return "(?:.*/)?";
    if (part === "**") return ".*";
    if (part === "*") return "[^/]*";
    return part === "?" ? "[^/]" : part.replace(/[\\^$.|+()[\]{}]/g, "\\$&");
  });
  return new RegExp(`^${parts.join("")}$`, "s");
}
