/**
 * Another server of tokens, for comparison: node-oidc-provider 9 with its store in memory, issuing a
 * JWT to a client that authenticates itself by its secret. Measured by the CPU of its own process.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { CACHE } from "../../deploy/local/paths.ts";
import { cpuSecondsOf } from "./processTimes.ts";

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

/** Starts it. Each call of what is returned makes so many grants, and gives the CPU of one, in µs. */
export async function oidcProvider(
  calls: number,
  concurrency: number,
): Promise<(() => Promise<number>) & { close(): void }> {
  install();
  const child = spawn(process.execPath, [join(FOLDER, "server.mjs")], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, NODE_ENV: "production" },
  });
  const [line] = await once(createInterface({ input: child.stdout! }), "line");
  const port = Number(line);
  const agent = new Agent({ keepAlive: true, maxSockets: concurrency });
  const measure = async () => {
    const before = cpuSecondsOf(child.pid!);
    let left = calls;
    const worker = async () => {
      while (left-- > 0) await grant(agent, port);
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    return ((cpuSecondsOf(child.pid!) - before) / calls) * 1e6;
  };
  return Object.assign(measure, {
    close() {
      agent.destroy();
      child.kill();
    },
  });
}

function install(): void {
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(join(FOLDER, "server.mjs"), PROGRAM);
  if (existsSync(join(FOLDER, "node_modules", "oidc-provider"))) return;
  writeFileSync(join(FOLDER, "package.json"), '{"private":true,"type":"module"}');
  const args = ["install", "--no-audit", "--no-fund", `oidc-provider@${VERSION}`];
  execFileSync("npm", args, { cwd: FOLDER, stdio: "ignore" });
}

function grant(agent: Agent, port: number): Promise<void> {
  const body = `grant_type=client_credentials&client_id=a&client_secret=${"b".repeat(43)}&scope=a`;
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    "content-length": body.length,
  };
  return new Promise((resolve, reject) => {
    const options = { agent, port, host: "127.0.0.1", path: "/token", method: "POST", headers };
    const sent = request(options, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(Buffer.concat(parts).toString("utf8")));
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
