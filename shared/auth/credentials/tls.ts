import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials,
  ServerCredentials,
} from "@grpc/grpc-js";

/**
 * The DNS name in the certificate of every part of a cluster. Addresses of replicas come and go, and
 * none is in a certificate; which service a caller is, its assertion says.
 */
export const INTERNAL_NAME = "waybill.internal";

/** How the parts of a cluster know each other. */
export interface Tls {
  /** Takes callers with a certificate of the cluster's authority alone. */
  readonly server: ServerCredentials;
  readonly client: { credentials: ChannelCredentials; channel: ChannelOptions };
}

/**
 * Reads a folder with `ca.crt`, `tls.crt` and `tls.key` (PEM), the files of a Kubernetes TLS secret.
 *
 * @throws Error naming the file that can't be read or used
 */
export function loadTls(folder: string): Tls {
  const read = (name: string) => {
    try {
      return readFileSync(join(folder, name));
    } catch (cause) {
      throw new Error(`cannot read ${join(folder, name)}`, { cause });
    }
  };
  const [ca, chain, key] = [read("ca.crt"), read("tls.crt"), read("tls.key")];
  try {
    return {
      server: ServerCredentials.createSsl(ca, [{ cert_chain: chain, private_key: key }], true),
      client: {
        credentials: credentials.createSsl(ca, key, chain),
        channel: { "grpc.ssl_target_name_override": INTERNAL_NAME },
      },
    };
  } catch (cause) {
    throw new Error(`the certificate or key in ${folder} is of no use`, { cause });
  }
}
