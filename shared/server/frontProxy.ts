import { timingSafeEqual } from "node:crypto";
import type { Metadata } from "@grpc/grpc-js";

/** Metadata key of the front proxy's secret. The front proxy removes it from the calls of clients. */
export const FRONT_PROXY_KEY = "x-waybill-front-proxy";

/** Fewest characters of the front proxy's secret. */
const MIN_SECRET_LENGTH = 32;

/** What is known of the connection that a call came by. */
export interface Origin {
  /** The network address that the call comes from: an IP address. */
  readonly address: string;
  /** SHA-256, in base64url, of the certificate that the caller has shown; undefined: none. */
  readonly certificate: string | undefined;
}

/**
 * Reads who calls from what the front proxy says of him. Of anybody else, forwarding metadata are
 * worth nothing: then the connection's own address counts, and no certificate.
 */
export class FrontProxy {
  readonly #secret: Buffer | undefined;

  /**
   * @param secret what the front proxy sends along: 32 visible ASCII characters or more. Undefined: there is
   *   none to trust
   * @throws Error naming the rule that the secret breaks
   */
  constructor(secret: string | undefined) {
    // An empty one would be sent by anyone who sends the key without a value.
    const isText = typeof secret === "string" && /^[!-~]*$/.test(secret);
    if (secret !== undefined && (!isText || secret.length < MIN_SECRET_LENGTH)) {
      throw new Error(
        `frontProxySecret must be at least ${MIN_SECRET_LENGTH} visible ASCII characters`,
      );
    }
    this.#secret = secret === undefined ? undefined : Buffer.from(secret);
  }

  /** @param peer host and port of the connection */
  originOf(metadata: Pick<Metadata, "get">, peer: string): Origin {
    if (!this.#isFrontProxy(metadata)) {
      return { address: peer.replace(/:\d+$/, ""), certificate: undefined };
    }
    // The last one is what the front proxy has seen itself.
    const forwarded = one(metadata, "x-forwarded-for")?.split(",").at(-1)?.trim();
    return {
      address: forwarded || "unknown",
      certificate: certificateOf(one(metadata, "x-forwarded-client-cert")),
    };
  }

  #isFrontProxy(metadata: Pick<Metadata, "get">): boolean {
    const sent = one(metadata, FRONT_PROXY_KEY);
    if (sent === undefined || this.#secret === undefined) return false;
    const given = Buffer.from(sent);
    return given.length === this.#secret.length && timingSafeEqual(given, this.#secret);
  }
}

function one(metadata: Pick<Metadata, "get">, key: string): string | undefined {
  const values = metadata.get(key);
  return values.length === 1 ? values[0]?.toString() : undefined;
}

/** Envoy names the certificate's digest in hexadecimal; RFC 8705 wants it in base64url. */
function certificateOf(forwarded: string | undefined): string | undefined {
  const [, hex] = /(?:^|;)Hash=([0-9a-f]{64})(?:;|$)/.exec(forwarded ?? "") ?? [];
  return hex === undefined ? undefined : Buffer.from(hex, "hex").toString("base64url");
}
