import { status } from "@grpc/grpc-js";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Jar } from "waybill/client";
import { bearer, Callers, type Person } from "../support/callers/callers.ts";
import { ADDRESS } from "../support/callers/shopper.ts";
import { type Clients, contract, makeClients } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal, untilRefused } from "../support/refusal.ts";
import { step } from "../support/step.ts";

let cluster: TestCluster;
let callers: Callers;
let byHand: Clients;
let db: Client;
let ada: Person;
beforeAll(async () => {
  cluster = await startTestCluster();
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  byHand = makeClients(cluster.target, { withJar: false, retries: false });
  db = new Client({ connectionString: cluster.databaseUrl });
  await db.connect();
  ada = await callers.person();
});
afterAll(async () => {
  await db?.end();
  byHand?.close();
  callers?.close();
  await cluster?.remove();
});

/** Signs in on one of a person's devices, with its own jar. */
async function device(person: Person): Promise<Clients> {
  const jar = new Jar({ contract, signIn: { target: cluster.target } });
  await jar.signIn(person.username, person.secret);
  return makeClients(cluster.target, { jar });
}

/** The session that began last. */
async function newest(): Promise<{ name: string; id: string; version: number }> {
  const { rows } = await db.query(
    "SELECT session_id, version FROM checkout.anchor ORDER BY session_id DESC LIMIT 1",
  );
  const { session_id: id, version } = rows[0];
  return { name: `sessions/${id}`, id, version };
}

describe("another device of the same subject", () => {
  test("resumes a session; the first device's waybill turns stale", async () => {
    const [phone, laptop] = await Promise.all([device(ada), device(ada)]);
    await phone.checkout.beginCheckout({});
    await phone.checkout.addItem({ product: "products/1", quantity: 2 });
    const { name, version } = await newest();
    const kept = phone.jar.peek("checkout")!;

    const { items } = await laptop.checkout.resumeCheckout({ name });
    expect(items).toMatchObject([{ product: "products/1", quantity: 2 }]);
    expect((await newest()).version).toBe(version + 1);
    await laptop.checkout.addItem({ product: "products/2" });

    const { accessToken: jwt } = await callers.signIn(ada);
    const stale = step(
      byHand.checkout.addItem,
      { product: "products/3" },
      { waybill: kept, token: jwt },
    );
    expect(await refusal(stale)).toMatchObject({
      reason: "WAYBILL_STALE",
      metadata: { session: name },
    });
    for (const clients of [phone, laptop]) clients.close();
  });

  test("alternates with the first, where retries are permitted", async () => {
    const [phone, laptop] = await Promise.all([device(ada), device(ada)]);
    await phone.checkout.beginCheckout({});
    await phone.checkout.addItem({ product: "products/1" });
    const { name } = await newest();
    await laptop.checkout.resumeCheckout({ name });
    for (let quantity = 2; quantity <= 9; quantity += 1) {
      const turn = quantity % 2 === 0 ? phone : laptop;
      const { items } = await turn.checkout.updateItem({ product: "products/1", quantity });
      expect(items).toMatchObject([{ quantity }]);
    }
    // The jar does not retry this call: adding an item twice differs from adding it once.
    const report = await refusal(phone.checkout.addItem({ product: "products/1" }));
    expect(report.reason).toBe("WAYBILL_STALE");
    for (const clients of [phone, laptop]) clients.close();
  });

  test("S5 recovers although its old state refuses the call", async () => {
    const [phone, laptop] = await Promise.all([device(ada), device(ada)]);
    await phone.checkout.beginCheckout({});
    await phone.checkout.addItem({ product: "products/1" });
    const { name } = await newest();
    await laptop.checkout.resumeCheckout({ name });
    await laptop.checkout.addItem({ product: "products/2" });
    // The state in the phone's waybill does not have the laptop's item.
    const updated = await phone.checkout.updateItem({ product: "products/2", quantity: 7 });
    expect(updated.items.map(({ quantity }) => quantity)).toEqual([1, 7]);
    await laptop.checkout.resumeCheckout({ name });
    await laptop.checkout.addItem({ product: "products/3" });
    const { items } = await phone.checkout.removeItem({ product: "products/3" });
    expect(items.map(({ product }) => product)).toEqual(["products/1", "products/2"]);
    // Refusals based on the newest state reach the caller.
    const missing = phone.checkout.updateItem({ product: "products/9", quantity: 1 });
    expect((await refusal(missing)).code).toBe(status.NOT_FOUND);
    for (const clients of [phone, laptop]) clients.close();
  });

  test("S5 gets WAYBILL_STALE, not an error about old state", async () => {
    const [phone, laptop] = await Promise.all([device(ada), device(ada)]);
    await phone.checkout.beginCheckout({});
    const { name } = await newest();
    expect((await refusal(phone.checkout.placeOrder({}))).reason).toBe("ORDER_EMPTY");
    await laptop.checkout.resumeCheckout({ name });
    await laptop.checkout.addItem({ product: "products/1" });
    expect(await refusal(phone.checkout.placeOrder({}))).toMatchObject({
      reason: "WAYBILL_STALE",
      metadata: { session: name },
    });
    await laptop.checkout.endCheckout({});
    expect((await refusal(phone.checkout.placeOrder({}))).reason).toMatch(
      /^WAYBILL_(ENDED|REVOKED)$/,
    );
    for (const clients of [phone, laptop]) clients.close();
  });

  test("concurrent with the first loses no update", async () => {
    const [phone, laptop] = await Promise.all([device(ada), device(ada)]);
    await phone.checkout.beginCheckout({});
    await phone.checkout.addItem({ product: "products/1" });
    await phone.checkout.addItem({ product: "products/2" });
    await laptop.checkout.resumeCheckout({ name: (await newest()).name });
    await Promise.all([
      phone.checkout.updateItem({ product: "products/1", quantity: 11 }),
      laptop.checkout.updateItem({ product: "products/2", quantity: 22 }),
    ]);
    const { items } = await phone.checkout.resumeCheckout({ name: (await newest()).name });
    expect(items.map(({ quantity }) => quantity)).toEqual([11, 22]);
    for (const clients of [phone, laptop]) clients.close();
  });
});

