import { defineConfig } from "vitest/config";
import full from "./vitest.config.ts";

/**
 * Configures `npm run test:fast`: unit tests, property tests with fewer runs, and the core of the end-to-end tests
 * on one cluster. The models of the key ring protocol are left out: they take minutes.
 */
export default defineConfig({
  test: {
    ...full.test,
    env: { RUNS_PERCENT: "5" },
    projects: [
      {
        extends: true,
        test: {
          name: "units and properties",
          include: [
            "{shared,services,deploy}/**/*.test.ts",
            "test/{conformance,property,vectors}/**/*.test.ts",
            "test/*.test.ts",
            "test/support/**/*.test.ts",
          ],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "core",
          include: ["test/e2e/core.test.ts"],
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
