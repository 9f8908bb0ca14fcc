import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect, test } from "vitest";
import { PROJECT } from "../../deploy/local/paths.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { startTestCluster } from "../support/cluster.ts";

const README = readFileSync(join(PROJECT, "README.md"), "utf8");
const BIN = join(PROJECT, "node_modules", ".bin");
const env = { ...process.env, PATH: `${BIN}${delimiter}${process.env["PATH"]}` };

/**
 * A service of someone else's, on the package alone: it tries keys that must be refused, then serves with a
 * Postgres that is away. Prints what becomes of it, as JSON.
 */
const STRANGER = `
import { randomBytes } from "node:crypto";
import { fixedRing, loadContract, readError, Server } from "waybill";
import { createClient } from "waybill/client";
import { createPool } from "waybill/postgres";
import { Counter, CounterServiceService } from "./gen/counter.ts";

const good = { id: "0123456789A", state: "active", key: randomBytes(32) } as const;
const messageOf = (key: Buffer | string) => {
  try {
    fixedRing({ audience: "counter", version: 1, keys: [{ ...good, key: key as Buffer }] });
    return "accepted";
  } catch (error) {
    return (error as Error).message;
  }
};
const keys = [Buffer.alloc(0), randomBytes(16), "k".repeat(32), randomBytes(32)].map(messageOf);

const pool = createPool(process.env["DATABASE_URL"]!, { max: 1, name: "counter" });
const contract = loadContract("image.binpb");
const server = new Server({ contract });
server.add(
  CounterServiceService,
  {
    start: async () => ({ value: (await pool.query("SELECT 1")).rows.length }),
    add: async ({ by }, { session }) => ({ value: (session.state.value += by) }),
  },
  { state: Counter, ring: fixedRing({ audience: "counter", version: 1, keys: [good] }) },
);
const port = await server.listen("127.0.0.1:0");
const client = createClient(CounterServiceService, "127.0.0.1:" + port);
const answer = await client.start({}).then(String, readError);
client.close();
await server.drain();
await pool.end();
console.log(JSON.stringify({ keys, answer }));
`;

/** The one code block of the README in this language. */
function block(language: string): string {
  const blocks = [...README.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "gms"))];
  expect(blocks).toHaveLength(1);
  return blocks[0]![1]!;
}

test.skipIf(toolPath("grpcurl") === undefined)(
  "the checkout by hand works as it is pasted (needs grpcurl)",
  async () => {
    const cluster = await startTestCluster();
    const script = block("bash")
      .replaceAll("127.0.0.1:8080", cluster.target)
      .replaceAll("/tmp/waybill-reply", join(cluster.dataDir, "reply"));
    const { stdout, stderr } = spawnSync("bash", ["-c", script], {
      cwd: PROJECT,
      encoding: "utf8",
    });
    await cluster.remove();
    expect(stderr).toBe("");
    expect(stdout).toContain("waybill.checkout.v1.CheckoutService\n");
    // The protos' comments are the reference, by reflection too.
    expect(stdout).toContain("// Takes a customer from an empty basket to an order.");
    expect(stdout).toContain("Astérix aux Jeux Olympiques");
    const orders = [...stdout.matchAll(/"name": "(orders\/.*)"/g)].map(([, name]) => name);
    // Placed twice and listed: the same one.
    expect(orders).toHaveLength(3);
    expect(new Set(orders).size).toBe(1);
  },
);

test.skipIf(toolPath("grpcurl") === undefined)(
  "signing in by hand works as it is pasted (needs grpcurl)",
  async () => {
    const cluster = await startTestCluster();
    const script = block("shell")
      .replaceAll("127.0.0.1:8080", cluster.target)
      .replaceAll("/tmp/waybill-tokens", join(cluster.dataDir, "tokens"));
    const { stdout, stderr } = spawnSync("bash", ["-c", script], {
      cwd: PROJECT,
      encoding: "utf8",
    });
    await cluster.remove();
    expect(stderr).toBe("");
    expect(stdout.match(/"displayName": "Ada"/g)).toHaveLength(2);
    expect(stdout).toContain('"device": "terminal"');
    expect(stdout).toContain('"current": true');
  },
);

