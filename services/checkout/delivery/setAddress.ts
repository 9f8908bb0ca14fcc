import { type Context, letGo } from "waybill";
import type { Checkout, SetAddressRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { beginChange } from "../basket/basket.ts";
import type { CheckoutDependencies } from "../index.ts";
import { toCheckout } from "../view.ts";

/** The recipient's name is optional, so the call waits only this long for it. */
const NAME_TIMEOUT_MS = 1000;

/** Sets the delivery address; by default the recipient is the signed-in caller. */
export const setAddress =
  (dependencies: CheckoutDependencies) =>
  async ({ address }: SetAddressRequest, context: Context<CheckoutState>): Promise<Checkout> => {
    const { state } = context.session;
    beginChange(state);
    // The request replaces the whole address: fields of newer programs in the old one must not survive.
    letGo(state.address);
    state.address = address;
    if (address?.recipients.length === 0) {
      const name = await nameOfCaller(dependencies, context);
      if (name) state.address = { ...address, recipients: [name] };
    }
    return toCheckout(state);
  };

/** Gets the caller's display name from identity, on behalf of the caller. */
async function nameOfCaller(
  { identity, log }: CheckoutDependencies,
  context: Context<CheckoutState>,
): Promise<string | undefined> {
  const { token } = context.caller;
  if (identity === undefined || !token?.subject.startsWith("users/")) return undefined;
  try {
    const settings = { context, timeoutMs: NAME_TIMEOUT_MS };
    const user = await identity.getUser({ name: "users/me" }, settings);
    return user.displayName || undefined;
  } catch (error) {
    log.warn(
      { cause: (error as Error).message },
      "could not get the caller's name from the identity service; saving the address without a recipient",
    );
    return undefined;
  }
}
