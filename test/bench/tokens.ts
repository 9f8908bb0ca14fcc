import { execFile } from "node:child_process";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { exportJWK, jwtVerify } from "jose";
import pg from "pg";
import { AccessTokens } from "#shared/token/accessTokens.ts";
import { importKeys } from "#shared/token/verificationKeys.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { mint } from "../../services/token/mint.ts";
import type { SigningKey } from "../../services/token/signingKeys.ts";
import { Callers } from "../fixtures/callers.ts";
import { startTestCluster, type TestCluster } from "../fixtures/cluster.ts";
import { makeFamilies } from "../fixtures/families.ts";
import { row } from "./figures.ts";
import { keycloak } from "./keycloak.ts";
import { type OtherServer, oidcProvider } from "./oidcProvider.ts";
import { cpuSecondsOf, cpuSecondsOfTree, writesOfTree } from "./processTimes.ts";

const ROUNDS = 3;
const CALLS = 10_000;
const CONCURRENCY = 50;

interface Load {
  readonly name: string;
  readonly method: string;
  /** A request for each call, or one for all. */
  readonly data: object | object[];
  readonly token?: string;
}

/** What one round of a load has cost. */
interface Cost {
  readonly rate: number;
  readonly serviceUs: number;
  readonly postgresUs: number;
  readonly logBytes: number;
  readonly writes: number;
}

/** Grants, refreshes and introspections of one replica under ghz's load, and what each costs. */
export async function tokens(): Promise<void> {
  const ghz = toolPath("ghz");
  if (ghz === undefined) {
    console.log("  left out: ghz is missing (npm run tools builds it where there is Go)");
    return;
  }
  const cluster = await startTestCluster({
    replicas: 1,
    envoy: false,
    replicaEnv: { WAYBILL_GRANTS_PER_MINUTE: "100000000" },
  });
  const [replica] = cluster.status().replicas;
  const { address } = replica!;
  const { issuer } = cluster.status();
  const callers = new Callers(address, cluster.status().adminSecretFile, issuer);
  const account = await callers.account();
  const { accessToken } = await callers.grant(account.client);
  const client = { client: account.name, secret: account.secret };
  const wishes = Array.from({ length: CALLS * (ROUNDS + 1) }, () => ({}));
  const refreshTokens = (await makeFamilies(cluster, wishes)).map((family) => family.refreshToken);
  const nextRefreshes = () => refreshTokens.splice(0, CALLS);

  console.log(
    "  at a time: 50; of one replica and Postgres, without the front door\n" +
      `  ${"".padEnd(36)} calls/s  service  Postgres   log written  write operations`,
  );
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
  const costs = new Map<string, Cost[]>();
  const others: [name: string, server: OtherServer, figures: number[]][] = [];
  const add = (name: string, server: OtherServer | undefined) => {
    if (server !== undefined) others.push([name, server, []]);
    else console.log(`  left out: ${name}`);
  };
  add("node-oidc-provider 9, in memory", await oidcProvider(CALLS, CONCURRENCY));
  add(
    "Keycloak 26.4 (needs Java and Maven)",
    await keycloak(cluster.databaseUrl, CALLS, CONCURRENCY),
  );
  // Interleaved: what else the machine does meets all alike. The first round warms up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const make of loads) {
      const load = make();
      const cost = await run(ghz, cluster, address, replica!.pid, load);
      if (round > 0) costs.set(load.name, [...(costs.get(load.name) ?? []), cost]);
    }
    for (const [, server, figures] of others) {
      const us = await server.measure();
      if (round > 0) figures.push(us);
    }
  }
  for (const [name, rounds] of costs) {
    const middle = (of: keyof Cost) =>
      rounds.map((each) => each[of]).toSorted((a, b) => a - b)[Math.floor(rounds.length / 2)]!;
    console.log(
      `  ${name.padEnd(36)} ${middle("rate").toFixed(0).padStart(7)} ${`${middle("serviceUs").toFixed(0)} µs`.padStart(8)} ${`${middle("postgresUs").toFixed(0)} µs`.padStart(9)} ${`${middle("logBytes").toFixed(0)} bytes`.padStart(13)} ${middle("writes").toFixed(3).padStart(17)}`,
    );
  }
  for (const [name, server, figures] of others) {
    await server.close();
    row(`client credentials, CPU without a database's: ${name}`, figures, "µs");
  }
  callers.close();
  await cluster.remove();
  await verification();
}

/** What looking at one token costs, in this process; jose's own beside it. */
async function verification(): Promise<void> {
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
  for (let round = 0; round < 7; round += 1) {
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
  row("a token made", figures["mint"]!, "µs");
  row("a token seen for the first time: jose alone", figures["jose"]!, "µs");
  row("… with everything that is looked at besides", figures["first"]!, "µs");
  row("… the one to the other", figures["ratio"]!, "×");
  row("a token that is known", figures["again"]!, "µs");
}

async function run(
  ghz: string,
  cluster: TestCluster,
  address: string,
  pid: number,
  { method, data, token }: Load,
): Promise<Cost> {
  const database = new pg.Client({ connectionString: cluster.databaseUrl });
  await database.connect();
  // The server's own counts lag behind by seconds; the log's end does not.
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
  args.push("--total", `${CALLS}`, "--concurrency", `${CONCURRENCY}`, "--connections", "4");
  const postgres = cluster.status().postgres!.pid;
  const before = {
    service: cpuSecondsOf(pid),
    postgres: cpuSecondsOfTree(postgres),
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
  if (ok !== CALLS) throw new Error(`${method}: ${JSON.stringify(report.statusCodeDistribution)}`);
  const service = cpuSecondsOf(pid) - before.service;
  const postgresS = cpuSecondsOfTree(postgres) - before.postgres;
  const writes = writesOfTree(postgres) - before.writes;
  const logBytes = (await logEnd()) - before.log;
  await database.end();
  return {
    rate: report.rps,
    serviceUs: (service / CALLS) * 1e6,
    postgresUs: (postgresS / CALLS) * 1e6,
    logBytes: logBytes / CALLS,
    writes: writes / CALLS,
  };
}