describe("resume is refused", () => {
  const resume = async (person: Person, name: string) => {
    const { accessToken } = await callers.signIn(person);
    return byHand.checkout.resumeCheckout({ name }, bearer(accessToken));
  };
  const begin = async () => {
    const phone = await device(ada);
    await phone.checkout.beginCheckout({});
    return { phone, ...(await newest()) };
  };
  const NOT_FOUND = { reason: "SESSION_NOT_FOUND" };

  test("alike for others' sessions, anonymous and missing ones", async () => {
    const { phone, name } = await begin();
    expect(await refusal(resume(await callers.person(), name))).toMatchObject(NOT_FOUND);
    await byHand.checkout.beginCheckout({});
    expect(await refusal(resume(ada, (await newest()).name))).toMatchObject(NOT_FOUND);
    const never = "sessions/01900000-0000-7000-8000-000000000000";
    expect(await refusal(resume(ada, never))).toMatchObject(NOT_FOUND);
    expect((await resume(ada, name)).items).toEqual([]);
    phone.close();
  });

  test("for an ended session", async () => {
    const { phone, name } = await begin();
    await phone.checkout.endCheckout({});
    expect(await untilRefused(() => resume(ada, name))).toMatchObject(NOT_FOUND);
    phone.close();
  });

  test("as a rollback to an older version", async () => {
    const { phone, name } = await begin();
    await phone.checkout.addItem({ product: "products/4" });
    const older = phone.jar.peek("checkout")!;
    await phone.checkout.removeItem({ product: "products/4" });
    const { accessToken: token } = await callers.signIn(ada);
    expect((await resume(ada, name)).items).toEqual([]);
    const back = step(byHand.checkout.setAddress, { address: ADDRESS }, { waybill: older, token });
    expect((await refusal(back)).reason).toBe("WAYBILL_STALE");
    // A session name instead of a waybill selects the newest version, too.
    const { metadata } = bearer(token);
    metadata.set("session", name);
    metadata.set("waybill", older);
    expect((await byHand.checkout.setAddress({ address: ADDRESS }, { metadata })).items).toEqual(
      [],
    );
    phone.close();
  });

  test("by name without a token or with another's", async () => {
    const { phone, name } = await begin();
    const { metadata } = bearer((await callers.signIn(await callers.person())).accessToken);
    metadata.set("session", name);
    const stolen = byHand.checkout.setAddress({ address: ADDRESS }, { metadata });
    expect(await refusal(stolen)).toMatchObject(NOT_FOUND);
    metadata.remove("authorization");
    const bare = byHand.checkout.setAddress({ address: ADDRESS }, { metadata });
    expect((await refusal(bare)).reason).toBe("WAYBILL_MISSING");
    phone.close();
  });
});

