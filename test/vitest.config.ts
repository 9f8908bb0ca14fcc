import { defineConfig } from "vitest/config";

/** Tests that need neither a cluster nor Postgres. */
const PURE = ["test/{model,property}/**/*.test.ts"];

export default defineConfig({
  test: {
    root: new URL("..", import.meta.url).pathname,
    reporters: ["default", new URL("reporter.ts", import.meta.url).pathname],
    // Tests start processes and signal them: each file is a process of its own.
    pool: "forks",
    testTimeout: 120_000,
    hookTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: {
          name: "one at a time",
          include: ["{shared,services,deploy,test}/**/*.test.ts"],
          exclude: PURE,
          // A cluster has the machine's two cores to itself.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: { name: "two at a time", include: PURE, maxWorkers: 2, sequence: { groupOrder: 0 } },
      },
    ],
  },
});
