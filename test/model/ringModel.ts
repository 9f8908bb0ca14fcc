/**
 * Models a ring, its key service and two replicas in discrete time: all steps from a state, and the
 * invariants of each state. The steps of the key service are `services/keys/rings/transitions.ts`, those of
 * the replicas `shared/rings/holding.ts`: the model checks the product's own code.
 */
import {
  type Holding,
  isLeased,
  NOTHING,
  receive,
  sealingOf,
  take,
} from "#shared/rings/holding.ts";
import type { Ring } from "#shared/rings/ring.ts";
import type { RingState, Terms } from "../../services/keys/rings/transitions.ts";
import * as transitions from "../../services/keys/rings/transitions.ts";

export const TERMS: Terms = { leaseS: 2, graceS: 1, keepS: 1 };

/** Messages in flight. Each may be lost, delayed or overtaken. */
export type Message =
  | { kind: "renew"; to: number; holder: string; asked: number; acknowledged: number }
  | { kind: "read"; to: number; holder: string; asked: number; acknowledged: number; ring: Ring }
  | { kind: "granted"; to: number; holder: string; asked: number; ring: Ring }
  | { kind: "release"; to: number; holder: string };

export interface Replica {
  readonly holder: string;
  readonly holding: Holding;
}

/** A state of the model. Times are in ticks. */
export interface World {
  readonly now: number;
  /** Ticks by which the key service's clock has jumped ahead. */
  readonly jumped: number;
  readonly ring: RingState;
  readonly replicas: readonly Replica[];
  readonly messages: readonly Message[];
  /** Last seal of each key. */
  readonly sealed: Readonly<Record<string, number>>;
  /** Destruction of each key. */
  readonly destroyed: Readonly<Record<string, number>>;
  /** Remaining numbers of the bounded steps. */
  readonly left: { rotations: number; destructions: number; crashes: number; jumps: number };
  readonly keys: number;
  readonly processes: number;
  readonly wasDestroyed: boolean;
}

/** The protocol, with switches for broken variants. */
export interface Protocol {
  readonly terms: Terms;
  grant: typeof transitions.grant;
  rotate: typeof transitions.rotate;
  destroy: typeof transitions.destroy;
  mend: typeof transitions.mend;
  take: typeof take;
  isLeased: typeof isLeased;
  /** Broken: the lease counts from the arrival of the grant. */
  countsFromArrival?: boolean;
  /** Broken: the ring is read before it is locked. */
  readsBeforeLock?: boolean;
  /** Broken: a replica continues with a released lease. */
  goesOnAfterRelease?: boolean;
}

export const PROTOCOL: Protocol = { terms: TERMS, ...transitions, take, isLeased };

export type Left = World["left"];

export const NO_FAULTS: Left = { rotations: 0, destructions: 0, crashes: 0, jumps: 0 };

export function begin(protocol: Protocol, left: Left): World {
  const world: World = {
    now: 0,
    jumped: 0,
    ring: { version: 0, keys: [], leases: [] },
    replicas: [replica("1"), replica("2")],
    messages: [],
    sealed: {},
    destroyed: {},
    left,
    keys: 0,
    processes: 2,
    wasDestroyed: false,
  };
  return served(world, (now, makeId) => protocol.mend(world.ring, now, makeId));
}

/** Advances until both replicas have leases. */
export function warm(world: World, protocol: Protocol): World {
  const names = ["1 asks", "2 asks", ...Array.from({ length: 4 }, () => "arrived")];
  return names.reduce((from, name) => {
    const found = next(from, protocol).find(([what]) => what.startsWith(name));
    if (found === undefined) throw new Error(`cannot go on: ${name}`);
    return found[1];
  }, world);
}

