import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import pg from "pg";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PROJECT } from "../../deploy/local/paths.ts";
import { shop } from "../support/callers/shopper.ts";
import { makeClients } from "../support/clients.ts";
import { startTestCluster } from "../support/cluster.ts";
import { family, living, type Process } from "../support/processes.ts";

const MAIN = join(PROJECT, "deploy", "local", "main.ts");
/** Longer than a replica or an Envoy takes to start on a busy machine. */
const START_LIMIT_MS = 8000;

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "waybill-failed-"));
  chmodSync(dataDir, 0o711);
});
afterEach(() => rmSync(dataDir, { recursive: true }));

/**
 * Lists the processes that this one and its children have started, without the `ps` that lists them and
 * without Postgres's workers, which come and go with connections.
 */
function descendants(): Process[] {
  return family(process.pid).filter(
    ({ pid, args }) => pid !== process.pid && !/^(ps |postgres: )/.test(args),
  );
}

const pids = (some: Process[]) => some.map(({ pid }) => pid).sort();

test("a start whose replicas never serve leaves no process", async () => {
  const before = descendants();
  const starting = startTestCluster({
    dataDir,
    // Nothing listens there: a replica waits for its keys.
    replicaEnv: { WAYBILL_KEYS_ADDRESS: "ipv4:127.0.0.1:1" },
    startLimitMs: 2000,
  });
  await expect(starting).rejects.toThrow(
    /^replica [12] did not serve within 2 s of its start: see /,
  );
  expect(pids(descendants())).toEqual(pids(before));
});

test("a start whose Envoy never serves leaves no process", async () => {
  const before = descendants();
  const envoy = join(dataDir, "envoy");
  writeFileSync(envoy, '#!/bin/sh\n[ "$1" = --version ] || exec sleep 600\n', { mode: 0o755 });
  process.env["ENVOY_BIN"] = envoy;
  try {
    const starting = startTestCluster({ dataDir, startLimitMs: START_LIMIT_MS });
    await expect(starting).rejects.toThrow(/^Envoy did not serve within 8 s of its start: see /);
  } finally {
    delete process.env["ENVOY_BIN"];
  }
  expect(pids(descendants())).toEqual(pids(before));
});

test("npm start with impossible settings names the replica's log", () => {
  // Every process of the cluster inherits TMPDIR, so `ps` finds orphans, too.
  const env = { ...process.env, TMPDIR: dataDir, WAYBILL_RING_LEASE_S: "1" };
  const args = [MAIN, "start", "--port", "0", "--data-dir", dataDir];
  const { status, stderr } = spawnSync(process.execPath, args, { env, encoding: "utf8" });
  expect(status).toBe(1);
  const [, log] = /^waybill: replica [12] ended at its start: see (\S+)$/m.exec(stderr)!;
  expect(readFileSync(log!, "utf8")).toContain("WAYBILL_RING_LEASE_S=1: expected a whole number");
  const all = execFileSync("ps", ["axeww", "-o", "stat=,args="], { encoding: "utf8" });
  const left = all.split("\n").filter((line) => line.includes(dataDir) && !line.startsWith("Z"));
  expect(left.filter((line) => !line.includes("ps axeww"))).toEqual([]);
});

test("a failed scale-up ends only its own replicas", async () => {
  const cluster = await startTestCluster({ dataDir, replicas: 1, startLimitMs: START_LIMIT_MS });
  try {
    const before = descendants();
    const clients = makeClients(cluster.target);

    // One of the new replicas cannot start: a folder is in the place of its log.
    const obstacle = join(dataDir, "logs", "replica-3.log");
    mkdirSync(obstacle);
    await expect(cluster.scale(4)).rejects.toThrow("EISDIR");
    expect(pids(descendants())).toEqual(pids(before));
    expect(cluster.status().replicas).toHaveLength(1);

    // The new replicas start, but never receive their keys.
    rmSync(obstacle, { recursive: true });
    const holder = new pg.Client({ connectionString: cluster.databaseUrl });
    await holder.connect();
    await holder.query("BEGIN");
    await holder.query("LOCK TABLE keys.ring_key IN ACCESS EXCLUSIVE MODE");
    const scaling = cluster.scale(3).finally(() => holder.end());
    await expect(scaling).rejects.toThrow("did not serve within 8 s");
    expect(pids(descendants())).toEqual(pids(before));
    expect(cluster.status().replicas).toHaveLength(1);

    expect((await shop(clients, 3)).name).toMatch(/^orders\//);
    clients.close();
    expect((await cluster.scale(3)).replicas).toHaveLength(3);
  } finally {
    await cluster.stop();
  }
});

/** Variables of another cluster, each of which would break or change this one. */
const FOREIGN = {
  WAYBILL_KEYS_ADDRESS: "nonsense",
  WAYBILL_TOKEN_ADDRESS: "nonsense",
  WAYBILL_SESSION_ADDRESS: "nonsense",
  WAYBILL_DATABASE_PREPARE: "nonsense",
  WAYBILL_ISSUER: "https://other.example.com",
  WAYBILL_SIGN_UP: "closed",
  WAYBILL_CACHE_BYTES: "nonsense",
  WAYBILL_TLS_DIR: "/nonsense",
  PGHOST: "192.0.2.1",
  PGUSER: "other",
  PGSSLMODE: "require",
  PGOPTIONS: "-c default_transaction_read_only=on",
  grpc_proxy: "http://127.0.0.1:1",
};

test.skipIf(process.platform !== "linux")(
  "undocumented variables of the caller have no effect (needs /proc)",
  async () => {
    const args = [MAIN, "start", "--port", "0", "--data-dir", dataDir, "--replicas", "1"];
    const runner = spawn(process.execPath, args, {
      env: { ...process.env, ...FOREIGN, WAYBILL_LOG_LEVEL: "warn" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      const lines: string[] = [];
      for await (const line of createInterface({ input: runner.stdout })) {
        lines.push(line);
        if (line === "ready") break;
      }
      expect(lines.at(-1)).toBe("ready");
      runner.stdout.resume();
      const names = Object.keys(FOREIGN).filter((name) => name !== "grpc_proxy");
      expect(lines).toContain(`not passed on: ${names.sort().join(", ")}`);

      const [, target] = lines.map((line) => /^front proxy +(\S+)/.exec(line)).find(Boolean)!;
      const clients = makeClients(target!);
      expect((await shop(clients, 5)).name).toMatch(/^orders\//);
      clients.close();
      const command = (...words: string[]) =>
        execFileSync(process.execPath, [MAIN, ...words, "--data-dir", dataDir, "--json"], {
          encoding: "utf8",
        });
      expect(JSON.parse(command("rotate", "checkout"))).toMatchObject({ version: 2 });

      const started = family(runner.pid!).filter(({ pid }) => pid !== runner.pid);
      for (const { pid, args: line } of started) {
        const env = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
        const foreign = Object.entries(FOREIGN).map(([name, value]) => `${name}=${value}`);
        expect(
          env.filter((each) => foreign.includes(each)),
          line,
        ).toEqual([]);
        expect(
          env.filter((each) => each.startsWith("PG")),
          line,
        ).toEqual([]);
      }
      expect(readFileSync(join(dataDir, "logs", "replica-1.log"), "utf8")).not.toContain(
        "listening",
      );
      runner.kill("SIGTERM");
      expect(await once(runner, "exit")).toEqual([0, null]);
      expect(living(started)).toEqual([]);
    } finally {
      runner.kill("SIGKILL");
    }
  },
);
