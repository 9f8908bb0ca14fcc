/** Makes files/envoy.yaml: the front proxy's configuration, from the same source as the local one. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Document, isMap, isSeq, visit } from "yaml";
import { loadContract } from "#shared/contract/contract.ts";
import { bootstrap } from "../envoy/bootstrap.ts";
import { ANY_CLUSTER } from "../envoy/routes.ts";
import type { TlsFiles } from "../envoy/tls.ts";

const project = join(import.meta.dirname, "..", "..");
const contract = loadContract(join(project, "proto", "gen", "image.binpb"));

/** The files of a mounted TLS secret. */
function secret(folder: string): TlsFiles {
  return { ca: `${folder}/ca.crt`, chain: `${folder}/tls.crt`, key: `${folder}/tls.key` };
}

const config = bootstrap(contract, {
  listen: { address: "0.0.0.0", port: 8080 },
  listenTls: { address: "0.0.0.0", port: 8443, files: secret("/etc/waybill/front-proxy-tls") },
  replicaTls: secret("/etc/waybill/tls"),
  issuer: "{{ include `waybill.issuer` . }}",
  admin: { address: "127.0.0.1", port: 9901 },
  accessLog: "stdout",
  // Helm puts the release's name in.
  discovery: (cluster) => ({
    kind: "dns",
    host: `{{ include "waybill.name" . }}-${cluster === ANY_CLUSTER ? "session" : cluster}`,
    port: 50_051,
  }),
});
// Shared parts are there once, with aliases to them, and a route is a line: `kubectl apply` copies the whole
// ConfigMap into an annotation, and annotations may have 256 KiB.
const document = new Document(config);
visit(document, {
  Pair(_, { key, value }) {
    if (`${key}` !== "routes" || !isSeq(value)) return;
    for (const route of value.items) if (isMap(route)) route.flow = true;
  },
});
const head = "# Made by deploy/kubernetes/make.ts: do not edit.\n";
writeFileSync(
  join(import.meta.dirname, "files", "envoy.yaml"),
  head + document.toString({ lineWidth: 0 }),
);
