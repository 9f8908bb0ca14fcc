import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  Audience,
  Issuer,
  Scope,
  ServiceAccount,
  User,
} from "#proto/waybill/identity/v1/identity.ts";
import { bearer, Callers, claimsOf, makeSigner, SECRET } from "../support/callers/callers.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { refusal, untilRefused } from "../support/refusal.ts";

let cluster: TestCluster;
let callers: Callers;
let admin: { metadata: Metadata };

beforeAll(async () => {
  cluster = await startTestCluster({ replicaEnv: { WAYBILL_GRANTS_PER_MINUTE: "200" } });
  callers = new Callers(cluster.target, cluster.status().adminSecretFile);
  admin = await callers.admin();
});
afterAll(async () => {
  callers?.close();
  await cluster?.remove();
});

const page = { pageSize: 0, pageToken: "" };

test("only the first start creates an administrator", async () => {
  const file = cluster.status().adminSecretFile;
  expect(file.startsWith(cluster.dataDir)).toBe(true);
  const { statSync } = await import("node:fs");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readFileSync(file, "utf8").trim()).toHaveLength(43);
  const account = await callers.identity.getServiceAccount(
    { name: "serviceAccounts/admin" },
    admin,
  );
  expect(account.scopes).toContain("identity.admin");
});

/** A resource type with its standard methods. */
interface Kind {
  readonly create: (id: string) => Promise<{ name: string; etag: string }>;
  readonly get: (name: string) => Promise<{ name: string; etag: string }>;
  readonly list: (pageToken: string) => Promise<{ names: string[]; nextPageToken: string }>;
  readonly update: (name: string, etag: string, mask: string[]) => Promise<{ etag: string }>;
  readonly remove: (name: string, etag: string) => Promise<unknown>;
}
const names = (resources: { name: string }[]) => resources.map(({ name }) => name);
const identity = () => callers.identity;
const KINDS: Record<string, Kind> = {
  serviceAccounts: {
    create: (id) =>
      identity().createServiceAccount(
        { serviceAccount: ServiceAccount.fromPartial({ displayName: "A" }), serviceAccountId: id },
        admin,
      ),
    get: (name) => identity().getServiceAccount({ name }, admin),
    list: async (pageToken) => {
      const answer = await identity().listServiceAccounts({ pageSize: 2, pageToken }, admin);
      return { ...answer, names: names(answer.serviceAccounts) };
    },
    update: (name, etag, updateMask) =>
      identity().updateServiceAccount(
        {
          serviceAccount: ServiceAccount.fromPartial({ name, etag, displayName: "B" }),
          updateMask,
        },
        admin,
      ),
    remove: (name, etag) => identity().deleteServiceAccount({ name, etag }, admin),
  },
  users: {
    create: (id) =>
      identity().createUser(
        { user: User.fromPartial({ username: id, displayName: "A" }), secret: SECRET },
        admin,
      ),
    get: (name) => identity().getUser({ name }, admin),
    list: async (pageToken) => {
      const answer = await identity().listUsers({ pageSize: 2, pageToken }, admin);
      return { ...answer, names: names(answer.users) };
    },
    update: (name, etag, updateMask) =>
      identity().updateUser(
        { user: User.fromPartial({ name, etag, displayName: "B" }), updateMask },
        admin,
      ),
    remove: (name, etag) => identity().deleteUser({ name, etag }, admin),
  },
  issuers: {
    create: (id) =>
      identity().createIssuer(
        {
          issuer: Issuer.fromPartial({ issuer: `https://${id}.example`, jwksUri: "https://a/b" }),
          issuerId: id,
        },
        admin,
      ),
    get: (name) => identity().getIssuer({ name }, admin),
    list: async (pageToken) => {
      const answer = await identity().listIssuers({ pageSize: 2, pageToken }, admin);
      return { ...answer, names: names(answer.issuers) };
    },
    update: (name, etag, mask) =>
      identity().updateIssuer(
        {
          issuer: Issuer.fromPartial({ name, etag, audience: "B" }),
          updateMask: mask.map((path) => (path === "display_name" ? "audience" : path)),
        },
        admin,
      ),
    remove: (name, etag) => identity().deleteIssuer({ name, etag }, admin),
  },
  scopes: {
    create: (id) =>
      identity().createScope(
        { scope: Scope.fromPartial({ description: "A" }), scopeId: id },
        admin,
      ),
    get: (name) => identity().getScope({ name }, admin),
    list: async (pageToken) => {
      const answer = await identity().listScopes({ pageSize: 2, pageToken }, admin);
      return { ...answer, names: names(answer.scopes) };
    },
    update: (name, etag, mask) =>
      identity().updateScope(
        {
          scope: Scope.fromPartial({ name, etag, description: "B" }),
          updateMask: mask.map((path) => (path === "display_name" ? "description" : path)),
        },
        admin,
      ),
    remove: (name, etag) => identity().deleteScope({ name, etag }, admin),
  },
  audiences: {
    create: (id) =>
      identity().createAudience(
        { audience: Audience.fromPartial({ description: "A" }), audienceId: id },
        admin,
      ),
    get: (name) => identity().getAudience({ name }, admin),
    list: async (pageToken) => {
      const answer = await identity().listAudiences({ pageSize: 2, pageToken }, admin);
      return { ...answer, names: names(answer.audiences) };
    },
    update: (name, etag, mask) =>
      identity().updateAudience(
        {
          audience: Audience.fromPartial({ name, etag, description: "B" }),
          updateMask: mask.map((path) => (path === "display_name" ? "description" : path)),
        },
        admin,
      ),
    remove: (name, etag) => identity().deleteAudience({ name, etag }, admin),
  },
};

