import type { Recipe, Store } from "./contender.ts";
import type { Carrier } from "./peers/beginSessions.ts";

/** Names of the designs, which also identify their figures. */
export const NAMES = {
  floor: "floor: no session at all",
  iron: "@hapi/iron: advance",
  jose: "jose: advance",
  spilled: "Waybill, spilled: advance, metadata",
  anchored: "Waybill, anchored: advance",
  anchoredElsewhere: "Waybill, anchored at the session service: advance",
} as const;

type Method = "Read" | "Advance";

const CARRIED_BY: Partial<Record<Carrier, string>> = { waybill: "metadata", message: "message" };

export const passingName = (method: Method, carrier: Carrier) =>
  `fair floor: ${method.toLowerCase()}, ${CARRIED_BY[carrier]}`;
export const carriedName = (method: Method, carrier: Carrier) =>
  `Waybill, carried: ${method.toLowerCase()}, ${CARRIED_BY[carrier]}`;
type StoreKind = keyof typeof STORES;

const STORES = {
  redis: "Redis",
  pipelined: "Redis, auto-pipelined",
  postgres: "Postgres",
} as const;

export const storedName = (kind: StoreKind, method: Method) =>
  `${STORES[kind]}: ${method.toLowerCase()}`;

/** The fair floor: waybills begun elsewhere pass through untouched. */
export function passing(
  method: Method,
  carrier: Carrier,
  { size, beganAt }: { size: number; beganAt: string },
): Recipe {
  return { name: passingName(method, carrier), kind: "passing", method, carrier, size, beganAt };
}

export function carried(
  method: Method,
  carrier: Carrier,
  { size, key }: { size: number; key: string },
): Recipe {
  const name = carriedName(method, carrier);
  return { name, kind: "waybill", settings: { key }, method, carrier, size };
}

export function stored(
  kind: StoreKind,
  method: Method,
  { size, store }: { size: number; store: Store },
): Recipe {
  const isPipelined = kind === "pipelined";
  return {
    ...{ name: storedName(kind, method), store, method, carrier: "session", size },
    ...{ kind: isPipelined ? "redis" : kind, settings: { isPipelined } },
  };
}
