/**
 * node-oidc-provider 9 with its store in memory, as another token server: issues a JWT to a client that
 * authenticates with its secret. Measured by the CPU of its process.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { CACHE } from "../../../deploy/local/paths.ts";
import { measureGrants } from "./httpGrants.ts";

/** Another token server. */
export interface OtherServer {
  /** Measures the CPU of one grant, in µs. */
  measure(): Promise<number>;
  close(): Promise<void>;
}

const VERSION = "9";
const FOLDER = join(CACHE, `oidc-provider-${VERSION}`);

const PROGRAM = `
import Provider from "oidc-provider";
const resource = { scope: "a", audience: "checkout", accessTokenFormat: "jwt", accessTokenTTL: 300,
  jwt: { sign: { alg: "EdDSA" } } };
const { privateKey } = (await import("node:crypto")).generateKeyPairSync("ed25519");
const provider = new Provider("http://127.0.0.1", {
  clients: [{ client_id: "a", client_secret: "b".repeat(43), grant_types: ["client_credentials"],
    redirect_uris: [], response_types: [], id_token_signed_response_alg: "EdDSA",
    token_endpoint_auth_method: "client_secret_post" }],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), alg: "EdDSA", use: "sig", kid: "k" }] },
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false },
    resourceIndicators: { enabled: true, defaultResource: () => "urn:checkout",
      getResourceServerInfo: () => resource, useGrantedResource: () => true } },
});
const server = provider.listen(0, "127.0.0.1", () => console.log(server.address().port));
`;

/** Starts it. Each call of `measure` makes `calls` grants. */
export async function oidcProvider(calls: number, concurrency: number): Promise<OtherServer> {
  install();
  const child = spawn(process.execPath, [join(FOLDER, "server.mjs")], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, NODE_ENV: "production" },
  });
  // Also if `close` is never called.
  process.once("exit", () => child.kill());
  const [line] = await once(createInterface({ input: child.stdout! }), "line");
  const body = `grant_type=client_credentials&client_id=a&client_secret=${"b".repeat(43)}&scope=a`;
  const endpoint = { port: Number(line), path: "/token", body };
  return {
    measure: () => measureGrants(endpoint, child.pid!, calls, concurrency),
    async close() {
      child.kill();
    },
  };
}

function install(): void {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, "server.mjs"), PROGRAM);
  if (existsSync(join(FOLDER, "node_modules", "oidc-provider"))) return;
  writeFileSync(join(FOLDER, "package.json"), '{"private":true,"type":"module"}');
  const args = ["install", "--no-audit", "--no-fund", `oidc-provider@${VERSION}`];
  execFileSync("npm", args, { cwd: FOLDER, stdio: "ignore" });
}