for (const [collection, kind] of Object.entries(KINDS)) {
  test(`${collection}: created, read, listed, updated by etag, deleted`, async () => {
    const made = [];
    for (const id of ["zz-a", "zz-b", "zz-c"]) made.push(await kind.create(id));
    expect(await refusal(kind.create("zz-a"))).toMatchObject({ reason: "ALREADY_EXISTS" });
    const [first] = made as [(typeof made)[number]];
    expect(await kind.get(first.name)).toMatchObject({ name: first.name, etag: first.etag });

    const listed: string[] = [];
    for (let token = ""; ; ) {
      const { names: some, nextPageToken } = await kind.list(token);
      listed.push(...some);
      token = nextPageToken;
      if (token === "") break;
    }
    for (const { name } of made) expect(listed.filter((each) => each === name)).toHaveLength(1);
    expect(listed).toEqual([...listed].sort());

    const changed = await kind.update(first.name, first.etag, ["display_name"]);
    expect(changed).not.toMatchObject({ etag: first.etag });
    // Two callers read the same version: the second write is refused, so no update is lost.
    for (const lost of [
      () => kind.update(first.name, first.etag, ["display_name"]),
      () => kind.remove(first.name, first.etag),
    ]) {
      expect(await refusal(lost())).toMatchObject({ reason: "ETAG_MISMATCH" });
    }
    const wrong = kind.update(first.name, "", ["create_time"]);
    expect(await refusal(wrong)).toMatchObject({
      reason: "FIELD_NOT_CHANGEABLE",
      violations: [{ field: "update_mask", description: "create_time can't be changed" }],
    });
    for (const { name } of made) await kind.remove(name, "");
    for (const gone of [
      () => kind.get(first.name),
      () => kind.update(first.name, "", ["display_name"]),
      () => kind.remove(first.name, ""),
    ]) {
      expect(await refusal(gone())).toMatchObject({ reason: "NOT_FOUND" });
    }
  });
}

test("an account recreated under an old name inherits nothing", async () => {
  const id = "phoenix";
  const before = await callers.account({}, id);
  const { accessToken } = await callers.grant(before.client);
  await callers.identity.deleteServiceAccount({ name: before.name, etag: "" }, admin);
  const after = await callers.account({}, id);
  const use = (jwt: string) => callers.token.introspect({ token: "x" }, bearer(jwt));
  expect(await untilRefused(() => use(accessToken))).toMatchObject({
    reason: "CREDENTIAL_INVALID",
  });
  expect(await untilRefused(() => callers.grant(before.client))).toMatchObject({
    reason: "INVALID_CLIENT",
  });
  const { accessToken: fresh } = await callers.grant(after.client);
  expect((await use(fresh)).active).toBe(false);
});

