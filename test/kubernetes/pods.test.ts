import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  credentials as grpcCredentials,
  makeGenericClientConstructor,
  type ServiceError,
} from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TokenServiceService } from "#proto/waybill/token/v1/token.ts";
import { envoyBinary } from "../../deploy/local/envoy/envoyBinary.ts";
import { PROJECT } from "../../deploy/local/paths.ts";
import { type Child, Children } from "../../deploy/local/processes/children.ts";
import { freePort } from "../../deploy/local/processes/ports.ts";
import { NODE_FLAGS } from "../../deploy/local/processes/replicas.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { ROLES } from "../../services/replica/config/config.ts";
import { Callers, ProofKey } from "../support/callers/callers.ts";
import { shop } from "../support/callers/shopper.ts";
import { makeClients } from "../support/clients.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { waitFor } from "../support/waitFor.ts";
import { install, type Secret } from "./install.ts";
import type { Container, Manifest, Pod } from "./render.ts";

/**
 * Runs the chart's pods as processes of this machine. Each process gets only the arguments, environment and
 * files that its manifest and the README's secrets define. A loopback address replaces each service's name.
 */
const ADDRESSES = new Map(ROLES.map((role, index) => [`waybill-${role}`, `127.0.0.${index + 2}`]));
// Only Linux routes all of 127/8 to loopback by default.
const canRun = toolPath("helm") !== undefined && process.platform === "linux";

let postgres: TestPostgres;
let manifests: readonly Manifest[];
let secrets: ReadonlyMap<string, Secret>;
const folder = mkdtempSync(join(tmpdir(), "waybill-pods-"));
const children = new Children();
const pods = new Map<string, Child>();

beforeAll(async () => {
  if (!canRun) return;
  postgres = await startTestPostgres();
  ({ manifests, secrets } = install(folder, postgres.url));
});
afterAll(async () => {
  await Promise.all([...pods.values()].map((pod) => pod.end(30_000)));
  await children.close();
  await postgres?.remove();
  rmSync(folder, { recursive: true });
});

const secretOf = (name: string): Secret => {
  const secret = secrets.get(name);
  if (secret === undefined) throw new Error(`the chart asks for a secret ${name}`);
  return secret;
};

function secretValue(secret: string, key: string): Buffer {
  const value = secretOf(secret)[key];
  if (value === undefined) throw new Error(`the secret ${secret} has no key ${key}`);
  return value;
}

/** Creates a pod's volumes in a folder of its own. */
function mount(name: string, { volumes = [] }: Pod, { volumeMounts = [] }: Container): string {
  const root = join(folder, name);
  for (const { name: volumeName, mountPath } of volumeMounts) {
    const volume = volumes.find((each) => each.name === volumeName)!;
    const files: Record<string, Buffer | string> = {};
    if (volume.secret) Object.assign(files, secretOf(volume.secret.secretName));
    for (const { secret } of volume.projected?.sources ?? []) {
      for (const { key, path } of secret.items) files[path] = secretValue(secret.name, key);
    }
    if (volume.configMap) {
      const map = manifests.find(
        ({ kind, metadata }) => kind === "ConfigMap" && metadata.name === volume.configMap!.name,
      );
      Object.assign(files, map!.data);
    }
    for (const [path, content] of Object.entries(files)) {
      const file = join(root, mountPath, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content);
    }
  }
  return root;
}

/** Reads a container's environment from its manifest and secrets. */
function environment({ env = [] }: Container): Record<string, string> {
  return Object.fromEntries(
    env.map(({ name, value, valueFrom }) => {
      const from = valueFrom?.secretKeyRef;
      const found = from ? secretValue(from.name, from.key).toString("utf8") : value;
      if (found === undefined) throw new Error(`the manifest gives no value for ${name}`);
      return [name, found];
    }),
  );
}

/** Replaces the cluster's paths and addresses with this machine's. */
function here(text: string, root: string, listen?: string): string {
  let local = text.replaceAll("/etc/", `${root}/etc/`);
  for (const [service, address] of ADDRESSES) {
    local = local.replaceAll(`dns:///${service}:`, `ipv4:${address}:`);
  }
  return listen === undefined ? local : local.replaceAll("0.0.0.0", listen);
}

const logOf = (name: string) => openSync(join(folder, `${name}.log`), "a");

/** Starts a pod's container with the image's entry point. */
async function start(name: string, pod: Pod, listen?: string): Promise<Child> {
  const [container] = pod.containers as [Container];
  const root = mount(name, pod, container);
  const env = Object.entries(environment(container)).map(([key, value]) => [
    key,
    here(value, root),
  ]);
  const args = container.args!.map((arg) => here(arg, root, listen));
  const child = await children.start(process.execPath, [...NODE_FLAGS, ...args], {
    cwd: PROJECT,
    env: Object.fromEntries(env),
    stdio: ["ignore", "ignore", logOf(name)],
  });
  pods.set(name, child);
  return child;
}

