/** PEM files, as Envoy reads them. */
export interface TlsFiles {
  readonly ca: string;
  readonly chain: string;
  readonly key: string;
}

const TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const PROTOCOL = { tls_minimum_protocol_version: "TLSv1_2" };

/**
 * Makes the TLS socket for callers. A caller may present a client certificate of the authority, to bind tokens
 * to it.
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

/** Makes the mutual TLS socket to replicas. */
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
