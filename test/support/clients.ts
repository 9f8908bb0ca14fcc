import type { ChannelCredentials, ChannelOptions, Interceptor } from "@grpc/grpc-js";
import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { SessionServiceService } from "#proto/waybill/session/v1/session.ts";
import { createClient, type ServiceClient } from "#shared/client/client.ts";
import { Jar } from "#shared/client/jar/jar.ts";
import { loadContract } from "#shared/contract/contract.ts";

export const contract = loadContract(new URL("../../proto/gen/image.binpb", import.meta.url));

/** Clients of one caller, on their own connections. */
export interface Clients {
  readonly jar: Jar;
  readonly checkout: ServiceClient<typeof CheckoutServiceService>;
  readonly catalog: ServiceClient<typeof CatalogServiceService>;
  readonly session: ServiceClient<typeof SessionServiceService>;
  close(): void;
}

/** Without a jar, tests pass waybills by hand; without retries, they see failures. */
export interface ClientsOptions {
  withJar?: boolean;
  /** Default: a new jar. */
  jar?: Jar;
  retries?: boolean;
  credentials?: ChannelCredentials;
  channel?: ChannelOptions;
}

/** Creates clients, with a jar and retries by default. */
export function makeClients(
  target: string,
  {
    withJar = true,
    jar = new Jar({ contract }),
    retries = true,
    credentials,
    channel,
  }: ClientsOptions = {},
): Clients {
  const interceptors: Interceptor[] = withJar ? [jar.interceptor()] : [];
  const options = {
    ...(retries ? { contract } : {}),
    ...(credentials && { credentials }),
    interceptors,
    timeoutMs: 30_000,
    channel: { "grpc.use_local_subchannel_pool": 1, ...channel },
  };
  const checkout = createClient(CheckoutServiceService, target, options);
  const catalog = createClient(CatalogServiceService, target, options);
  const session = createClient(SessionServiceService, target, options);
  return {
    jar,
    checkout,
    catalog,
    session,
    close() {
      for (const client of [checkout, catalog, session]) client.close();
    },
  };
}
