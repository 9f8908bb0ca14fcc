import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import type { TestCluster } from "../../support/cluster.ts";
import { Faults } from "./faults.ts";

test("names a killed replica that never serves again", async () => {
  const replica = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  const exited = once(replica, "exit");
  const replicas = [{ number: 3, pid: replica.pid!, address: "127.0.0.1:1" }];
  const cluster = { status: () => ({ replicas }) } as unknown as TestCluster;
  const faults = new Faults(
    cluster,
    () => 0,
    () => {},
    200,
  );
  await expect(faults.kill()).rejects.toThrow(
    "replica 3 was killed and did not serve again in 0.2 s",
  );
  expect(await exited).toEqual([null, "SIGKILL"]);
}, 10_000);
