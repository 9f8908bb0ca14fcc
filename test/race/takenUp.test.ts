import { randomBytes } from "node:crypto";
import type { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Anchors } from "#shared/anchors/anchors.ts";
import { createPool, type Pool } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { Callers } from "../support/callers/callers.ts";
import { type Clients, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { connect, untilBlocked } from "../support/gate.ts";
import { refusal } from "../support/refusal.ts";
import { step } from "../support/step.ts";
import { withoutGuard } from "../support/withoutGuard.ts";

let cluster: TestCluster;
let [gate, watcher]: Client[] = [];
let pool: Pool | undefined;
/** One client for each replica, so that the test chooses where a call goes. */
let [a, b]: Clients[] = [];
let [hers, his]: string[] = [];
beforeAll(async () => {
  cluster = await startTestCluster();
  [gate, watcher] = await Promise.all([connect(cluster.databaseUrl), connect(cluster.databaseUrl)]);
  pool = createPool(cluster.databaseUrl, { max: 4, name: "race" });
  [a, b] = cluster
    .status()
    .replicas.map(({ address }) => makeClients(address, { withJar: false, retries: false }));
  const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  [hers, his] = await Promise.all(
    [0, 1].map(async () => (await callers.signIn(await callers.person())).accessToken),
  );
  callers.close();
});
afterAll(async () => {
  a?.close();
  b?.close();
  await Promise.all([gate?.end(), watcher?.end(), pool?.end()]);
  await cluster?.remove();
});

/** A checkout at its second version, and the quantity of its only item. */
let waybill: string;
let quantity: number;
let name: string;
beforeEach(async () => {
  const begun = await step(a!.checkout.beginCheckout, {}, { token: hers });
  name = `sessions/${(await newest()).id}`;
  waybill = (await add(a!, 1, begun.waybill!)).waybill!;
  quantity = 1;
});

const newest = async (): Promise<{ id: string; version: number }> =>
  (
    await watcher!.query(
      "SELECT session_id AS id, version FROM checkout.anchor ORDER BY session_id DESC LIMIT 1",
    )
  ).rows[0];
const add = (clients: Clients, more: number, from: string) =>
  step(
    clients.checkout.addItem,
    { product: "products/1", quantity: more },
    { waybill: from, token: hers },
  );
const resume = (clients: Clients, key?: string) =>
  step(clients.checkout.resumeCheckout, { name }, { token: hers, ...(key && { key }) });
const bind = (clients: Clients, from: string, token: string) =>
  step(clients.checkout.bindCheckout, {}, { waybill: from, token });

/** Runs calls while the anchor table is locked, until all of them have read and wait for the lock. */
async function together<T>(...calls: (() => Promise<T>)[]): Promise<string[]> {
  await gate!.query("BEGIN; LOCK TABLE checkout.anchor IN EXCLUSIVE MODE");
  const made: Promise<T>[] = [];
  for (const call of calls) {
    const own = call();
    own.catch(() => {});
    made.push(own);
    await untilBlocked(watcher!, made.length);
  }
  await gate!.query("COMMIT");
  const settled = await Promise.allSettled(made);
  return Promise.all(
    settled.map(async ({ status }, index) =>
      status === "fulfilled" ? "OK" : (await refusal(made[index]!)).reason,
    ),
  );
}

/** Advances a session between a resume's read and its own advance. @returns whether the resume succeeded */
async function resumeLate(db: Pool): Promise<boolean> {
  const anchors = new Anchors(db, "checkout", "race");
  const from = { sessionId: newUuid(), version: 1, digest: randomBytes(32) };
  const to = (state: string) => ({
    digest: randomBytes(32),
    identity: { idempotencyDigest: randomBytes(32), requestDigest: randomBytes(32) },
    savedResponse: Buffer.from(state),
    ended: false,
  });
  await anchors.create({
    ...from,
    savedResponse: Buffer.from("1"),
    expiresAt: Date.now() + 60_000,
  });
  const read = (await anchors.read(from.sessionId))!;
  expect(await anchors.advance(from, to("1, 2"))).toBe(true);
  const isResumed = await anchors.advance(
    { ...from, version: read.version },
    to(`${read.answer}, resumed`),
  );
  const { answer } = (await anchors.read(from.sessionId))!;
  expect(`${answer}`).toBe(isResumed ? "1, resumed" : "1, 2");
  return isResumed;
}

test("without the version predicate a resume overwrites an advance", async () => {
  const predicate = /AND anchor\.version = move\.version\s+AND anchor\.head = move\.head/;
  expect(await withoutGuard(pool!, [[predicate]], resumeLate)).toBe(true);
});

test("with the version predicate a resume overwrites no advance", async () => {
  expect(await resumeLate(pool!)).toBe(false);
});

test("a concurrent advance and resume lose no update", async () => {
  for (let turn = 0; turn < 8; turn += 1) {
    const from = await newest();
    const calls = [() => add(a!, 1, waybill), () => resume(b!)];
    const said = await together<unknown>(...(turn % 2 === 0 ? calls : calls.reverse()));
    if (turn % 2 === 1) said.reverse();
    expect([
      ["OK", "CONFLICT"],
      ["WAYBILL_STALE", "OK"],
    ]).toContainEqual(said);
    expect((await newest()).version).toBe(from.version + 1);
    const resumed = await resume(a!);
    expect(resumed.response.items[0]!.quantity).toBe(quantity + (said[0] === "OK" ? 1 : 0));
    ({ quantity } = resumed.response.items[0]!);
    waybill = resumed.waybill!;
  }
});

test("one of two concurrent resumes wins; the other retries", async () => {
  const said = await together<unknown>(
    () => resume(a!),
    () => resume(b!),
  );
  expect(said.sort()).toEqual(["CONFLICT", "OK"]);
  expect((await newest()).version).toBe(3);
});

test("a resume retried during its first attempt shares it", async () => {
  const said = await together<unknown>(
    () => resume(a!, "once"),
    () => resume(b!, "once"),
  );
  expect(said.sort()).toEqual(["CONFLICT", "OK"]);
  // As the client's retries do.
  await resume(b!, "once");
  expect((await newest()).version).toBe(3);
});

test("one of two concurrent callers binds an anonymous session", async () => {
  const { waybill: nobodys } = await step(a!.checkout.beginCheckout, {});
  const before = (await newest()).id;
  const said = await together<unknown>(
    () => bind(a!, nobodys!, hers!),
    () => bind(b!, nobodys!, his!),
  );
  expect(said.sort()).toEqual(["OK", "WAYBILL_ENDED"]);
  const { rows } = await watcher!.query(
    "SELECT version, ended FROM checkout.anchor WHERE session_id >= $1 ORDER BY session_id",
    [before],
  );
  expect(rows).toEqual([
    { version: 2, ended: true },
    { version: 1, ended: false },
  ]);
});
