import { expect, test } from "vitest";
import { budget, checkReplicas } from "./connections.ts";

test("bounds replicas by Postgres's connections", () => {
  const twenty = budget(200, 3);
  expect(twenty.mostReplicas).toBe(20);
  checkReplicas(20, twenty);
  expect(() => checkReplicas(21, twenty)).toThrow(
    "21 replicas need more connections than Postgres has (max_connections = 200): choose 20 at most",
  );
});

test("a small Postgres allows few replicas; roles without a database, any number", () => {
  expect(budget(20, 1).mostReplicas).toBe(0);
  expect(budget(10, 1).mostReplicas).toBe(0);
  expect(() => checkReplicas(1, budget(20, 1))).toThrow("1 replicas need more");
  checkReplicas(1000, budget(20, 0));
});
