import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    include: ["{shared,services,deploy,test}/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Two at once: the machines that this runs on have two cores, and a test may start a cluster.
    maxWorkers: 2,
  },
});
