import { createServer } from "node:net";
import { expect, test } from "vitest";
import { freePort, takePort } from "./ports.ts";

test("no port is given twice, though nobody listens on it yet", async () => {
  const ports = await Promise.all(Array.from({ length: 2000 }, () => freePort()));
  expect(new Set(ports).size).toBe(ports.length);
});

test("a port in use is refused by its flag, and none is as good as any", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await expect(takePort("--port", port)).rejects.toThrow(
    `port ${port} is in use: stop what uses it`,
  );
  await new Promise((resolve) => server.close(resolve));
  expect(await takePort("--port", port)).toBe(port);
  expect(await takePort("--port", 0)).toBeGreaterThanOrEqual(20_000);
});
