import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials,
  ServerCredentials,
} from "@grpc/grpc-js";

/**
 * The DNS name in the certificate of every process of a cluster. Certificates have no addresses, because those of
 * replicas change, and no service names: assertions authenticate services.
 */
export const INTERNAL_NAME = "waybill.internal";

/** Mutual TLS between the processes of a cluster. */
export interface Tls {
  /** Accepts only callers with a certificate of the cluster's authority. */
  readonly server: ServerCredentials;
  readonly client: { credentials: ChannelCredentials; channel: ChannelOptions };
}

/**
 * Reads a folder with `ca.crt`, `tls.crt` and `tls.key` (PEM), the files of a Kubernetes TLS secret.
 *
 * @throws Error naming the file that cannot be read, or the folder with an invalid certificate
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
    throw new Error(
      `${folder}: ca.crt, tls.crt and tls.key must be a valid certificate chain and its key`,
      { cause },
    );
  }
}
