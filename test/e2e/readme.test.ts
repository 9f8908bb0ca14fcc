import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { PROJECT } from "../../deploy/local/paths.ts";
import { freePort } from "../../deploy/local/processes/ports.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { blocksIn } from "../documents.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { startTestPostgres } from "../support/postgres.ts";

const BIN = join(PROJECT, "node_modules", ".bin");
const env = { ...process.env, PATH: `${BIN}${delimiter}${process.env["PATH"]}` };
const TYPES = join(PROJECT, "node_modules", "@types");
const STRICT = ["--noEmit", "--strict", "--target", "es2024", "--module", "nodenext"].concat([
  "--allowImportingTsExtensions",
  "--skipLibCheck",
  "--typeRoots",
  TYPES,
  "--types",
  "node",
]);

/** Names that the guide's fragments use without declaring them. */
const AMBIENT = `
import type { Handlers, SessionOptions } from "waybill";
import type { Counter, CounterServiceService } from "./gen/counter.ts";
import type { Notes, NotesServiceService } from "./gen/notes.ts";
declare global {
  const handlers: Handlers<typeof CounterServiceService, Counter>;
  const notesHandlers: Handlers<typeof NotesServiceService, Notes>;
  const notesOptions: SessionOptions<Notes>;
}
`;

/** Tries invalid keys, then serves while Postgres is unavailable. Prints the errors as JSON. */
const MISUSE = `
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
    add: async ({ value }, { session }) => ({ value: (session.state.value += value) }),
  },
  { state: Counter, ring: fixedRing({ audience: "counter", version: 1, keys: [good] }) },
);
const port = await server.listen("127.0.0.1:0");
const client = createClient(CounterServiceService, "127.0.0.1:" + port);
const answer = await client.start({ value: 0 }).then(String, readError);
client.close();
await server.drain();
await pool.end();
console.log(JSON.stringify({ keys, answer }));
`;

/** Serves the guide's counter from Postgres, advances a session, and advances it again from its first waybill. */
const ANCHORED = `
import { randomBytes } from "node:crypto";
import pg from "pg";
import { fixedRing, loadContract, readError, Server } from "waybill";
import { createClient, Jar } from "waybill/client";
import { migrateAnchors, savedAudience } from "waybill/postgres";
import { add } from "./add.ts";
import { CounterServiceService } from "./gen/counter.ts";

const url = process.env["DATABASE_URL"];
const owner = new pg.Client(url);
await owner.connect();
await owner.query("CREATE SCHEMA counter CREATE TABLE entry (session uuid, amount int)");
await migrateAnchors(owner, "counter");

const unused = () => { throw new Error("not called"); };
const start = async () => ({ value: 0 });
Object.assign(globalThis, { handlers: { start, add, get: unused, count: unused } });
const { addCounter } = await import("./anchors.ts");
const ringOf = (audience) =>
  fixedRing({ audience, version: 1, keys: [{ id: "0123456789A", state: "active", key: randomBytes(32) }] });
const contract = loadContract("anchored.binpb");
const server = new Server({ contract });
await addCounter(server, url, ringOf("counter"), ringOf(savedAudience("counter")));
const target = "127.0.0.1:" + (await server.listen("127.0.0.1:0"));

const jar = new Jar({ contract });
const interceptors = [jar.interceptor()];
const client = createClient(CounterServiceService, target, { contract, interceptors });
await client.start({});
const first = jar.peek("counter");
const values = [await client.add({ by: 2 }), await client.add({ by: 40 })].map(({ value }) => value);
jar.put("counter", first);
const { reason, metadata } = await client.add({ by: 1 }).then(String, readError);
const { rows } = await owner.query("SELECT amount::text FROM counter.entry ORDER BY amount");
const entries = rows.map(({ amount }) => amount);
console.log(JSON.stringify({ values, entries, stale: { reason, served: metadata.served } }));
process.exit();
`;