const podOf = (kind: string, name: string): Pod =>
  manifests.find((each) => each.kind === kind && each.metadata.name === `waybill-${name}`)!.spec!
    .template.spec;

const HealthClient = makeGenericClientConstructor(healthService, "Health");

/** Probes a pod as a kubelet does, until it is SERVING. Rejects with the pod's log if its process ends. */
async function untilReady(name: string, address: string): Promise<void> {
  let ended = false;
  void pods.get(name)!.exited.then(() => {
    ended = true;
  });
  const client = new HealthClient(address, grpcCredentials.createInsecure());
  const probe = () =>
    new Promise<boolean>((resolve) => {
      client["check"]!({ service: "" }, (error: ServiceError | null, said?: { status: string }) =>
        resolve(error === null && said?.status === "SERVING"),
      );
    });
  await waitFor(`${name} to be ready`, async () => ended || (await probe())).finally(() =>
    client.close(),
  );
  if (ended) throw new Error(readFileSync(join(folder, `${name}.log`), "utf8"));
}

test.skipIf(!canRun)("pods installed by the README serve and drain (needs helm)", async () => {
  const deployments = manifests.filter(({ kind }) => kind === "Deployment");
  expect(deployments.map(({ metadata }) => metadata.name).sort()).toEqual(
    [...ROLES, "front-proxy"].map((name) => `waybill-${name}`).sort(),
  );
  const migration = await start("migration", podOf("Job", "migration"));
  expect(await migration.exited).toEqual({ code: 0, signal: null });

  for (const role of ROLES) {
    const pod = podOf("Deployment", role);
    const address = ADDRESSES.get(`waybill-${role}`)!;
    await start(role, pod, address);
  }
  await Promise.all(
    ROLES.map((role) => {
      const [container] = podOf("Deployment", role).containers as [Container];
      const { port } = container.readinessProbe!.grpc!;
      return untilReady(role, `${ADDRESSES.get(`waybill-${role}`)}:${port}`);
    }),
  );

  const pod = podOf("Deployment", "front-proxy");
  const [container] = pod.containers as [Container];
  const root = mount("front-proxy", pod, container);
  const file = join(root, "etc", "envoy", "envoy.yaml");
  const [port, tlsPort, adminPort] = [await freePort(), await freePort(), await freePort()];
  let config = here(readFileSync(file, "utf8"), root)
    .replaceAll("port_value: 8080", `port_value: ${port}`)
    .replace("port_value: 8443", `port_value: ${tlsPort}`)
    .replace("port_value: 9901", `port_value: ${adminPort}`)
    .replaceAll("0.0.0.0", "127.0.0.1");
  for (const [service, address] of ADDRESSES) {
    config = config.replaceAll(service, address);
  }
  writeFileSync(file, config);
  const args = container.args!.map((arg) => here(arg, root));
  const envoy = await children.start(
    envoyBinary(() => {}),
    [...args, "--disable-hot-restart"],
    { env: environment(container), stdio: ["ignore", "ignore", logOf("front-proxy")] },
  );
  pods.set("front-proxy", envoy);
  await untilReady("front-proxy", `127.0.0.1:${port}`);

  const ca = readFileSync(join(folder, "secrets", "tls", "ca.crt"));
  const clients = makeClients(`localhost:${tlsPort}`, {
    credentials: grpcCredentials.createSsl(ca),
  });
  expect((await shop(clients, 17)).name).toMatch(/^orders\//);
  clients.close();

  // The chart's issuer, origins, secrets and addresses, all the way: a user of an administrator's.
  const callers = new Callers(
    `localhost:${tlsPort}`,
    join(folder, "secrets", "admin-secret"),
    "https://waybill.example.com",
    { credentials: grpcCredentials.createSsl(ca) },
  );
  const key = new ProofKey();
  const proving = (method: "signIn" | "listSignIns", token?: string) =>
    key.proving(`${callers.issuer}${TokenServiceService[method].path}`, token);
  const { accessToken } = await callers.signIn(await callers.person(), {}, proving("signIn"));
  const request = { pageSize: 1, pageToken: "" };
  const settings = proving("listSignIns", accessToken);
  expect((await callers.token.listSignIns(request, settings)).signIns).toHaveLength(1);
  callers.close();

  const ends = ROLES.map((role) => {
    const { exited, process: running } = pods.get(role)!;
    running.kill("SIGTERM");
    return exited;
  });
  for (const end of await Promise.all(ends)) expect(end).toEqual({ code: 0, signal: null });
});