test("an invalid resource is refused by field name", async () => {
  const { jwks } = await makeSigner("k");
  const { keys } = JSON.parse(jwks) as { keys: object[] };
  const account = (changes: Partial<ServiceAccount>) =>
    callers.identity.createServiceAccount(
      { serviceAccount: ServiceAccount.fromPartial(changes), serviceAccountId: "wrong" },
      admin,
    );
  const issuer = (changes: Partial<Issuer>) =>
    callers.identity.createIssuer(
      {
        issuer: Issuer.fromPartial({ issuer: "https://i", jwksUri: "https://i/j", ...changes }),
        issuerId: "wrong",
      },
      admin,
    );
  const signUp = (username: string, secret: string) =>
    callers.identity.signUp({ username, secret, displayName: "" });
  for (const [call, field] of [
    [() => account({ jwks: "{" }), "service_account.jwks"],
    [
      () => account({ jwks: '{"keys":[{"kty":"oct","k":"AA","kid":"k"}]}' }),
      "service_account.jwks",
    ],
    [() => account({ jwks: JSON.stringify({ keys: [...keys, ...keys] }) }), "service_account.jwks"],
    [
      () => account({ jwks: JSON.stringify({ keys: [{ ...keys[0], d: "AA" }] }) }),
      "service_account.jwks",
    ],
    [() => account({ scopes: ["Not a scope"] }), "service_account.scopes[0]"],
    [() => issuer({ issuer: "" }), "issuer.issuer"],
    [() => issuer({ jwksUri: "http://i/j" }), "issuer.jwks_uri"],
    [() => issuer({ jwksUri: "https://u:p@i/j" }), "issuer.jwks_uri"],
    [() => issuer({ jwksUri: "file:///etc/passwd" }), "issuer.jwks_uri"],
    [() => issuer({ caCertificate: "no certificate" }), "issuer.ca_certificate"],
    [() => issuer({ algorithms: ["none"] }), "issuer.algorithms[0]"],
    [() => issuer({ algorithms: ["HS256"] }), "issuer.algorithms[0]"],
    [() => signUp("a b", SECRET), "username"],
    [() => signUp("ada-short", "eleven char"), "secret"],
  ] as const) {
    const { reason, violations } = await refusal(call());
    expect([reason, violations[0]?.field]).toEqual(["INVALID_FIELD", field]);
  }
});

test("an issuer's tokens default to RS256", async () => {
  for (const [given, kept] of [
    [[], ["RS256"]],
    [
      ["ES256", "EdDSA"],
      ["ES256", "EdDSA"],
    ],
  ]) {
    const issuer = Issuer.fromPartial({ issuer: "https://alg.example", jwksUri: "https://i/j" });
    const request = { issuer: { ...issuer, algorithms: given! }, issuerId: "alg" };
    const made = await callers.identity.createIssuer(request, admin);
    expect(made.algorithms).toEqual(kept);
    await callers.identity.deleteIssuer({ name: made.name, etag: made.etag }, admin);
  }
});

test("a user reads only their own account", async () => {
  const [ada, bob] = [await callers.person(), await callers.person()];
  const { accessToken } = await callers.signIn(ada);
  const get = (name: string) => callers.identity.getUser({ name }, bearer(accessToken));
  expect((await get("users/me")).username).toBe(ada.username);
  expect((await get(ada.name)).username).toBe(ada.username);
  expect(await refusal(get(bob.name))).toMatchObject({ reason: "ACCESS_DENIED" });
  const end = callers.identity.endUserSessions({ name: bob.name }, bearer(accessToken));
  expect(await refusal(end)).toMatchObject({ reason: "ACCESS_DENIED" });
  const account = await callers.account();
  const { accessToken: noUser } = await callers.grant(account.client);
  expect(
    await refusal(callers.identity.getUser({ name: "users/me" }, bearer(noUser))),
  ).toMatchObject({ reason: "NOT_A_USER" });
});

test("users change their own secrets, administrators any", async () => {
  const person = await callers.person();
  const { accessToken } = await callers.signIn(person);
  const change = (oldSecret: string) =>
    callers.identity.changeSecret({ oldSecret, newSecret: "a new secret" }, bearer(accessToken));
  expect(await refusal(change("not the old one"))).toMatchObject({ reason: "SECRET_WRONG" });
  await change(SECRET);
  expect(await refusal(callers.signIn(person))).toMatchObject({ reason: "INVALID_GRANT" });
  await callers.signIn({ ...person, secret: "a new secret" });
});

