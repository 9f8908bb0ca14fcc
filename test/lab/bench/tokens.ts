import { execFile } from "node:child_process";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { exportJWK, jwtVerify } from "jose";
import pg from "pg";
import { AccessTokens } from "waybill/auth";
import { importKeys } from "#shared/auth/tokens/verificationKeys.ts";
import { toolPath } from "../../../deploy/local/tools.ts";
import type { SigningKey } from "../../../services/token/signingKeys/signingKeys.ts";
import { mint } from "../../../services/token/tokens/mint.ts";
import { Callers } from "../../support/callers/callers.ts";
import { makeFamilies } from "../../support/callers/families.ts";
import { startTestCluster, type TestCluster } from "../../support/cluster.ts";
import type { Bench, Suite } from "./bench.ts";
import { keycloak } from "./keycloak.ts";
import { type OtherServer, oidcProvider } from "./oidcProvider.ts";
import { exactCpuUsOfTree, writesOfTree } from "./processTimes.ts";
import { ratios } from "./results/figures.ts";

const CALLS = 10_000;
const CONCURRENCY = 50;

interface Load {
  readonly name: string;
  readonly method: string;
  /** One request per call, or the same for all. */
  readonly data: object | object[];
  readonly token?: string;
}

/** The cost of one round. */
const MEASURES = [
  { name: "rate", unit: "calls/s" },
  { name: "service", unit: "µs of CPU" },
  { name: "Postgres", unit: "µs of CPU" },
  { name: "WAL", unit: "bytes" },
  { name: "write operations", unit: "a call" },
] as const;

type Cost = Record<(typeof MEASURES)[number]["name"], number>;

export const tokens: Suite = {
  about: `Grants, refreshes and introspections of one replica, ${CONCURRENCY} at a time, without the front proxy, compared with other token servers.`,
  async run(bench) {
    if (toolPath("ghz") === undefined) {
      bench.results.leftOut("grants, refreshes, introspections", "ghz needs Go: npm run tools");
    } else await grants(bench, toolPath("ghz")!);
    await verification(bench);
  },
};

async function grants(bench: Bench, ghz: string): Promise<void> {
  const calls = bench.calls(CALLS);
  const starting = startTestCluster({
    replicas: 1,
    envoy: false,
    replicaEnv: { WAYBILL_GRANTS_PER_MINUTE: "100000000" },
  });
  const cluster = await bench.own("the cluster", starting, (each) => each.remove());
  const [replica] = cluster.status().replicas;
  const { address } = replica!;
  const { issuer } = cluster.status();
  const callers = new Callers(address, cluster.status().adminSecretFile, issuer);
  const account = await callers.account();
  const { accessToken } = await callers.grant(account.client);
  const client = { client: account.name, secret: account.secret };
  const wishes = Array.from({ length: calls * (bench.rounds + 1) }, () => ({}));
  const refreshTokens = (await makeFamilies(cluster, wishes)).map((family) => family.refreshToken);
  const nextRefreshes = () => refreshTokens.splice(0, calls);

  const loads: (() => Load)[] = [
    () => ({ name: "health check", method: "grpc.health.v1.Health/Check", data: {} }),
    () => ({
      name: "client credentials, by secret",
      method: "waybill.token.v1.TokenService/GrantClientCredentials",
      data: { client },
    }),
    () => ({
      name: "refresh",
      method: "waybill.token.v1.TokenService/Refresh",
      data: nextRefreshes().map((refresh_token, number) => ({
        refresh_token,
        idempotency_key: `key-of-call-${`${number}`.padStart(6, "0")}`,
      })),
    }),
    () => ({
      name: "introspection",
      method: "waybill.token.v1.TokenService/Introspect",
      data: { token: accessToken },
      token: accessToken,
    }),
  ];
  const costs = new Map<string, Record<keyof Cost, number[]>>();
  const others: [name: string, server: OtherServer, figures: number[]][] = [];
  const add = async (name: string, why: string, starting: Promise<OtherServer | undefined>) => {
    bench.step(`starting ${name}`);
    const server = await starting.catch(() => undefined);
    if (server === undefined) bench.results.leftOut(name, why);
    else others.push([name, await bench.own(name, server, (each) => each.close()), []]);
  };
  await add(
    "node-oidc-provider 9, in memory",
    "npm could not fetch it",
    oidcProvider(calls, CONCURRENCY),
  );
  // Its compiler needs a minute to warm up.
  if (bench.isQuick) bench.results.leftOut("Keycloak 26.4", "not in a quick run");
  else {
    const starting = keycloak(cluster.databaseUrl, calls, CONCURRENCY);
    await add("Keycloak 26.4", "needs Java and Maven", starting);
  }
  // Interleaved, so that disturbances affect all alike. The first round warms up.
  for (let round = 0; round <= bench.rounds; round += 1) {
    for (const make of loads) {
      const load = make();
      bench.step(load.name, round === 0 ? undefined : round);
      const cost = await run({ ghz, calls, cluster, address, pid: replica!.pid }, load);
      if (round === 0) continue;
      const each = costs.get(load.name) ?? {
        ...{ rate: [], service: [], Postgres: [], WAL: [], "write operations": [] },
      };
      costs.set(load.name, each);
      for (const { name } of MEASURES) each[name].push(cost[name]);
    }
    for (const [name, server, figures] of others) {
      bench.step(name, round === 0 ? undefined : round);
      const us = await server.measure();
      if (round > 0) figures.push(us);
    }
  }
  bench.results.table("one replica and Postgres", MEASURES, costs);
  const granted = costs.get("client credentials, by secret")!;
  bench.results.list("client credentials, CPU without the database", "µs", {
    "Waybill, audit event included": granted.service,
    ...Object.fromEntries(others.map(([name, , figures]) => [name, figures])),
  });
  for (const [name, , figures] of others) {
    bench.results.list(`client credentials, relative to ${name}'s CPU`, "×", {
      "Waybill's service": ratios(granted.service, figures),
    });
  }
  callers.close();
}