describe.skipIf(toolPath("grpcurl") === undefined)("grpcurl commands (needs grpcurl)", () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startTestCluster();
  });
  afterAll(() => cluster?.remove());

  /** Runs the page's block in this language against the test's cluster. */
  const paste = (page: string, language: string): string => {
    const [block = "", ...others] = blocksIn(page, language);
    expect(others).toEqual([]);
    const script = block
      .replaceAll("127.0.0.1:8080", cluster.target)
      .replaceAll("/tmp/", `${cluster.dataDir}/`);
    const { stdout, stderr } = spawnSync("bash", ["-c", script], {
      cwd: PROJECT,
      encoding: "utf8",
    });
    expect(stderr).toBe("");
    return stdout;
  };
  const orders = (stdout: string) =>
    [...stdout.matchAll(/"name": "(orders\/.*)"/g)].map(([, name]) => name);

  test("of the README place one order", () => {
    expect(orders(paste("README.md", "bash"))).toHaveLength(1);
  });

  test("of deploy/README.md place one order twice", () => {
    const stdout = paste("deploy/README.md", "bash");
    expect(stdout).toContain("waybill.checkout.v1.CheckoutService\n");
    // Reflection brings the protos' comments.
    const proto = readFileSync(join(PROJECT, "proto/waybill/checkout/v1/checkout.proto"), "utf8");
    const [, comment] = /^(\/\/ .*)\nservice CheckoutService/m.exec(proto)!;
    expect(stdout).toContain(comment);
    expect(stdout).toContain("Astérix aux Jeux Olympiques");
    // Placed, retried and listed.
    expect(orders(stdout)).toHaveLength(3);
    expect(new Set(orders(stdout)).size).toBe(1);
  });

  test("of services/token/README.md sign a user in and out", () => {
    const stdout = paste("services/token/README.md", "shell");
    expect(stdout.match(/"displayName": "Ada"/g)).toHaveLength(2);
    expect(stdout).toContain('"device": "terminal"');
    expect(stdout).toContain('"current": true');
  });
});