/** All possible next steps, by name. */
export function next(world: World, protocol: Protocol): [what: string, World][] {
  const { now, replicas, messages, left, ring } = world;
  const steps: [string, World][] = [["a tick passes", { ...world, now: now + 1 }]];
  const add = (what: string, to: World) => steps.push([what, to]);
  const inFlight = (kind: Message["kind"], to: number) =>
    messages.some((message) => message.kind === kind && message.to === to);

  for (const [place, { holder, holding }] of replicas.entries()) {
    const acknowledged = holding.ring?.version ?? 0;
    if (!["renew", "read", "granted"].some((kind) => inFlight(kind as "renew", place))) {
      const renew: Message = { kind: "renew", to: place, holder, asked: now, acknowledged };
      add(`${holder} asks for its lease, having ${acknowledged}`, send(world, renew));
    }
    if (ring.version > acknowledged) {
      const heard = { holder, holding: receive(holding, toRing(ring)) };
      add(`${holder} receives version ${ring.version}`, withReplica(world, place, heard));
    }
    if (left.crashes > 0) {
      const processes = world.processes + 1;
      const crashed = { ...world, processes, left: { ...left, crashes: left.crashes - 1 } };
      add(`${holder} is killed`, withReplica(crashed, place, replica(`${processes}`)));
      // Or it shuts down cleanly: it requests nothing more under its name, and its release arrives while its
      // successor runs.
      const successor = replica(`${processes}`);
      const going = protocol.goesOnAfterRelease ? { holder, holding } : successor;
      if (!inFlight("release", place)) {
        const given = withReplica(crashed, place, going);
        add(`${holder} gives its lease back`, send(given, { kind: "release", to: place, holder }));
      }
    }
  }
  for (const message of messages) {
    const rest = { ...world, messages: messages.filter((each) => each !== message) };
    add(`lost: ${message.kind} of ${message.holder}`, rest);
    add(`arrived: ${message.kind} of ${message.holder}`, deliver(rest, message, protocol));
  }
  if (left.rotations > 0) {
    const to = served(world, (at, makeId) => protocol.rotate(ring, at, protocol.terms, makeId));
    const after = { ...to, left: { ...left, rotations: left.rotations - 1 } };
    if (to.ring !== ring) add("the ring is rotated", after);
  }
  const sealer = ring.keys.find(({ state }) => state === "active")?.id;
  if (left.destructions > 0 && sealer !== undefined) {
    const to = served(world, (at, makeId) =>
      protocol.destroy(ring, sealer, at, protocol.terms, makeId),
    );
    add(`${sealer} is destroyed`, {
      ...to,
      destroyed: { ...world.destroyed, [sealer]: now },
      wasDestroyed: true,
      left: { ...left, destructions: left.destructions - 1 },
    });
  }
  if (left.jumps > 0) {
    const jumped = world.jumped + 1;
    add("the service's clock jumps", {
      ...world,
      jumped,
      left: { ...left, jumps: left.jumps - 1 },
    });
  }
  const swept = served(world, (at, makeId) =>
    protocol.mend(transitions.sweep(ring, at), at, makeId),
  );
  if (swept.ring !== ring) add("the ring is swept and mended", swept);
  return steps.map(([what, to]) => [what, sealing(to, protocol)]);
}

/** Lists the violated invariants of a state. */
export function broken(world: World, protocol: Protocol): string[] {
  const wrong: string[] = [];
  const { now, jumped, ring, sealed, destroyed } = world;
  const { leaseS, keepS } = protocol.terms;
  const leased = world.replicas.filter(({ holding }) => protocol.isLeased(holding, both(now)));
  for (const { holder, holding } of leased) {
    const known = new Map(holding.ring?.keys.map((key) => [key.id, key.state]));
    for (const [key, at] of Object.entries(sealed)) {
      if (at + keepS > now && !known.has(key) && destroyed[key] === undefined) {
        wrong.push(`${holder} may be shown what ${key} sealed, and lacks it`);
      }
    }
    for (const [key, at] of Object.entries(destroyed)) {
      const isIgnorant = known.has(key) && known.get(key) !== "destroyed";
      if (now >= at + leaseS && isIgnorant) {
        wrong.push(`${holder} works with ${key}, destroyed a lease ago`);
      }
    }
    const sealer = sealingOf(holding)?.key.id;
    if (sealer === undefined) continue;
    const kept = ring.keys.find(({ id }) => id === sealer);
    if (kept === undefined || now + jumped + keepS > (kept.openUntil ?? Number.POSITIVE_INFINITY)) {
      wrong.push(`${holder} seals with ${sealer} what outlives it`);
    }
  }
  const live = transitions.liveLeases(ring, now + jumped);
  const isStandingBy = ring.keys.some(
    ({ state, since }) =>
      state === "pending" && live.every(({ acknowledged }) => acknowledged >= since),
  );
  if (!world.wasDestroyed && !isStandingBy) wrong.push("no acknowledged key stands by");
  return wrong;
}

