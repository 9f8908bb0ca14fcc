import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Db } from "#shared/pg/pool.ts";
import { migratedPostgres, type TestPostgres } from "../../support/postgres.ts";
import { fill } from "./fill.ts";
import { ELSEWHERE, HOT, NOT_HOT } from "./statements.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;

let postgres: TestPostgres;
let client: Client;

beforeAll(async () => {
  postgres = await migratedPostgres();
  client = new Client({ connectionString: postgres.url });
  await client.connect();
  await fill(client);
}, 600_000);
afterAll(async () => {
  await client?.end();
  await postgres?.remove();
});

interface Plan {
  "Node Type": string;
  Schema?: string;
  "Relation Name"?: string;
  Plans?: Plan[];
}

/** Lists the tables that a plan scans sequentially. */
function scanned(plan: Plan): string[] {
  const isScan = plan["Node Type"] === "Seq Scan";
  const own = isScan ? [`${plan.Schema}.${plan["Relation Name"]}`] : [];
  return [...own, ...(plan.Plans ?? []).flatMap(scanned)];
}

/** Plans statements instead of running them: once for the given values, once with a generic plan. */
class Planner implements Db {
  readonly plans: Plan[] = [];
  asked = 0;

  async query(statement: string | { text: string; values?: unknown[] }, more?: unknown[]) {
    const { text, values = more } =
      typeof statement === "string" ? { text: statement, values: more } : statement;
    this.asked += 1;
    for (const [how, given] of [
      ["VERBOSE, FORMAT JSON", values],
      ["VERBOSE, FORMAT JSON, GENERIC_PLAN", undefined],
    ] as const) {
      const { rows } = await client.query(`EXPLAIN (${how}) ${text}`, given as unknown[]);
      this.plans.push((rows[0]["QUERY PLAN"] as { Plan: Plan }[])[0]!.Plan);
    }
    return { rows: [], rowCount: 0 } as never;
  }
}

test("the test detects a table scan", async () => {
  const planner = new Planner();
  await planner.query('SELECT FROM checkout."order" WHERE content = $1::bytea', [Buffer.alloc(32)]);
  expect(planner.plans.map(scanned)).toEqual([["checkout.order"], ["checkout.order"]]);
});

test.each(Object.entries(HOT))("no table is scanned for %s", async (_, { run, scans }) => {
  const planner = new Planner();
  // Some statements fail on the missing row.
  await run(planner).catch(() => {});
  expect(planner.asked).toBeGreaterThan(0);
  expect(planner.plans).toHaveLength(2 * planner.asked);
  expect(planner.plans.flatMap(scanned).filter((table) => !scans.includes(table))).toEqual([]);
});

/** Lists the source files of services and SDK, without tests. */
function sources(): string[] {
  return ["services", "shared"]
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).map((path) =>
        join(folder, path),
      ),
    )
    .filter((path) => path.endsWith(".ts") && !path.endsWith(".test.ts"));
}

test("every statement is planned or exempt with reason", async () => {
  const known = new Set<unknown>([...Object.values(HOT).map(({ of }) => of), ...NOT_HOT.keys()]);
  const found = new Set<unknown>();
  const missing: string[] = [];
  for (const path of sources().filter((each) => each.includes("/sql/"))) {
    for (const [name, exported] of Object.entries(await import(join(ROOT, path)))) {
      if (typeof exported !== "function") continue;
      found.add(exported);
      if (!known.has(exported)) missing.push(`${path}: ${name}`);
    }
  }
  expect(missing).toEqual([]);
  expect(found).toEqual(known);
});

test("every statement has a file or an exemption", () => {
  const asking = sources().filter(
    (path) => !path.includes("/sql/") && /\.query\b/.test(readFileSync(join(ROOT, path), "utf8")),
  );
  expect(asking.sort()).toEqual(Object.keys(ELSEWHERE).sort());
});