/** Makes a client whose calls seem to reach the front proxy from the address. */
function from(address: string) {
  const secret = readFileSync(
    join(cluster.dataDir, "secrets", "front-proxy-secret"),
    "utf8",
  ).trim();
  const metadata = new Metadata();
  metadata.set("x-waybill-front-proxy", secret);
  metadata.set("x-forwarded-for", address);
  return { metadata };
}

test("G1 sign-in is limited by account and address", async () => {
  const direct = cluster
    .status()
    .replicas.map(({ address }) => new Callers(address, cluster.status().adminSecretFile));
  const person = await callers.person();
  let turn = 0;
  const attempt = (address: string, secret: string, username = person.username) => {
    turn += 1;
    return direct[turn % 2]!.signIn({ username, secret }, {}, from(address));
  };
  const failures = async (address: string, count: number, username = person.username) => {
    const reasons = [];
    for (let n = 0; n < count; n += 1) {
      reasons.push((await refusal(attempt(address, "wrong secret", username))).reason);
    }
    return reasons;
  };
  // An account accepts ten attempts from one address; then it refuses the right secret, too.
  expect(await failures("203.0.113.1", 11)).toEqual([
    ...Array.from({ length: 10 }, () => "INVALID_GRANT"),
    "TOO_MANY_ATTEMPTS",
  ]);
  const refused = await refusal(attempt("203.0.113.1", SECRET));
  expect(refused.reason).toBe("TOO_MANY_ATTEMPTS");
  expect(refused.retryAfterMs).toBeGreaterThan(200_000);
  // The owner signs in from elsewhere; successful attempts do not count.
  for (let n = 0; n < 12; n += 1) {
    expect((await attempt("198.51.100.7", SECRET)).refreshToken).toMatch(/^wbr_/);
  }
  // An address has thirty attempts a minute for all accounts; an IPv6 network counts as one address.
  const others = [];
  for (let n = 0; n < 31; n += 1) {
    others.push(...(await failures(`2001:db8:1:2::${n}`, 1, `nobody-${n}`)));
  }
  expect(others.slice(0, 30)).toEqual(Array.from({ length: 30 }, () => "INVALID_GRANT"));
  expect(others[30]).toBe("TOO_MANY_ATTEMPTS");
  for (const each of direct) each.close();
});

test("G1 strangers' attempts do not lock an account's owner out", async () => {
  const { default: pg } = await import("pg");
  const direct = new Callers(
    cluster.status().replicas[0]!.address,
    cluster.status().adminSecretFile,
  );
  const person = await callers.person();
  const tryIn = (address: string, secret: string) =>
    direct.signIn({ ...person, secret }, {}, from(address)).then(
      () => "signed in",
      async (error: ServiceError) => (await refusal(Promise.reject(error))).reason,
    );
  expect(await tryIn("198.51.100.1", SECRET)).toBe("signed in");
  // As if a hundred other addresses had tried.
  const database = new pg.Client({ connectionString: cluster.databaseUrl });
  await database.connect();
  await database.query(
    `UPDATE identity.attempt SET count = 1000
      WHERE key = sha256(convert_to($1, 'UTF8'))`,
    [JSON.stringify(["account", person.username])],
  );
  await database.end();
  // An address from which the owner signed in before is not affected.
  for (let n = 0; n < 5; n += 1) expect(await tryIn("198.51.100.1", "wrong")).toBe("INVALID_GRANT");
  expect(await tryIn("198.51.100.1", SECRET)).toBe("signed in");
  // Every other address has one attempt.
  expect(await tryIn("203.0.113.50", "wrong")).toBe("INVALID_GRANT");
  expect(await tryIn("203.0.113.50", SECRET)).toBe("TOO_MANY_ATTEMPTS");
  expect(await tryIn("203.0.113.51", SECRET)).toBe("signed in");
  direct.close();
});

test("grants are limited by client across replicas", async () => {
  const { client } = await callers.account();
  const reasons = await Promise.all(
    Array.from({ length: 500 }, () =>
      callers.grant(client).then(
        () => "granted",
        async (error: ServiceError) => (await refusal(Promise.reject(error))).reason,
      ),
    ),
  );
  const granted = reasons.filter((reason) => reason === "granted").length;
  // Each replica's last batch may exceed the limit.
  expect(granted).toBeGreaterThanOrEqual(200);
  expect(granted).toBeLessThanOrEqual(300);
  expect(reasons).toContain("TOO_MANY_GRANTS");
  const other = await callers.account();
  expect((await callers.grant(other.client)).accessToken).not.toBe("");
});

