import { timingSafeEqual } from "node:crypto";
import type { Metadata } from "@grpc/grpc-js";

/** The metadata key of the front proxy's secret. The front proxy removes it from requests of its clients. */
export const FRONT_PROXY_KEY = "x-waybill-front-proxy";

/** Fewest characters of the front proxy's secret. */
const MIN_SECRET_LENGTH = 32;

/** The origin of a call. */
export interface Origin {
  /** The caller's IP address. */
  readonly address: string;
  /** SHA-256, in base64url, of the caller's client certificate; undefined if it has none. */
  readonly certificate: string | undefined;
}

/**
 * Reads the origin of a call from the front proxy's forwarding metadata. Other clients could forge them: for
 * a call without the front proxy's secret, the origin is the address of the connection, with no certificate.
 */
export class FrontProxy {
  readonly #secret: Buffer | undefined;

  /**
   * @param secret of the front proxy: 32 visible ASCII characters or more. Undefined: trusts no proxy
   * @throws Error naming the rule that the secret breaks
   */
  constructor(secret: string | undefined) {
    // Any client could send an empty secret: the key without a value.
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
    // The front proxy appends the address of its peer. Its client may have sent the others.
    const forwarded = singleOf(metadata, "x-forwarded-for")?.split(",").at(-1)?.trim();
    return {
      address: forwarded || "unknown",
      certificate: certificateOf(singleOf(metadata, "x-forwarded-client-cert")),
    };
  }

  #isFrontProxy(metadata: Pick<Metadata, "get">): boolean {
    const sent = singleOf(metadata, FRONT_PROXY_KEY);
    if (sent === undefined || this.#secret === undefined) return false;
    const given = Buffer.from(sent);
    return given.length === this.#secret.length && timingSafeEqual(given, this.#secret);
  }
}

function singleOf(metadata: Pick<Metadata, "get">, key: string): string | undefined {
  const values = metadata.get(key);
  return values.length === 1 ? values[0]?.toString() : undefined;
}

/** Converts Envoy's hexadecimal digest to base64url (RFC 8705). */
function certificateOf(forwarded: string | undefined): string | undefined {
  const [, hex] = /(?:^|;)Hash=([0-9a-f]{64})(?:;|$)/.exec(forwarded ?? "") ?? [];
  return hex === undefined ? undefined : Buffer.from(hex, "hex").toString("base64url");
}