function deliver(world: World, message: Message, protocol: Protocol): World {
  const { to, holder } = message;
  const { now, ring } = world;
  if (message.kind === "renew" && protocol.readsBeforeLock) {
    return send(world, { ...message, kind: "read", ring: toRing(ring) });
  }
  if (message.kind === "renew" || message.kind === "read") {
    const { acknowledged, asked } = message;
    const after = served(world, (at, makeId) =>
      protocol.grant(ring, { holder, acknowledged, reads: 1 }, at, protocol.terms, makeId),
    );
    const carried = message.kind === "read" ? message.ring : toRing(after.ring);
    return send(after, { kind: "granted", to, holder, asked, ring: carried });
  }
  if (message.kind === "release") {
    return served(world, (at, makeId) => transitions.release(ring, holder, at, makeId));
  }
  const receiver = world.replicas[to]!;
  // The receiving process has ended.
  if (receiver.holder !== holder) return world;
  const asked = both(protocol.countsFromArrival ? now : message.asked);
  const grant = { ring: message.ring, durationMs: protocol.terms.leaseS, revision: 1 };
  return withReplica(world, to, { holder, holding: protocol.take(receiver.holding, grant, asked) });
}

/** Every replica that may seal seals. */
function sealing(world: World, protocol: Protocol): World {
  const { now } = world;
  const isKept = (key: string) => world.ring.keys.some(({ id }) => id === key);
  const sealed: Record<string, number> = {};
  for (const [key, at] of Object.entries(world.sealed)) {
    if (at + protocol.terms.keepS > now) sealed[key] = at;
  }
  const destroyed: Record<string, number> = {};
  for (const [key, at] of Object.entries(world.destroyed)) {
    if (isKept(key) || at + protocol.terms.leaseS >= now) destroyed[key] = at;
  }
  for (const { holding } of world.replicas) {
    const key = sealingOf(holding)?.key.id;
    if (key !== undefined && protocol.isLeased(holding, both(now))) sealed[key] = now;
  }
  return { ...world, sealed, destroyed };
}

/** Runs a step of the key service by its own clock. */
function served(world: World, step: (now: number, makeId: transitions.MakeId) => RingState): World {
  let { keys } = world;
  const ring = step(world.now + world.jumped, () => {
    keys += 1;
    return `k${keys}`;
  });
  return { ...world, ring, keys };
}

function send(world: World, message: Message): World {
  return { ...world, messages: [...world.messages, message] };
}

function withReplica(world: World, place: number, changed: Replica): World {
  return { ...world, replicas: world.replicas.with(place, changed) };
}

function replica(holder: string): Replica {
  return { holder, holding: NOTHING };
}

function toRing({ version, keys }: RingState): Ring {
  const key = Buffer.alloc(0);
  return { audience: "a", version, keys: keys.map(({ id, state }) => ({ id, state, key })) };
}

function both(at: number) {
  return { monotonic: at, wall: at };
}

/**
 * Names a state. States get the same name if they differ only in details without an effect, such as the age
 * of an expired lease or which replica is which.
 */
export function nameOf(world: World, protocol: Protocol): string {
  const [one, other] = [nameIn(world, protocol, [0, 1]), nameIn(world, protocol, [1, 0])];
  return one < other ? one : other;
}

function nameIn(world: World, { terms }: Protocol, order: readonly number[]): string {
  const { now, ring, replicas, messages, sealed, destroyed, left, jumped } = world;
  const { leaseS, graceS, keepS } = terms;
  const since = (at: number, most: number) => Math.max(at - now, -most);
  const labels = new Map(order.map((place, label) => [replicas[place]!.holder, `${label}`]));
  const label = (holder: string): string => {
    if (!labels.has(holder)) labels.set(holder, `x${labels.size}`);
    return labels.get(holder)!;
  };
  const keys = ring.keys.map(({ id, state, since: from, openUntil }) => {
    const open = openUntil === undefined ? "" : since(openUntil - jumped, 1);
    const sealedAt = sealed[id] ?? Number.NEGATIVE_INFINITY;
    const alive = sealedAt + keepS > now ? sealedAt - now : "";
    const gone = destroyed[id] === undefined ? "" : since(destroyed[id], leaseS);
    return `${id}${state[0]}${from},${open},${alive},${gone}`;
  });
  const held = order.map((place) => {
    const { holding } = replicas[place]!;
    return `${holding.ring?.version}@${since(holding.until.wall, 0)}`;
  });
  const leases = ring.leases
    .filter(({ expiresAt }) => expiresAt > now + jumped - graceS)
    .map((lease) => `${label(lease.holder)}:${lease.acknowledged}@${lease.expiresAt - now}`)
    .sort();
  const underway = messages
    .map((message) => {
      const asked = "asked" in message ? since(message.asked, leaseS) : "";
      const version = "ring" in message ? message.ring.version : "";
      const known = "acknowledged" in message ? message.acknowledged : "";
      return `${message.kind}${label(message.holder)}@${asked},${known},${version}`;
    })
    .sort();
  return [ring.version, keys, held, leases, underway, Object.values(left), jumped].join("|");
}
