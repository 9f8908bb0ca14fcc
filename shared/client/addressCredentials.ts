import { isIP } from "node:net";
import { type CallCredentials, ChannelCredentials } from "@grpc/grpc-js";

type Connect = ChannelCredentials["_createSecureConnector"];

/**
 * Lets TLS credentials connect to an IP address. grpc-js sends the target's host as the TLS server name,
 * which RFC 6066 section 3 forbids for an address, and Node 26 throws. Without a server name Node verifies
 * the certificate against the host all the same: it must have the address among its subject alternative
 * names.
 */
export function allowingAddresses(credentials: ChannelCredentials): ChannelCredentials {
  return credentials._isSecure() ? new AddressCredentials(credentials) : credentials;
}

class AddressCredentials extends ChannelCredentials {
  readonly #credentials: ChannelCredentials;

  constructor(credentials: ChannelCredentials) {
    super();
    this.#credentials = credentials;
  }

  override compose(callCredentials: CallCredentials): ChannelCredentials {
    return new AddressCredentials(this.#credentials.compose(callCredentials));
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return other instanceof AddressCredentials && this.#credentials._equals(other.#credentials);
  }

  override _createSecureConnector(...parameters: Parameters<Connect>): ReturnType<Connect> {
    const connector = this.#credentials._createSecureConnector(...parameters);
    // Private to grpc-js: should it be called otherwise one day, connecting fails as it would without this.
    const { connectionOptions } = connector as { connectionOptions?: { servername?: string } };
    if (isIP(connectionOptions?.servername ?? "")) delete connectionOptions?.servername;
    return connector;
  }
}
