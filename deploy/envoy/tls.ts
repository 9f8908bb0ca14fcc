/** PEM files, as Envoy reads them. */
export interface TlsFiles {
  readonly ca: string;
  readonly chain: string;
  readonly key: string;
}

const TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const PROTOCOL = { tls_minimum_protocol_version: "TLSv1_2" };

/** How callers from outside reach the front door: it proves itself, and they speak HTTP/2. */
export function fromCallers({ chain, key }: TlsFiles): object {
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": `${TYPE}.DownstreamTlsContext`,
      common_tls_context: {
        tls_params: PROTOCOL,
        alpn_protocols: ["h2"],
        tls_certificates: [certificate(chain, key)],
      },
    },
  };
}

/** How the front door reaches replicas: each side proves that it belongs to the cluster. */
export function toReplicas({ ca, chain, key }: TlsFiles, name: string): object {
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": `${TYPE}.UpstreamTlsContext`,
      sni: name,
      common_tls_context: {
        tls_params: PROTOCOL,
        alpn_protocols: ["h2"],
        tls_certificates: [certificate(chain, key)],
        validation_context: {
          trusted_ca: { filename: ca },
          match_typed_subject_alt_names: [{ san_type: "DNS", matcher: { exact: name } }],
        },
      },
    },
  };
}

function certificate(chain: string, key: string): object {
  return { certificate_chain: { filename: chain }, private_key: { filename: key } };
}
