import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["{shared,services,deploy,test}/**/*.test.ts"],
    reporters: ["default", new URL("reporter.ts", import.meta.url).pathname],
    // Tests start processes and signal them: each file is a process of its own.
    pool: "forks",
    // One at a time: a cluster has the machine's two cores to itself.
    maxWorkers: 1,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