test("the ten lines for a service work as they stand, on the package installed in an empty project", () => {
  const folder = mkdtempSync(join(tmpdir(), "waybill-readme-"));
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { cwd: folder, env, encoding: "utf8", stdio: "pipe" });
  try {
    const tarball = run(process.execPath, join(PROJECT, "shared", "pack.ts"), folder).trim();
    writeFileSync(join(folder, "package.json"), '{"type": "module"}');
    run("npm", "install", "--no-audit", "--no-fund", tarball);

    mkdirSync(join(folder, "proto"));
    writeFileSync(join(folder, "proto", "counter.proto"), block("proto"));
    const options = join("proto", "waybill", "options", "v1", "options.proto");
    cpSync(join(folder, "node_modules", "waybill", options), join(folder, options));
    const plugin = { local: join(BIN, "protoc-gen-ts_proto"), out: "gen", strategy: "all" };
    const opt = ["outputServices=grpc-js", "unknownFields=true"];
    opt.push("importSuffix=.ts", "enumsAsLiterals=true", "esModuleInterop=true", "env=node");
    const template = { version: "v2", plugins: [{ ...plugin, opt }] };
    run("buf", "generate", "proto", "--template", JSON.stringify(template));
    run("buf", "build", "proto", "--as-file-descriptor-set", "-o", "image.binpb");

    writeFileSync(join(folder, "main.ts"), block("ts"));
    expect(run(process.execPath, "main.ts")).toContain("value: 42");
    // The declarations hold what the docs say: this type-checks, and a wrong state would not.
    const types = join(PROJECT, "node_modules", "@types");
    const flags = ["--noEmit", "--strict", "--target", "es2024", "--module", "nodenext"];
    flags.push(
      "--allowImportingTsExtensions",
      "--skipLibCheck",
      "--typeRoots",
      types,
      "--types",
      "node",
    );
    run("tsc", ...flags, "main.ts");
    writeFileSync(
      join(folder, "main.ts"),
      block("ts").replace("state.value += by", "state.total += by"),
    );
    expect(spawnSync("tsc", [...flags, "main.ts"], { cwd: folder, env }).status).not.toBe(0);

    // No option is set: everyone who installs the package gets the same refusals.
    writeFileSync(join(folder, "stranger.ts"), STRANGER);
    run("tsc", ...flags, "stranger.ts");
    const away = { ...env, DATABASE_URL: "postgres://a@127.0.0.1:1/a" };
    const told = execFileSync(process.execPath, ["stranger.ts"], { cwd: folder, env: away });
    expect(JSON.parse(told.toString())).toMatchObject({
      keys: [
        "the ring key 0123456789A must be 32 bytes long, not 0",
        "the ring key 0123456789A must be 32 bytes long, not 16",
        "the ring key 0123456789A must be a Buffer or Uint8Array of 32 bytes",
        "accepted",
      ],
      answer: { reason: "DATABASE_UNAVAILABLE", retryAfterMs: 1000 },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("what the README makes anew is what the package exports", async () => {
  const made = [...README.matchAll(/\bnew ([A-Z]\w+)\(/g)].map(([, name]) => name!);
  expect(made.length).toBeGreaterThan(5);
  const doors = ["waybill", "waybill/client", "waybill/postgres", "waybill/auth"];
  const exported = (await Promise.all(doors.map((door) => import(door)))).flatMap(Object.keys);
  for (const name of new Set(made)) expect(exported).toContain(name);
});

test("the commands that show a promise or a figure name tests and suites that exist", () => {
  const files = globSync("{shared,services,deploy,test}/**/*.test.ts", { cwd: PROJECT });
  const commands = [...README.matchAll(/`npm test -- ([^`]+)`/g)].map(([, words]) => words!);
  expect(commands.length).toBeGreaterThan(10);
  for (const command of commands) {
    const [paths = "", name = ""] = command.split(" -t ");
    const texts = paths.split(" ").map((path) => {
      const named = files.filter((file) => file.includes(path));
      expect(named, command).not.toEqual([]);
      return named.map((file) => readFileSync(join(PROJECT, file), "utf8")).join();
    });
    expect(texts.join(), command).toMatch(new RegExp(`(test|describe)[^]{0,60}"[^"]*${name}`));
  }
  const suites = [...README.matchAll(/^\| .* \| .* \| `([a-z]+)` \|$/gm)].map(
    ([, suite]) => suite!,
  );
  expect(suites.length).toBeGreaterThan(4);
  for (const suite of suites) {
    expect(existsSync(join(PROJECT, "test", "lab", "bench", `${suite}.ts`)), suite).toBe(true);
  }
});
