/**
 * Checks imports:
 *
 * - programs that use the SDK as its users do import only the package's subpaths;
 * - the protocol's own services may also import the modules in SHARED_WITH_PROTOCOL;
 * - the session engine imports neither grpc-js nor the server;
 * - `waybill/client` loads neither Postgres nor a server.
 *
 * Usage: node test/imports.ts
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, normalize, relative } from "node:path";

const project = join(import.meta.dirname, "..");

/** Programs that use the package as its users do. */
const USERS = [
  "services/catalog/",
  "services/checkout/",
  "test/e2e/",
  "test/languages/",
  "test/lab/bench/",
];

/** The protocol's services, and the program that starts them. */
const PROTOCOL = ["keys", "token", "identity", "session", "auditLog", "replica"].map(
  (name) => `services/${name}/`,
);

/** Modules that the protocol's services import beside the subpaths, and why each is not public. */
const SHARED_WITH_PROTOCOL: Readonly<Record<string, string>> = {
  "anchors/inspect.ts": "compares waybills with chains for the inspect command",
  "anchors/sessionDirectory.ts": "the session service stores what services register",
  "auth/credentials/assertion.ts": "the rotate command signs its own assertion",
  "auth/credentials/wrapping.ts": "rings and signing keys are wrapped at rest",
  "auth/tokens/accessTokens.ts": "the token service and replicas allow the same clock skew",
  "auth/tokens/claims.ts": "the token service reads the same claims of foreign tokens",
  "auth/tokens/dpop.ts": "the token service remembers proofs for as long as replicas do",
  "auth/tokens/header.ts": "the token service reads the header of foreign tokens",
  "auth/tokens/verificationKeys.ts": "the token service allows the same algorithms",
  "pg/groupCommit.ts": "group commit of rows that many calls write",
  "pg/migrate.ts": "the migrate command",
  "pg/serviceRole.ts": "the migrate command",
  "pg/transaction.ts": "steps of several statements",
  "rings/sealedRing.ts": "the key service seals the rings that replicas open",
  "runtime/ids.ts": "ids of rows and tokens",
  "runtime/log.ts": "the program's log",
  "runtime/periodic.ts": "sweeps",
  "runtime/releasers.ts": "shutdown in reverse order of start",
  "runtime/uuid.ts": "ids between text and bytes",
  "waybill/metadata.ts": "the token service reads proofs from metadata",
};
const MAX_SHARED_WITH_PROTOCOL = 20;

/** Files of USERS that measure or test one layer, which no subpath exports. */
const ONE_LAYER: Readonly<Record<string, string>> = {
  "services/checkout/orders/newerFields.test.ts": "a state of a newer program, field by field",
  "test/e2e/badSessions.test.ts": "forges waybills byte by byte",
  "test/e2e/pgbouncer.test.ts": "anchors without a session, whose id tells its partition",
  "test/lab/bench/anchors.ts": "the statement of an advance, alone",
  "test/lab/bench/bench.ts": "shutdown in reverse order of start",
  "test/lab/bench/catalog/clients.ts": "what a cache holds",
  "test/lab/bench/catalog/startCatalog.ts": "change numbers in metadata",
  "test/lab/bench/catalog/underChange.ts": "change numbers in metadata",
  "test/lab/bench/memory.ts": "anchors without a session, whose id tells its partition",
  "test/lab/bench/stores.ts": "the lock of migrations",
  "test/lab/bench/tokens.ts": "keys of access tokens, without a token service",
  "test/lab/bench/transfer.ts": "the carrier field, alone",
  "test/lab/bench/validation.ts": "strict decoding and rules, alone",
};

interface Import {
  readonly specifier: string;
  readonly isType: boolean;
}

const files = execFileSync("git", ["ls-files", "services", "shared", "test"], {
  cwd: project,
  encoding: "utf8",
})
  .split("\n")
  .filter((file) => file.endsWith(".ts") && existsSync(join(project, file)));
const imports = new Map(files.map((file) => [file, importsOf(file)]));
const problems: string[] = [];

for (const [file, list] of imports) {
  for (const { specifier } of list) {
    const module = deepModule(file, specifier);
    if (USERS.some((folder) => file.startsWith(folder))) {
      if (module === undefined || ONE_LAYER[file] !== undefined) continue;
      problems.push(`${file}: imports shared/${module}: import one of the package's subpaths`);
    } else if (PROTOCOL.some((folder) => file.startsWith(folder)) && !file.endsWith(".test.ts")) {
      if (module === undefined || SHARED_WITH_PROTOCOL[module] !== undefined) continue;
      problems.push(`${file}: imports shared/${module}: export it, or list it with its reason`);
    } else if (file.startsWith("shared/session/") && !file.endsWith(".test.ts")) {
      const isServer = module?.startsWith("server/") === true;
      if (specifier !== "@grpc/grpc-js" && !isServer) continue;
      problems.push(`${file}: imports ${specifier}: the session engine runs on any server`);
    }
  }
}
if (Object.keys(SHARED_WITH_PROTOCOL).length > MAX_SHARED_WITH_PROTOCOL) {
  problems.push(`more than ${MAX_SHARED_WITH_PROTOCOL} modules are shared with the protocol`);
}
for (const module of Object.keys(SHARED_WITH_PROTOCOL)) {
  const isUsed = [...imports].some(
    ([file, list]) =>
      PROTOCOL.some((folder) => file.startsWith(folder)) &&
      list.some(({ specifier }) => deepModule(file, specifier) === module),
  );
  if (!isUsed) problems.push(`shared/${module}: no service of the protocol imports it: unlist it`);
}
for (const path of loadedBy("shared/client/index.ts", (file) =>
  ["pg", "shared/server/server.ts"].includes(file),
)) {
  problems.push(`waybill/client loads ${path.at(-1)}: ${path.join(" > ")}`);
}
console.error(problems.join("\n"));
process.exit(problems.length === 0 ? 0 : 1);

/** Returns a module of `shared` that is imported without a subpath; undefined for every other import. */
function deepModule(file: string, specifier: string): string | undefined {
  const path = resolved(file, specifier);
  return path.startsWith("shared/") ? path.slice("shared/".length) : undefined;
}

function resolved(file: string, specifier: string): string {
  if (specifier.startsWith("#shared/")) return `shared/${specifier.slice("#shared/".length)}`;
  if (specifier.startsWith(".")) {
    return relative(project, normalize(join(project, file, "..", specifier)));
  }
  return specifier;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(project, file), "utf8");
  const found: Import[] = [];
  for (const [, type, names, specifier] of text.matchAll(
    /(?:import|export) (type )?(?:(\{[^}]*\}|[\w*$, ]+) from )?"([^"]+)"/g,
  )) {
    const own = names?.replace(/[{}\s]/g, " ").split(",") ?? [];
    const named = own.map((name) => name.trim()).filter((name) => name !== "");
    const allTypes = named.length > 0 && named.every((name) => name.startsWith("type "));
    found.push({ specifier: specifier!, isType: type !== undefined || allTypes });
  }
  return found;
}

/** The chains of value imports from a file to a module that it must not load. */
function* loadedBy(start: string, isForbidden: (file: string) => boolean): Generator<string[]> {
  const seen = new Set([start]);
  const queue = [[start]];
  for (const path of queue) {
    const file = path.at(-1)!;
    for (const { specifier, isType } of imports.get(file) ?? []) {
      const next = resolved(file, specifier);
      if (isType || seen.has(next)) continue;
      seen.add(next);
      if (isForbidden(next)) yield [...path, next];
      else queue.push([...path, next]);
    }
  }
}
