import { CheckoutServiceService, SetItemsRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { NO_CHECKPOINTS } from "#shared/anchors/checkpoints.ts";
import type { Contract } from "#shared/contract/contract.ts";
import type { Handlers } from "#shared/contract/handlers.ts";
import { Server, type ServerOptions } from "#shared/server/server.ts";
import { toMetadataValue } from "#shared/waybill/carriers.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { contract } from "../clients.ts";
import { makeRingSource } from "../rings.ts";
import { frame } from "../wire/rawCall.ts";

const CHECKOUT = "/waybill.checkout.v1.CheckoutService/";

/** One method of each kind, all with a session. */
export const KINDS: readonly [kind: string, path: string][] = [
  ["unary", `${CHECKOUT}GetCheckout`],
  ["server_streaming", `${CHECKOUT}SetItems`],
  ["client_streaming", `${CHECKOUT}UploadItems`],
  ["bidi_streaming", `${CHECKOUT}EditItems`],
];

/** A framed request that each method accepts. */
export function requestOf(path: string): Buffer {
  if (path !== `${CHECKOUT}SetItems`) return frame();
  const items = [{ product: "products/1", quantity: 1 }];
  return frame(SetItemsRequest.encode(SetItemsRequest.fromPartial({ items })).finish());
}

type CheckoutHandlers = Handlers<typeof CheckoutServiceService, CheckoutState>;

const ring = makeRingSource("checkout");
const session = {
  ...contract.method(`${CHECKOUT}GetCheckout`).session!,
  mode: "carried" as const,
};
const carried: Contract = {
  ...contract,
  method(path) {
    const method = contract.method(path);
    return method.session === undefined ? method : { ...method, session, advancesAnchor: false };
  },
};

/** A checkout server with carried sessions, which needs no database. */
export function carriedCheckout(
  options: Omit<ServerOptions, "contract">,
  handlers: Partial<CheckoutHandlers>,
  definition = CheckoutServiceService,
): Server {
  const all = new Proxy(handlers, {
    get: (own, name) => own[name as keyof CheckoutHandlers] ?? (() => Promise.reject(new Error())),
  }) as CheckoutHandlers;
  const parts = { state: CheckoutState, ring, checkpoints: NO_CHECKPOINTS };
  return new Server({ contract: carried, ...options }).add(definition, all, parts);
}

/** A valid waybill for the server. */
export function carriedWaybill(): string {
  const sessions = new Sessions(session, CheckoutState, ring);
  const state = sessions.encode(CheckoutState.create({ order: "first" }));
  return toMetadataValue(sessions.seal(sessions.successor(sessions.begin(), state)));
}