/** Measures the verification of a token in this process, against jose's. */
async function verification(bench: Bench): Promise<void> {
  bench.step("verification, in this process");
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const key: SigningKey = {
    ...{ id: "k1", algorithm: "EdDSA", publicJwk: {}, key: privateKey, state: "active" },
    ...{ createdAt: new Date(), activatesAt: new Date() },
  };
  const jwk = { ...(await exportJWK(publicKey)), kid: "k1", alg: "EdDSA" };
  const known = await importKeys({ keys: [jwk] }, ["EdDSA"]);
  const keys = { find: (kid: string) => known.get(kid), refresh: async () => {} };
  const nowS = Math.floor(Date.now() / 1000);
  const claims = {
    ...{ subject: "users/0198f7a0-0000-7000-8000-000000000000", client: "serviceAccounts/web" },
    ...{ audiences: ["checkout"], scopes: [], expiresAt: nowS + 300, epoch: 1 },
    ...{ family: randomUUID(), actors: [], mayAct: undefined, confirmation: undefined },
  };
  const COUNT = 3000;
  const options = {
    ...{ issuer: "https://a", typ: "at+jwt", algorithms: ["EdDSA"], clockTolerance: 60 },
    requiredClaims: ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "epoch"],
  };
  const figures = {
    mint: [] as number[],
    jose: [] as number[],
    first: [],
    again: [],
    ratio: [],
  } as Record<string, number[]>;
  for (let round = 0; round <= bench.rounds; round += 1) {
    const tokens = new AccessTokens("https://a", keys);
    const perCall = async (work: () => unknown) => {
      const startedAt = performance.now();
      await work();
      return ((performance.now() - startedAt) / COUNT) * 1000;
    };
    const jwts: string[] = [];
    const mintUs = await perCall(() => {
      for (let n = 0; n < COUNT; n += 1) jwts.push(mint("https://a", key, claims, nowS));
    });
    const joseUs = await perCall(async () => {
      for (const jwt of jwts) await jwtVerify(jwt, known.get("k1")!.key, options);
    });
    const firstUs = await perCall(async () => {
      for (const jwt of jwts) await tokens.verify(jwt);
    });
    const againUs = await perCall(() => {
      for (const jwt of jwts) void tokens.verify(jwt);
    });
    if (round === 0) continue;
    for (const [name, us] of Object.entries({
      mint: mintUs,
      jose: joseUs,
      first: firstUs,
      again: againUs,
      ratio: firstUs / joseUs,
    })) {
      figures[name]!.push(us);
    }
  }
  bench.results.list("an access token, in one process", "µs", {
    signed: figures["mint"]!,
    "first use: jose's jwtVerify alone": figures["jose"]!,
    "… with all other checks": figures["first"]!,
    cached: figures["again"]!,
  });
  bench.results.list("first use of a token, relative to jose's jwtVerify alone", "×", {
    "with all other checks": figures["ratio"]!,
  });
}

interface Measuring {
  readonly ghz: string;
  readonly calls: number;
  readonly cluster: TestCluster;
  readonly address: string;
  readonly pid: number;
}

async function run(
  { ghz, calls, cluster, address, pid }: Measuring,
  { method, data, token }: Load,
): Promise<Cost> {
  const database = new pg.Client({ connectionString: cluster.databaseUrl });
  await database.connect();
  // The server's statistics lag by seconds; the end of the WAL does not.
  const logEnd = async () => {
    const { rows } = await database.query<{ at: string }>(
      "SELECT (pg_current_wal_insert_lsn() - '0/0')::text AS at",
    );
    return Number(rows[0]!.at);
  };
  const file = join(tmpdir(), `waybill-bench-${process.pid}.json`);
  writeFileSync(file, JSON.stringify(data));
  const args = ["--insecure", "--call", method, "--data-file", file, "--format", "json"];
  if (token !== undefined) {
    args.push("--metadata", JSON.stringify({ authorization: `Bearer ${token}` }));
  }
  args.push("--total", `${calls}`, "--concurrency", `${CONCURRENCY}`, "--connections", "4");
  const postgres = cluster.status().postgres!.pid;
  const before = {
    service: exactCpuUsOfTree(pid),
    postgres: exactCpuUsOfTree(postgres),
    writes: writesOfTree(postgres),
    log: await logEnd(),
  };
  const { stdout } = await promisify(execFile)(ghz, [...args, address], {
    maxBuffer: 256 * 2 ** 20,
  });
  const report = JSON.parse(stdout) as {
    rps: number;
    statusCodeDistribution: Record<string, number>;
  };
  const ok = report.statusCodeDistribution["OK"] ?? 0;
  if (ok !== calls) throw new Error(`${method}: ${JSON.stringify(report.statusCodeDistribution)}`);
  const service = exactCpuUsOfTree(pid) - before.service;
  const postgresUs = exactCpuUsOfTree(postgres) - before.postgres;
  const writes = writesOfTree(postgres) - before.writes;
  const logBytes = (await logEnd()) - before.log;
  await database.end();
  return {
    rate: report.rps,
    service: service / calls,
    Postgres: postgresUs / calls,
    WAL: logBytes / calls,
    "write operations": writes / calls,
  };
}
