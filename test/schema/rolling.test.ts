import { afterAll, beforeAll, expect, test } from "vitest";
import { fromCompact } from "#shared/waybill/jwe.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { type Upgrades, upgrade } from "#shared/waybill/state/upgrades.ts";
import { makeClients } from "../support/clients.ts";
import { seededRandom } from "../support/random.ts";
import { refusal } from "../support/refusal.ts";
import { makeRingSource } from "../support/rings.ts";
import { step } from "../support/step.ts";
import { type FrontProxy, startFrontProxy } from "./frontProxy.ts";
import { contractOf, GET_CHECKOUT, type Replica, type State } from "./program.ts";
import { type Codecs, compilePrograms, OLD, PROGRAMS, type Program, serve } from "./programs.ts";
import { compile } from "./protos.ts";

const ring = makeRingSource("checkout");
const replicas: Replica[] = [];
let frontProxy: FrontProxy;
let codecs: Codecs;

async function start(program: Program, more: { revision?: number; upgrades?: Upgrades } = {}) {
  const replica = await serve(program, codecs, { ring, ...more });
  replicas.push(replica);
  return replica.address;
}

beforeAll(async () => {
  codecs = await compilePrograms();
  frontProxy = await startFrontProxy();
  const addresses = [];
  for (const program of PROGRAMS) addresses.push(await start(program));
  await frontProxy.leadTo(addresses);
});
afterAll(async () => {
  await frontProxy?.close();
  for (const { server } of replicas) await server.drain();
});

test("three releases share sessions and lose no field", async () => {
  const random = seededRandom();
  const clients = makeClients(frontProxy.target, { withJar: false });
  const landed = new Set<string>();
  const sessions = new Sessions(contractOf().method(GET_CHECKOUT).session!, codecs.next, ring);
  for (let round = 0; round < 10; round += 1) {
    let { waybill } = await step(clients.checkout.beginCheckout, {});
    const last: Partial<Record<string, string>> = {};
    for (let turn = 0; turn < 30; turn += 1) {
      const product = `products/${1 + random.below(1_000_000)}`;
      const made = await step(clients.checkout.addItem, { product }, { waybill });
      last[made.response.order] = product;
      landed.add(made.response.order);
      waybill = made.waybill;
      const { state } = await sessions.open(fromCompact(waybill!)!);
      expect(state["old"]).toBe(last["old"] ?? "");
      expect(state["current"]).toBe(last["current"] ?? "");
      expect(`products/${state["next"]}`).toBe(last["next"] ?? "products/0");
      expect(state.part).toMatchObject({
        old: last["old"] ?? "begun",
        current: last["current"] ?? "",
        next: Buffer.from(last["next"] ?? ""),
      });
    }
  }
  expect([...landed].sort()).toEqual(["current", "next", "old"]);
  clients.close();
});

test("anomaly: an old program overrides an unknown oneof branch", async () => {
  const grown = await compile<State>(OLD.replace("int32 b = 11;", "int32 b = 11; string c = 12;"));
  const next = grown.codec.create();
  next["choice"] = { $case: "c", value: "new" };
  const old = codecs.old.decode(grown.codec.encode(next).finish());
  old["choice"] = { $case: "a", value: "set by the old program" };
  const read = grown.codec.decode(codecs.old.encode(old).finish());
  // `npm run check` therefore requires another revision.
  expect(read["choice"]).toEqual({ $case: "c", value: "new" });
});

test("an older revision is upgraded, a newer one refused", async () => {
  const upgrades: Upgrades = {
    1: upgrade(codecs.old, codecs.current, (old) => ({
      ...codecs.current.decode(codecs.old.encode(old).finish()),
      current: `${old["old"]}!`,
    })),
    2: upgrade(codecs.current, codecs.next, (old) => ({
      ...codecs.next.decode(codecs.current.encode(old).finish()),
      next: 3n,
    })),
  };
  const second = await start("current", { revision: 2, upgrades });
  const third = await start("next", { revision: 3, upgrades });
  const [one, two, three] = [frontProxy.target, second, third].map((target) =>
    makeClients(target, { withJar: false, retries: false }),
  );
  let made = await step(one!.checkout.beginCheckout, {});
  // Every replica behind the front proxy has the first revision.
  made = await step(one!.checkout.addItem, { product: "products/7" }, { waybill: made.waybill });
  const first = made.waybill;
  const upgraded = await step(
    three!.checkout.addItem,
    { product: "products/9" },
    { waybill: first },
  );
  const sessions = new Sessions(contractOf(3).method(GET_CHECKOUT).session!, codecs.next, ring);
  const { state } = await sessions.open(fromCompact(upgraded.waybill!)!);
  expect(state).toMatchObject({ next: 9n, part: { old: expect.stringMatching(/begun|products/) } });
  expect(String(state["current"])).toMatch(/!$/);
  const refused = step(two!.checkout.getCheckout, {}, { waybill: upgraded.waybill });
  expect(await refusal(refused)).toMatchObject({
    reason: "STATE_SCHEMA_UNSUPPORTED",
    metadata: { type: "waybill.checkout.v1.CheckoutState", revision: "3" },
  });
  await step(two!.checkout.getCheckout, {}, { waybill: first });
  for (const clients of [one!, two!, three!]) clients.close();
});