describe("the package, installed in an empty project,", () => {
  const folder = mkdtempSync(join(tmpdir(), "waybill-readme-"));
  const guide = join(folder, "guide");
  const readme = join(folder, "readme");
  const run = (cwd: string, command: string, ...args: string[]) =>
    execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: "pipe" });
  const tsc = (cwd: string, ...files: string[]) =>
    spawnSync("tsc", [...STRICT, ...files], { cwd, env, encoding: "utf8" });

  /** Makes a project of a page's protos, by the commands of the guide. */
  function generate(project: string, page: string): void {
    const packaged = join(folder, "node_modules", "waybill", "proto", "waybill");
    cpSync(packaged, join(project, "proto", "waybill"), { recursive: true });
    for (const proto of blocksIn(page, "proto")) {
      const [, name] = /^package (\w+)\.v1;$/m.exec(proto)!;
      writeFileSync(join(project, "proto", `${name}.proto`), proto);
    }
    const [template = ""] = blocksIn("shared/README.md", "yaml");
    const buf = template.replace("node_modules/.bin", BIN);
    writeFileSync(join(project, "buf.gen.yaml"), buf);
    const commands = blocksIn("shared/README.md", "sh").find((text) => text.startsWith("buf "));
    run(project, "bash", "-euc", commands!);
  }

  beforeAll(() => {
    for (const project of [guide, readme]) mkdirSync(project);
    const tarball = run(folder, process.execPath, join(PROJECT, "shared", "pack.ts"), folder);
    writeFileSync(join(folder, "package.json"), '{"type": "module"}');
    run(folder, "npm", "install", "--no-audit", "--no-fund", tarball.trim());
    generate(guide, "shared/README.md");
    generate(readme, "README.md");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test("runs the service and the client of the README", () => {
    const [program = "", ...others] = blocksIn("README.md", "ts");
    expect(others).toEqual([]);
    writeFileSync(join(readme, "main.ts"), program);
    expect(tsc(readme, "main.ts").stdout).toBe("");
    expect(run(readme, process.execPath, "main.ts")).toContain("value: 42");
  });

  test("runs the quick start of the guide", async () => {
    const [server = "", client = ""] = blocksIn("shared/README.md", "ts");
    const port = await freePort();
    const address = (text: string) => text.replace("127.0.0.1:50051", `127.0.0.1:${port}`);
    writeFileSync(join(guide, "server.ts"), address(server));
    writeFileSync(join(guide, "client.ts"), address(client));
    const program = ["server", "client"].map((name) => `await import("./${name}.ts");\n`).join("");
    writeFileSync(join(guide, "both.ts"), `${program}process.kill(process.pid, "SIGTERM");\n`);
    expect(run(guide, process.execPath, "both.ts")).toMatch(/^count 41\ncount 42\n\{ value: 42\b/);
  });

  test("runs the anchored service of the guide on Postgres", async () => {
    const postgres = await startTestPostgres();
    onTestFinished(() => postgres.remove());
    const contract = join(guide, "proto", "counter.proto");
    const carried = readFileSync(contract, "utf8");
    writeFileSync(contract, carried.replace("revision: 1", "revision: 1, mode: MODE_ANCHORED"));
    run(guide, "buf", "build", "proto", "--as-file-descriptor-set", "-o", "anchored.binpb");
    writeFileSync(contract, carried);
    const fragments = blocksIn("shared/README.md", "ts");
    const fragment = (text: string) => fragments.find((each) => each.includes(text))!;
    writeFileSync(join(guide, "anchors.ts"), fragment("export function addCounter"));
    writeFileSync(join(guide, "add.ts"), fragment("context.transaction()"));
    writeFileSync(join(guide, "anchored.ts"), ANCHORED);
    const options = { cwd: guide, env: { ...env, DATABASE_URL: postgres.url } };
    const printed = execFileSync(process.execPath, ["anchored.ts"], options);
    expect(JSON.parse(printed.toString())).toEqual({
      values: [2, 42],
      entries: ["2", "40"],
      stale: { reason: "WAYBILL_STALE", served: "false" },
    });
  });

  test("compiles each fragment of the guide, and no wrong state", () => {
    const fragments = blocksIn("shared/README.md", "ts");
    const files = fragments.map((text, index) => {
      writeFileSync(join(guide, `fragment${index}.ts`), text);
      return `fragment${index}.ts`;
    });
    writeFileSync(join(guide, "ambient.d.ts"), AMBIENT);
    expect(tsc(guide, "ambient.d.ts", ...files).stdout).toBe("");
    const wrong = fragments[0]!.replace("state.value += by", "state.total += by");
    writeFileSync(join(guide, "wrong.ts"), wrong);
    expect(tsc(guide, "wrong.ts").stdout).toContain("'total' does not exist");
  });

  test("refuses wrong keys and reports an unavailable Postgres", () => {
    writeFileSync(join(readme, "misuse.ts"), MISUSE);
    expect(tsc(readme, "misuse.ts").stdout).toBe("");
    const unavailable = { ...env, DATABASE_URL: "postgres://a@127.0.0.1:1/a" };
    const options = { cwd: readme, env: unavailable, encoding: "utf8" } as const;
    expect(JSON.parse(execFileSync(process.execPath, ["misuse.ts"], options))).toMatchObject({
      keys: [
        "the ring key 0123456789A must be 32 bytes long, not 0",
        "the ring key 0123456789A must be 32 bytes long, not 16",
        "the ring key 0123456789A must be a Buffer or Uint8Array of 32 bytes",
        "accepted",
      ],
      answer: { reason: "DATABASE_UNAVAILABLE", retryAfterMs: 1000 },
    });
  });

  test("has the guide and its pages", () => {
    const packaged = join(folder, "node_modules", "waybill");
    for (const page of ["README.md", "GUARANTEES.md", "COMPARISON.md", "SECURITY.md"]) {
      expect(readFileSync(join(packaged, page), "utf8")).toBe(
        readFileSync(join(PROJECT, "shared", page), "utf8"),
      );
    }
  });
});
