import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Metadata, ServiceError } from "@grpc/grpc-js";
import { calculateJwkThumbprint } from "jose";
import { type ClientAuthentication, TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import { readError } from "#shared/errors.ts";
import { type Account, Callers, ProofKey } from "../../support/callers/callers.ts";
import { makeFamilies } from "../../support/callers/families.ts";
import { startTestCluster } from "../../support/cluster.ts";
import { seededRandom } from "../../support/random.ts";
import { startLossyProxy } from "./lossyProxy.ts";

/** How a client authenticates when it refreshes. */
type Kind = "key" | "bare" | "confidential" | "bound";
/** The scenario of a client. `twoStores`: two programs refresh with unsynchronized copies of one store. */
type Fate = "honest" | "late" | "first" | "shadow" | "twoStores";

export interface FleetOptions {
  readonly clients: number;
  /** Refreshes of each client. */
  readonly rounds: number;
  /** Percentage of lost responses. */
  readonly lossPercent: number;
  tell(line: string): void;
}

/** The results of the families of one client kind and scenario. */
export interface Outcome {
  readonly kind: Kind;
  readonly fate: Fate;
  readonly families: number;
  /** Revoked by an alarm (reuse detection). */
  readonly ended: number;
  /** A thief obtained a successor. */
  readonly robbed: number;
  /** Thefts without an alarm, although thief and victim both continued. */
  readonly missed: number;
  /** Most refreshes between a theft and its alarm. */
  readonly slowest: number;
}

export interface FleetReport {
  readonly outcomes: readonly Outcome[];
  readonly refreshes: number;
  readonly lost: number;
  /** Families in which one token got two different successors. */
  readonly forked: number;
  /** Honest clients that were refused. */
  readonly signedOut: number;
  /** Killed replicas. */
  readonly kills: number;
}

interface Member {
  readonly kind: Kind;
  readonly fate: Fate;
  readonly family: string;
  readonly key: ProofKey | undefined;
  /** Clock skew, in ms. */
  readonly skewMs: number;
  mine: string;
  /** The token of the thief, or of the other store. */
  theirs: string | undefined;
  ended: boolean;
  robbed: boolean;
  sinceTheft: number;
  refused: boolean;
}

const KINDS: readonly [Kind, number][] = [
  ["key", 55],
  ["bare", 15],
  ["confidential", 15],
  ["bound", 15],
];
const FATES: readonly [Fate, number][] = [
  ["honest", 80],
  ["late", 5],
  ["first", 5],
  ["shadow", 6],
  ["twoStores", 4],
];
const LANES = 40;
const MAX_ATTEMPTS = 12;

/** Lets a fleet of clients, some with thieves, refresh through a lossy network. */
export async function runFleet(options: FleetOptions): Promise<FleetReport> {
  const random = seededRandom();
  const pick = <T>(shares: readonly [T, number][]): T => {
    let at = random.below(100);
    for (const [value, share] of shares) {
      at -= share;
      if (at < 0) return value;
    }
    return shares[0]![0];
  };
  options.tell("starting a cluster");
  const cluster = await startTestCluster();
  const callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  const account = await callers.account();
  const proxy = await startLossyProxy(
    cluster.target,
    () => random.below(1000) < options.lossPercent * 10,
  );
  const members = await makeMembers(cluster, account, options.clients, pick, random.below);
  const issued = new Map<string, Set<string>>();
  let refreshes = 0;
  let kills = 0;
  /** Kills a replica twice a round, in the middle of it; the cluster restarts it. */
  const killNow = () => {
    const { replicas } = cluster.status();
    const victim = replicas[random.below(replicas.length)];
    if (victim === undefined || replicas.length < 2) return;
    process.kill(victim.pid, "SIGKILL");
    kills += 1;
  };
  const killEvery = Math.max(100, Math.floor(options.clients / 2));

  /** Refreshes once, with retries until a response. Undefined: refused. */
  const refresh = async (
    client: ServiceClient<typeof TokenServiceService>,
    member: Pick<Member, "kind" | "skewMs">,
    token: string,
    proof: ProofKey | undefined,
    authentication: ClientAuthentication | undefined,
    generations: Set<string>,
  ): Promise<string | undefined> => {
    const idempotencyKey = member.kind === "bare" ? "" : randomBytes(16).toString("base64url");
    const request = {
      refreshToken: token,
      idempotencyKey,
      client: authentication,
      wanted: undefined,
    };
    for (let attempt = 1; ; attempt += 1) {
      refreshes += 1;
      if (refreshes % killEvery === 0) killNow();
      try {
        const metadata = proof && skewed(proof, callers.issuer, member.skewMs);
        const settings = { timeoutMs: 20_000, ...(metadata && { metadata }) };
        const { refreshToken } = await client.refresh(request, settings);
        generations.add(`${generationOf(token)} ${refreshToken}`);
        return refreshToken;
      } catch (error) {
        const { reason } = readError(error as ServiceError);
        if (reason === "INVALID_GRANT" || reason === "INVALID_CLIENT") return undefined;
        if (attempt === MAX_ATTEMPTS) throw error;
        await delay(10 * 2 ** Math.min(attempt, 7) * (0.5 + Math.random()));
      }
    }
  };

  const turn = async (
    client: ServiceClient<typeof TokenServiceService>,
    member: Member,
    round: number,
  ): Promise<void> => {
    if (member.ended || member.refused) return;
    const generations = issued.get(member.family)!;
    const own = member.kind === "confidential" ? account.client : undefined;
    const before = member.mine;
    const byMe = () => refresh(client, member, member.mine, member.key, own, generations);
    // A thief has only the token: no key, client secret or idempotency key.
    const byThief = (token: string) => {
      const thief = { kind: member.kind === "bare" ? "bare" : "key", skewMs: 0 } as const;
      return refresh(client, thief, token, undefined, undefined, generations);
    };
    const settle = (mine: string | undefined) => {
      if (mine === undefined) member.refused = true;
      else member.mine = mine;
      if (member.robbed) member.sinceTheft += 1;
    };
    const isTime = round >= 2;
    switch (member.fate) {
      case "honest":
        settle(await byMe());
        return;
      case "twoStores": {
        member.theirs ??= member.mine;
        settle(await byMe());
        const theirs = await refresh(client, member, member.theirs, member.key, own, generations);
        if (theirs === undefined) member.refused = true;
        else member.theirs = theirs;
        return;
      }
      case "first": {
        // Before its owner does; from then on each continues with its own token.
        if (isTime && !member.robbed) {
          member.theirs = await byThief(before);
          member.robbed = member.theirs !== undefined;
          settle(await byMe());
          return;
        }
        settle(await byMe());
        if (member.theirs !== undefined) member.theirs = await byThief(member.theirs);
        return;
      }
      case "late":
        // A token that its owner spent two refreshes ago.
        settle(await byMe());
        if (isTime) {
          const old = member.theirs;
          member.theirs = before;
          if (old !== undefined && old !== before && (await byThief(old)) !== undefined) {
            member.robbed = true;
          }
        }
        return;
      case "shadow": {
        settle(await byMe());
        if (!isTime || member.refused) return;
        await delay(1000);
        const theirs = await byThief(before);
        if (theirs !== undefined) {
          member.robbed = true;
          member.theirs = theirs;
        }
        return;
      }
    }
  };

  for (const member of members) issued.set(member.family, new Set());
  const lanes = Array.from({ length: LANES }, () =>
    createClient(TokenServiceService, proxy.target, {
      channel: {
        "grpc.use_local_subchannel_pool": 1,
        "grpc.initial_reconnect_backoff_ms": 20,
        "grpc.max_reconnect_backoff_ms": 100,
      },
    }),
  );
  for (let round = 0; round < options.rounds; round += 1) {
    // A client that waits out the second does not delay the others.
    const waiting: Promise<void>[] = [];
    await Promise.all(
      lanes.map(async (client, lane) => {
        for (let index = lane; index < members.length; index += LANES) {
          const member = members[index]!;
          const done = turn(client, member, round);
          if (member.fate === "shadow") waiting.push(done);
          else await done;
        }
      }),
    );
    await Promise.all(waiting);
    await markEnded(callers, cluster, members);
    options.tell(
      `round ${round + 1} of ${options.rounds}: ${refreshes} refreshes, ${proxy.lost()} answers lost, ${kills} replicas killed`,
    );
  }
  for (const client of lanes) client.close();
  const report = {
    outcomes: summarize(members),
    refreshes,
    lost: proxy.lost(),
    kills,
    forked: [...issued.values()].filter(isForked).length,
    signedOut: members.filter(({ fate, refused, ended }) => fate === "honest" && (refused || ended))
      .length,
  };
  await proxy.close();
  callers.close();
  await cluster.remove();
  return report;
}

async function makeMembers(
  cluster: Parameters<typeof makeFamilies>[0],
  account: Account,
  count: number,
  pick: <T>(shares: readonly [T, number][]) => T,
  below: (limit: number) => number,
): Promise<Member[]> {
  const drawn = await Promise.all(
    Array.from({ length: count }, async () => {
      const kind = pick(KINDS);
      const key = kind === "bound" ? new ProofKey() : undefined;
      const thumbprint = key && (await calculateJwkThumbprint(key.jwk));
      return { kind, fate: pick(FATES), key, thumbprint };
    }),
  );
  const families = await makeFamilies(
    cluster,
    drawn.map(({ kind, thumbprint }) => ({
      ...(kind === "confidential" && { client: account.name }),
      ...(thumbprint && { confirmation: `jkt:${thumbprint}` }),
    })),
  );
  return drawn.map(({ kind, fate, key }, index) => ({
    ...{ kind, fate, key, family: families[index]!.id, mine: families[index]!.refreshToken },
    ...{ theirs: undefined, ended: false, robbed: false, sinceTheft: 0, refused: false },
    skewMs: (below(101) - 50) * 1000,
  }));
}

/** Signs a proof with a skewed clock. */
function skewed(proof: ProofKey, issuer: string, skewMs: number): Metadata {
  const { now } = Date;
  try {
    Date.now = () => now() + skewMs;
    return proof.proving(`${issuer}${TokenServiceService.refresh.path}`).metadata;
  } finally {
    Date.now = now;
  }
}

async function markEnded(
  _callers: Callers,
  cluster: { databaseUrl: string },
  members: readonly Member[],
): Promise<void> {
  const { default: pg } = await import("pg");
  const database = new pg.Client({ connectionString: cluster.databaseUrl });
  await database.connect();
  const { rows } = await database.query<{ id: string }>(
    "SELECT id FROM token.family WHERE ended_at IS NOT NULL",
  );
  await database.end();
  const ended = new Set(rows.map(({ id }) => id));
  for (const member of members) member.ended = ended.has(member.family);
}

function generationOf(token: string): number {
  return Buffer.from(token.slice(4), "base64url").readUInt32BE(16);
}

/** Reports whether one token got two successors. */
function isForked(generations: ReadonlySet<string>): boolean {
  const predecessors = [...generations].map((each) => each.split(" ")[0]);
  return new Set(predecessors).size !== predecessors.length;
}

function summarize(members: readonly Member[]): Outcome[] {
  const groups = Map.groupBy(members, ({ kind, fate }) => `${fate} ${kind}`);
  return [...groups.values()]
    .map((group): Outcome => {
      const { kind, fate } = group[0]!;
      const robbed = group.filter((member) => member.robbed);
      return {
        kind,
        fate,
        families: group.length,
        ended: group.filter(({ ended }) => ended).length,
        robbed: robbed.length,
        missed: robbed.filter(({ ended }) => !ended).length,
        slowest: Math.max(0, ...robbed.map(({ sinceTheft }) => sinceTheft)),
      };
    })
    .toSorted((a, b) => `${a.fate}${a.kind}`.localeCompare(`${b.fate}${b.kind}`));
}
