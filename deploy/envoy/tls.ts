/** PEM files, as Envoy reads them. */
export interface TlsFiles {
  readonly ca: string;
  readonly chain: string;
  readonly key: string;
}

const TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const PROTOCOL = { tls_minimum_protocol_version: "TLSv1_2" };

/**
 * How callers from outside reach the front proxy: it proves itself. A caller may show a certificate of
 * the authority; tokens can be bound to it.
 */
export function fromCallers({ ca, chain, key }: TlsFiles): object {
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": `${TYPE}.DownstreamTlsContext`,
      require_client_certificate: false,
      common_tls_context: {
        tls_params: PROTOCOL,
        alpn_protocols: ["h2", "http/1.1"],
        tls_certificates: [certificate(chain, key)],
        validation_context: { trusted_ca: { filename: ca } },
      },
    },
  };
}

/** How the front proxy reaches replicas: each side proves that it belongs to the cluster. */
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
