import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PROJECT } from "../../deploy/local/paths.ts";
import { shop } from "../support/callers/shopper.ts";
import { makeClients } from "../support/clients.ts";
import { startTestCluster } from "../support/cluster.ts";
import { startTestPostgres } from "../support/postgres.ts";
import { family, living } from "../support/processes.ts";
import { step } from "../support/step.ts";
import { waitFor } from "../support/waitFor.ts";

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "waybill-local-"));
  chmodSync(dataDir, 0o711);
});
afterEach(() => rmSync(dataDir, { recursive: true }));

/** Runs `npm start` in its own process group, as a terminal does. */
function npmStart(...flags: string[]): { npm: ChildProcess; ready: Promise<string[]> } {
  const args = ["start", "--", "--data-dir", dataDir, "--port", "0", ...flags];
  const npm = spawn("npm", args, {
    cwd: PROJECT,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ready = (async () => {
    const lines: string[] = [];
    for await (const line of createInterface({ input: npm.stdout! })) {
      lines.push(line);
      if (line === "ready") {
        npm.stdout!.resume();
        return lines;
      }
    }
    throw new Error(`no ready in:\n${lines.join("\n")}`);
  })();
  return { npm, ready };
}

test.each(["SIGINT", "SIGTERM"] as const)(
  "npm start drains and exits with 0 on %s",
  async (signal) => {
    const { npm, ready } = npmStart();
    const lines = await ready;
    expect(lines.some((line) => /^front proxy +127\.0\.0\.1:\d+/.test(line))).toBe(true);
    expect(lines.some((line) => /^\S*grpcurl -plaintext 127\.0\.0\.1:\d+ list$/.test(line))).toBe(
      true,
    );
    const started = family(npm.pid!);
    // npm, its shell or the runner in its place, the watchdog, Postgres and its workers, Envoy, 2 replicas.
    expect(started.filter(({ args }) => args.includes("services/replica/main.ts"))).toHaveLength(2);
    expect(started.length).toBeGreaterThan(8);
    process.kill(-npm.pid!, signal);
    expect(await once(npm, "exit")).toEqual([0, null]);
    expect(living(started)).toEqual([]);
  },
);

test("the watchdog ends the children of a killed runner", async () => {
  const { npm, ready } = npmStart();
  await ready;
  const started = family(npm.pid!);
  const runner = started.findLast(({ args }) => args.includes("deploy/local/main.ts"));
  process.kill(runner!.pid, "SIGKILL");
  await once(npm, "exit");
  await waitFor("the children to end", () => living(started).length === 0);
});

test("scale, status, rotate and inspect reach the cluster", async () => {
  const { npm, ready } = npmStart("--replicas", "1", "--replica-tls");
  const lines = await ready;
  const run = (...args: string[]) =>
    JSON.parse(
      execFileSync("npm", ["run", "-s", ...args, "--data-dir", dataDir, "--json"], {
        cwd: PROJECT,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      }),
    );
  expect(run("status", "--").replicas).toHaveLength(1);
  expect(run("scale", "--", "3").replicas).toHaveLength(3);
  expect(run("status", "--").replicas).toHaveLength(3);
  expect(run("rotate", "--", "checkout")).toMatchObject({ version: 2 });

  const [, target] = lines.map((line) => /^front proxy +(\S+)/.exec(line)).find(Boolean)!;
  const clients = makeClients(target!, { withJar: false });
  const { waybill } = await step(clients.checkout.beginCheckout, {});
  clients.close();
  const main = join(PROJECT, "deploy", "local", "main.ts");
  // Variables of the caller that would redirect the commands.
  const env = { ...process.env, WAYBILL_KEYS_ADDRESS: "x", PGOPTIONS: "-c x=y", grpc_proxy: "x:1" };
  const program = (...words: string[]) =>
    spawnSync(process.execPath, [main, ...words, "--data-dir", dataDir], {
      env,
      encoding: "utf8",
      input: `${waybill}\nnonsense\n`,
    });
  const { status, stdout } = program("inspect", "checkout");
  const findings = stdout.trim().split("\n");
  expect(findings.map((line) => JSON.parse(line).verdict)).toEqual(["genuine", "invalid"]);
  expect(status).toBe(0);
  expect(program("rotate", "checkout").stdout).toMatch(/^version 3 of the ring of checkout: key /);
  const unknown = program("rotate", "checkout", "--destroy", "AAAAAAAAAAA");
  expect(unknown.stderr).toMatch(/^waybill: rotate checkout --destroy=AAAAAAAAAAA: \S/);
  expect(unknown.status).toBe(1);
  npm.kill("SIGTERM");
  await once(npm, "exit");
  const late = program("inspect", "checkout");
  expect(late.stderr).toContain(`no cluster runs on ${dataDir}: start one with npm start`);
  expect(late.status).toBe(1);
});

test("replicas serve gRPC's own round robin without Envoy", async () => {
  const { npm, ready } = npmStart("--no-envoy");
  const lines = await ready;
  const [target] = lines.flatMap((line) => /ipv4:[\d.:,]+/.exec(line) ?? []);
  const clients = makeClients(target!);
  await clients.checkout.beginCheckout({});
  const { items } = await clients.checkout.addItem({ product: "products/5" });
  expect(items).toHaveLength(1);
  clients.close();
  npm.kill("SIGTERM");
  await once(npm, "exit");
});

interface Refusal {
  status: number | null;
  stderr: string;
}

test("an external Postgres replaces the embedded one", async () => {
  const own = await startTestPostgres();
  const cluster = await startTestCluster({ databaseUrl: own.url });
  expect(cluster.status().postgres).toBeUndefined();
  const clients = makeClients(cluster.target);
  expect((await shop(clients, 12)).name).toMatch(/^orders\//);
  clients.close();
  // Postgres accepts 100 connections: 20 are reserved, and a replica may open 18.
  await expect(cluster.scale(6)).rejects.toThrow("choose 4 at most");
  await cluster.remove();
  await own.remove();
});

/** Runs a start that must fail. */
function refused(...args: string[]): Refusal {
  return refusedWith({}, ...args);
}

/** Runs a start that must fail, with additional environment variables. */
function refusedWith(env: NodeJS.ProcessEnv, ...args: string[]): Refusal {
  const main = join(PROJECT, "deploy", "local", "main.ts");
  const { status, stderr } = spawnSync(process.execPath, [main, "start", ...args], {
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  return { status, stderr };
}

test("wrong flags are named, with the expected form", () => {
  for (const [args, words] of [
    [["--port", "abc"], "--port abc: expected a whole number from 0 to 65535"],
    [["--replicas", "0"], "--replicas 0: expected a whole number from 1"],
    [
      ["--roles", "cook"],
      "--roles cook: expected some of keys, identity, token, session, catalog, checkout",
    ],
    [["--colour"], "Unknown option '--colour'. See --help."],
    [["now"], "unexpected: now. See --help."],
  ] as const) {
    const { status, stderr } = refused(...args);
    expect(stderr).toContain(words);
    expect(status).toBe(2);
  }
});

test("an unknown tool is named", () => {
  const main = join(PROJECT, "deploy", "local", "main.ts");
  const args = [main, "tools", "hammer"];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  expect(stderr).toContain("tools hammer: expected some of grpcurl, ghz, kubeconform, helm");
  expect(status).toBe(2);
});

test("a port in use is named", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const { status, stderr } = refused("--port", `${port}`, "--data-dir", dataDir);
  server.close();
  expect(stderr).toContain(`port ${port} is in use`);
  expect(status).toBe(1);
});

test("an invalid Envoy is named, with a fix", () => {
  const env = { ENVOY_BIN: "/bin/false" };
  const { status, stderr } = refusedWith(env, "--port", "0", "--data-dir", dataDir);
  expect(stderr).toContain("ENVOY_BIN=/bin/false is not an Envoy that runs here");
  for (const way of ["ENVOY_BIN", "PATH", "pip", "--no-envoy"]) expect(stderr).toContain(way);
  expect(status).toBe(1);
});

test("a Postgres that refuses the login is named", () => {
  const unreachable = { DATABASE_URL: "postgres://nobody:x@localhost.invalid/none" };
  const { status, stderr } = refusedWith(unreachable, "--port", "0", "--data-dir", dataDir);
  expect(stderr).toContain("cannot connect to the database of DATABASE_URL");
  expect(stderr).not.toContain("nobody:x");
  expect(status).toBe(1);
});

test("data of another Postgres version is named", () => {
  const data = join(dataDir, "postgres", "data");
  mkdirSync(data, { recursive: true });
  writeFileSync(join(data, "PG_VERSION"), "12\n");
  const { status, stderr } = refused("--port", "0", "--data-dir", dataDir);
  expect(stderr).toContain(`${data} holds data of Postgres 12, and this is Postgres 18`);
  expect(status).toBe(1);
});

test.skipIf(process.getuid?.() !== 0)(
  "a folder hidden from the Postgres user is named (needs root)",
  () => {
    const closed = join(dataDir, "closed");
    mkdirSync(closed, { mode: 0o700 });
    const { status, stderr } = refused("--port", "0", "--data-dir", join(closed, "data"));
    expect(stderr).toContain(`${closed} is closed to it`);
    expect(status).toBe(1);
  },
);
