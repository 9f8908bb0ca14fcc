import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Endpoints } from "../../deploy/local/envoy/endpoints.ts";
import { startEnvoy } from "../../deploy/local/envoy/envoy.ts";
import { envoyBinary } from "../../deploy/local/envoy/envoyBinary.ts";
import { Children } from "../../deploy/local/processes/children.ts";
import { freePort } from "../../deploy/local/processes/ports.ts";
import { makeCertificates } from "../../deploy/local/secrets/authority.ts";

const CLUSTERS = ["identity", "token", "session", "catalog", "checkout", "any"];

/** An Envoy in front of replicas in the test's own process. */
export interface FrontProxy {
  readonly target: string;
  /** Routes calls of these clusters to exactly these replicas. Resolves when the routes are active. */
  leadTo(addresses: readonly string[], clusters?: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

export async function startFrontProxy(): Promise<FrontProxy> {
  const folder = mkdtempSync(join(tmpdir(), "waybill-front-proxy-"));
  const children = new Children();
  const endpoints = new Endpoints(folder, CLUSTERS);
  endpoints.write([]);
  const port = await freePort();
  const target = `127.0.0.1:${port}`;
  const envoy = await startEnvoy(children, {
    binary: envoyBinary(() => {}),
    folder,
    port,
    tlsPort: await freePort(),
    tlsDir: await makeCertificates(folder),
    replicaTls: false,
    issuer: `http://${target}`,
    secret: "the-secret-of-the-front-proxy-of-this-test",
    endpoints,
  });
  return {
    target,
    async leadTo(addresses, clusters = CLUSTERS) {
      const replicas = addresses.map((address) => ({ address, clusters }));
      endpoints.write(replicas);
      await envoy.follows(replicas);
    },
    async close() {
      await envoy.child.end(10_000);
      await children.close();
      rmSync(folder, { recursive: true });
    },
  };
}
