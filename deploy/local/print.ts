import { join, relative } from "node:path";
import { styleText } from "node:util";
import type { ClusterStatus } from "./cluster.ts";
import { CACHE, PROJECT } from "./paths.ts";
import { toolPath } from "./tools.ts";

/** Prints a progress line, with colours only on a terminal. */
export function tell(line: string): void {
  console.log(styleText("dim", line, { stream: process.stdout }));
}

/** Lists the processes and their addresses, for a person. */
export function table(status: ClusterStatus): string {
  const { frontProxy, postgres, replicas, dataDir, adminSecretFile } = status;
  const rows: [what: string, where: string, process: string][] = [];
  if (frontProxy) {
    rows.push(["front proxy", `127.0.0.1:${frontProxy.port}`, `${frontProxy.pid}`]);
    rows.push(["  by TLS", `127.0.0.1:${frontProxy.tlsPort}`, ""]);
    rows.push(["  admin", `http://127.0.0.1:${frontProxy.adminPort}`, ""]);
  }
  for (const { number, address, pid } of replicas) {
    rows.push([`replica ${number}`, address, `${pid}`]);
  }
  if (postgres) rows.push(["postgres", `127.0.0.1:${postgres.port}`, `${postgres.pid}`]);
  rows.push(["data, logs", dataDir, ""]);
  rows.push(["serviceAccounts/admin", `its secret: ${adminSecretFile}`, ""]);

  const width = (column: 0 | 1) => Math.max(...rows.map((row) => row[column].length));
  const head: (typeof rows)[number] = ["what", "where", "process"];
  return [head, ...rows]
    .map(([what, where, pid], index) => {
      const line = `${what.padEnd(width(0))}  ${where.padEnd(width(1))}  ${pid}`.trimEnd();
      return index === 0 ? styleText("bold", line, { stream: process.stdout }) : line;
    })
    .join("\n");
}

/** Commands to paste. */
export function commands({ frontProxy, replicas, adminSecretFile }: ClusterStatus): string {
  if (frontProxy === undefined) {
    const addresses = replicas.map((replica) => replica.address).join(",");
    return `round robin over the replicas: ipv4:${addresses}`;
  }
  const target = `127.0.0.1:${frontProxy.port}`;
  const path = toolPath("grpcurl");
  const isHere = path === undefined || path.startsWith(PROJECT);
  // Built here, it lies in the project, where npm's commands are given.
  const grpcurl = isHere ? relative(PROJECT, join(CACHE, "bin", "grpcurl")) : "grpcurl";
  return [
    ...(path === undefined ? ["npm run tools -- grpcurl   # builds it: it is missing here"] : []),
    `${grpcurl} -plaintext ${target} list`,
    `${grpcurl} -plaintext -d '{"name":"products/1"}' ${target} waybill.catalog.v1.CatalogService/GetProduct`,
    `${grpcurl} -plaintext -v ${target} waybill.checkout.v1.CheckoutService/BeginCheckout`,
    `${grpcurl} -cacert ${frontProxy.caFile} 127.0.0.1:${frontProxy.tlsPort} list`,
    `${grpcurl} -plaintext -d '{"client":{"client":"serviceAccounts/admin","secret":"'$(cat ${adminSecretFile})'"}}' ${target} waybill.token.v1.TokenService/GrantClientCredentials`,
    "npm run scale -- 4",
  ].join("\n");
}
