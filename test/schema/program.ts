import { type Checkout, CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { NO_CHECKPOINTS } from "#shared/anchors/checkpoints.ts";
import type { Contract } from "#shared/contract/contract.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { Server } from "#shared/server/server.ts";
import type { SessionOptions } from "#shared/session/options.ts";
import type { SessionContract } from "#shared/waybill/session.ts";
import { contract } from "../support/clients.ts";

/** A checkout's state, with the fields that a program knows. */
export type State = Record<string, unknown> & { part?: Record<string, unknown> | undefined };

export const GET_CHECKOUT = "/waybill.checkout.v1.CheckoutService/GetCheckout";

/** Returns the contract with sessions of this revision. Default mode: carried. */
export function contractOf(revision = 1, mode: SessionContract["mode"] = "carried"): Contract {
  return {
    ...contract,
    method: (path) => {
      const method = contract.method(path);
      const session = method.session && { ...method.session, revision, mode };
      return { ...method, session };
    },
  };
}

/** A replica in the test's own process. */
export interface Replica {
  readonly server: Server;
  readonly address: string;
}

/** Starts a replica that serves checkouts with its own version of the state. */
export async function serveProgram(
  { revision, mode }: { revision: number; mode?: SessionContract["mode"] },
  handlers: Partial<Handlers<typeof CheckoutServiceService, State>>,
  parts: SessionOptions<State>,
): Promise<Replica> {
  const server = new Server({ contract: contractOf(revision, mode) });
  const every = new Proxy(handlers, {
    get: (own, name) =>
      own[name as keyof typeof own] ?? (() => Promise.reject(new Error("unused"))),
  }) as Handlers<typeof CheckoutServiceService, State>;
  server.add(CheckoutServiceService, every, { checkpoints: NO_CHECKPOINTS, ...parts });
  const port = await server.listen("127.0.0.1:0");
  server.serving(true);
  return { server, address: `127.0.0.1:${port}` };
}

/** A program's response. @param order the program's name */
export const checkout = (order: string): Checkout => ({
  items: [],
  address: undefined,
  deliverySpeed: 0,
  quote: undefined,
  order,
});
