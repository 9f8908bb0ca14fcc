import { expect, test } from "vitest";
import { budget, checkReplicas } from "./connections.ts";

test("replicas are bounded by what Postgres has connections for", () => {
  const twenty = budget(200, 3);
  expect(twenty.mostReplicas).toBe(20);
  checkReplicas(20, twenty);
  expect(() => checkReplicas(21, twenty)).toThrow(
    "21 replicas need more connections than Postgres takes (max_connections = 200): choose 20 at most",
  );
});

test("a small Postgres has room for few, and roles without a database need none", () => {
  expect(budget(20, 1).mostReplicas).toBe(0);
  expect(budget(10, 1).mostReplicas).toBe(0);
  expect(() => checkReplicas(1, budget(20, 1))).toThrow("1 replicas need more");
  checkReplicas(1000, budget(20, 0));
});