describe("detects tampering with the tables:", () => {
  const INVALID = { reason: "WAYBILL_INVALID" };
  /** Begins a session and advances it once. @returns both waybills, and the session's id */
  const advanced = async () => {
    const { waybill: first } = await step(byHand.checkout.beginCheckout, {});
    const { waybill: second } = await step(
      byHand.checkout.addItem,
      { product: "products/5" },
      { waybill: first },
    );
    return { first: first!, second: second!, id: (await newest()).id };
  };
  const write = (waybill: string) =>
    step(byHand.checkout.setAddress, { address: ADDRESS }, { waybill });

  test("a deleted anchor", async () => {
    const { second, id } = await advanced();
    await db.query("DELETE FROM checkout.anchor WHERE session_id = $1", [id]);
    expect(await refusal(write(second))).toMatchObject(INVALID);
  });

  test("an anchor set back to an older version", async () => {
    const { first, second, id } = await advanced();
    await db.query("UPDATE checkout.anchor SET version = 1 WHERE session_id = $1", [id]);
    expect(await refusal(write(second))).toMatchObject(INVALID);
    // The older waybill does not become valid: its digest cannot be computed from the tables.
    expect(await refusal(write(first))).toMatchObject(INVALID);
    await db.query(
      `UPDATE checkout.anchor SET head = advance.digest FROM checkout.advance
        WHERE anchor.session_id = $1 AND advance.session_id = $1 AND advance.version = 1`,
      [id],
    );
    expect(await refusal(write(first))).toMatchObject(INVALID);
  });

  test("an anchor moved to another session", async () => {
    const [mine, other] = [await advanced(), await advanced()];
    await db.query(
      `UPDATE checkout.anchor SET head = other.head, answer = other.answer
         FROM checkout.anchor AS other WHERE anchor.session_id = $1 AND other.session_id = $2`,
      [mine.id, other.id],
    );
    expect(await refusal(write(mine.second))).toMatchObject(INVALID);
    expect(await refusal(write(mine.first))).toMatchObject(INVALID);
    await write(other.second);
  });

  test("an ended session that was reopened", async () => {
    const { second, id } = await advanced();
    await step(byHand.checkout.endCheckout, {}, { waybill: second });
    await db.query("UPDATE checkout.anchor SET ended = false WHERE session_id = $1", [id]);
    expect((await refusal(write(second))).reason).toBe("WAYBILL_STALE");
    await db.query("UPDATE checkout.anchor SET version = 2 WHERE session_id = $1", [id]);
    expect(await refusal(write(second))).toMatchObject(INVALID);
  });

  test("a saved response that was altered, cut or swapped", async () => {
    const [mine, other] = [await advanced(), await advanced()];
    const again = (waybill: string) =>
      step(byHand.checkout.addItem, { product: "products/5" }, { waybill });
    await again(mine.first);
    const set = (answer: string) =>
      db.query(`UPDATE checkout.anchor SET answer = ${answer} WHERE session_id = $1`, [mine.id]);
    for (const changed of [
      "set_byte(answer, length(answer) - 30, get_byte(answer, length(answer) - 30) # 1)",
      "substr(answer, 1, 20)",
      "''",
      `(SELECT answer FROM checkout.anchor WHERE session_id = '${other.id}')`,
    ]) {
      await set(changed);
      expect(await refusal(again(mine.first))).toMatchObject(INVALID);
    }
    // The newest waybill carries its own state: the session continues.
    await write(mine.second);
  });
});