test("the next sign-in replaces an outdated hash", async () => {
  const { default: pg } = await import("pg");
  const { SecretHasher } = await import("../../services/identity/secretHasher.ts");
  const person = await callers.person();
  const old = await new SecretHasher({ memoryKib: 64, passes: 1, lanes: 1 }).hash(SECRET);
  const database = new pg.Client({ connectionString: cluster.databaseUrl });
  await database.connect();
  const [id] = [person.name.slice("users/".length)];
  await database.query(`UPDATE identity."user" SET secret_hash = $2 WHERE id = $1`, [id, old]);
  await callers.signIn(person);
  const { rows } = await database.query(`SELECT secret_hash FROM identity."user" WHERE id = $1`, [
    id,
  ]);
  expect(rows[0].secret_hash).toContain("$m=19456,t=2,p=1$");
  await database.end();
  await callers.signIn(person);
});

test("generated keys and the first administrator leave audit events", async () => {
  const filter = { ...page, actor: "", target: "", action: "" };
  const actions = async (list: typeof callers.token.listAuditEvents, action: string) =>
    (await list({ ...filter, action }, admin)).auditEvents.map(({ actor, target }) => [
      actor,
      target,
    ]);
  const { listAuditEvents, listKeyAuditEvents } = callers.identity;
  // An access key and a refresh key, made by the first replica that started.
  const made = await actions(callers.token.listAuditEvents, "signingKey.make");
  expect(made).toHaveLength(2);
  expect(made[0]![0]).toBe("services/token");
  const rings = await actions(listKeyAuditEvents, "ring.make");
  expect(rings.map(([actor]) => actor).sort()).toEqual(
    // An audience with anchored sessions has a second ring, for saved responses.
    ["catalog", "checkout", "checkout", "identity", "session", "session", "token"].map(
      (role) => `services/${role}`,
    ),
  );
  expect(await actions(listAuditEvents, "serviceAccount.create")).toContainEqual([
    "migration",
    "serviceAccounts/admin",
  ]);
});

test("every change leaves one audit event without secrets", async () => {
  const person = await callers.person("audited");
  const { accessToken, refreshToken } = await callers.signIn(person);
  await callers.refresh(refreshToken, { key: "0123456789abcdef" });
  await refusal(callers.signIn({ ...person, secret: "a wrong secret" }));
  await callers.identity.endUserSessions({ name: person.name }, admin);
  const filter = { ...page, actor: "", target: person.name, action: "" };
  const { auditEvents: changes } = await callers.identity.listAuditEvents(filter, admin);
  expect(changes.map(({ action, actor, outcome }) => [action, actor, outcome])).toEqual([
    ["user.endSessions", "serviceAccounts/admin", "OK"],
    ["user.signIn", "", "REFUSED"],
    ["user.create", "serviceAccounts/admin", "OK"],
  ]);
  expect(changes[0]!.address).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
  expect(changes[0]!.createTime!.getTime()).toBeGreaterThan(Date.now() - 60_000);
  const family = `signIns/${claimsOf(accessToken)["sid"]}`;
  const ofFamily = { ...filter, target: family };
  const { auditEvents: grants } = await callers.token.listAuditEvents(ofFamily, admin);
  expect(grants.map(({ action }) => action)).toEqual(["token.refresh", "token.signIn"]);
  const { auditEvents: onFeed } = await callers.identity.listKeyAuditEvents(filter, admin);
  expect(onFeed).toMatchObject([{ action: "revocation.add", target: person.name }]);
  const text = JSON.stringify([changes, grants, onFeed]);
  for (const secret of [SECRET, accessToken, refreshToken, "a wrong secret"]) {
    expect(text).not.toContain(secret);
  }
  // Every event appears on exactly one page.
  const all = [];
  for (let pageToken = ""; ; ) {
    const request = { ...filter, target: "", pageToken, pageSize: 7 };
    const { auditEvents, nextPageToken } = await callers.identity.listAuditEvents(request, admin);
    all.push(...auditEvents.map(({ id }) => id));
    pageToken = nextPageToken;
    if (pageToken === "") break;
  }
  expect(new Set(all).size).toBe(all.length);
  expect(all).toEqual([...all].sort().reverse());
});
