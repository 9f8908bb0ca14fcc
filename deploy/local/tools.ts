import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { CACHE, PROJECT } from "./paths.ts";

/** Tools for people and tests, built from source at these versions where the machine has Go. */
const TOOLS = {
  grpcurl: "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3",
  ghz: "github.com/bojand/ghz/cmd/ghz@v0.93.0",
  kubeconform: "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
  helm: "helm.sh/helm/v3/cmd/helm@v3.21.4",
  "waybill-load": "./test/lab/bench/load",
  "waybill-relay": "./test/lab/bench/relay",
} as const;

export type Tool = keyof typeof TOOLS;

export const TOOL_NAMES = Object.keys(TOOLS) as Tool[];

const BIN = join(CACHE, "bin");

/** The path of a tool: from the cache or the PATH. Undefined where there is none. */
export function toolPath(tool: Tool): string | undefined {
  const folders = [BIN, ...(process.env["PATH"] ?? "").split(delimiter)];
  return folders.map((folder) => join(folder, tool)).find((path) => existsSync(path));
}

/**
 * Builds those of the tools that are not there yet. Without Go, or when a build fails, they are left out.
 *
 * @returns those that are still missing
 */
export function installTools(tools: readonly Tool[], tell: (line: string) => void): Tool[] {
  mkdirSync(BIN, { recursive: true });
  const hasGo = spawnSync("go", ["version"], { stdio: "ignore" }).status === 0;
  return tools.filter((tool) => {
    const source = TOOLS[tool];
    const isOwn = source.startsWith("./");
    const path = toolPath(tool);
    if (path !== undefined && !(isOwn && isOlder(path, join(PROJECT, source)))) return false;
    if (!hasGo) {
      tell(
        `${tool} is missing, and there is no Go to build it with: tests that need it are skipped`,
      );
      return true;
    }
    tell(`building ${tool} (once)`);
    const env = { ...process.env, GOBIN: BIN, GOFLAGS: "-buildvcs=false" };
    const [cwd, args] = isOwn
      ? [join(PROJECT, source), ["build", "-o", join(BIN, tool), "."]]
      : [BIN, ["install", source]];
    const built = spawnSync("go", args, { cwd, env, encoding: "utf8" });
    if (built.status === 0) return false;
    tell(`${tool} could not be built: ${built.stderr.trim().split("\n").at(-1)}`);
    return true;
  });
}

/** Reports whether a program is older than its source. */
function isOlder(path: string, folder: string): boolean {
  const built = statSync(path).mtimeMs;
  return readdirSync(folder).some((file) => statSync(join(folder, file)).mtimeMs > built);
}
