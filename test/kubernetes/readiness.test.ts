import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { afterAll, expect, test } from "vitest";
import { CatalogServiceService, Product } from "#proto/waybill/catalog/v1/catalog.ts";
import { loadTls } from "#shared/auth/credentials/tls.ts";
import { Server } from "#shared/server/server.ts";
import { envoyBinary } from "../../deploy/local/envoy/envoyBinary.ts";
import { Children } from "../../deploy/local/processes/children.ts";
import { freePort } from "../../deploy/local/processes/ports.ts";
import { makeCertificates } from "../../deploy/local/secrets/authority.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { contract, makeClients } from "../support/clients.ts";
import { refusal } from "../support/refusal.ts";
import { REST_OF_CATALOG } from "../support/servers/catalogHandlers.ts";
import { waitFor } from "../support/waitFor.ts";
import { render } from "./render.ts";

const folder = mkdtempSync(join(tmpdir(), "waybill-readiness-"));
const children = new Children();
afterAll(async () => {
  await children.close();
  rmSync(folder, { recursive: true });
});

/** Probes as the kubelet does: without verifying the certificate. */
function probe(port: number, path: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", port, path, rejectUnauthorized: false, agent: false };
    const asked = request(options, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    asked.on("error", () => resolve(undefined));
    asked.end();
  });
}

// Only Linux routes all of 127/8 to loopback by default.
test.skipIf(!toolPath("helm") || process.platform !== "linux").for([
  ["an unresolvable role", "role.invalid"],
  ["an unreachable role", "127.0.0.9"],
] as const)("the front proxy becomes ready beside %s (needs helm)", async ([, missing]) => {
  const manifests = render();
  const pod = manifests.find(
    ({ kind, metadata }) => kind === "Deployment" && metadata.name === "release-front-proxy",
  )!.spec!.template.spec;
  const [container] = pod.containers;
  const { path, port: portName, scheme } = container!.readinessProbe!.httpGet!;
  expect(scheme).toBe("HTTPS");
  const containerPort = container!.ports!.find(({ name }) => name === portName)!.containerPort;

  // One role serves, five are unavailable.
  const own = mkdtempSync(join(folder, "front-proxy-"));
  const tlsDir = await makeCertificates(own);
  const server = new Server({ contract, credentials: loadTls(tlsDir).server }).add(
    CatalogServiceService,
    { getProduct: async ({ name }) => Product.create({ name }), ...REST_OF_CATALOG },
  );
  const replicaPort = await server.listen("127.0.0.1:0");
  server.serving(true);

  const ports = new Map<number, number>();
  for (const each of [8080, 8443, 9901]) ports.set(each, await freePort());
  const config = manifests.find(({ data }) => data?.["envoy.yaml"])!.data!["envoy.yaml"]!;
  const file = join(own, "envoy.yaml");
  mkdirSync(own, { recursive: true });
  writeFileSync(
    file,
    config
      .replaceAll(/\/etc\/waybill\/(front-proxy-)?tls/g, tlsDir)
      .replaceAll("release-catalog", "127.0.0.1")
      .replaceAll(/release-[a-z]+/g, missing)
      .replaceAll("port_value: 50051", `port_value: ${replicaPort}`)
      .replaceAll(/port_value: (8080|8443|9901)/g, (_, port) => `port_value: ${ports.get(+port)}`)
      .replaceAll("0.0.0.0", "127.0.0.1"),
  );
  const envoy = await children.start(
    envoyBinary(() => {}),
    ["-c", file, "--log-level", "error", "--disable-hot-restart", "--concurrency", "2"],
    {
      stdio: "ignore",
      env: {
        ...process.env,
        WAYBILL_FRONT_PROXY_SECRET: "the-secret-of-the-front-proxy-of-this-test",
      },
    },
  );
  const port = ports.get(containerPort)!;
  await waitFor("the front proxy to be ready", async () => (await probe(port, path)) === 200);

  const clients = makeClients(`localhost:${ports.get(8443)}`, {
    credentials: credentials.createSsl(readFileSync(join(tlsDir, "ca.crt"))),
    retries: false,
  });
  expect((await clients.catalog.getProduct({ name: "products/1" })).name).toBe("products/1");
  expect(await refusal(clients.checkout.beginCheckout({}))).toMatchObject({
    reason: "SERVICE_UNAVAILABLE",
  });
  expect(await probe(port, path)).toBe(200);

  // Without any role, the front proxy still listens and routes.
  await server.drain();
  expect(await probe(port, path)).toBe(200);
  expect(await refusal(clients.catalog.getProduct({ name: "products/1" }))).toMatchObject({
    reason: "SERVICE_UNAVAILABLE",
  });
  clients.close();
  await envoy.end(10_000);
});
