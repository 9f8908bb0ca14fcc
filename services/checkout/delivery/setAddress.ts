import { type Context, letGo } from "waybill";
import type { Checkout, SetAddressRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import type { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import { beginChange } from "../basket/basket.ts";
import type { CheckoutDependencies } from "../index.ts";
import { toCheckout } from "../view.ts";

/** What the recipient's name is worth waiting for: without it the address is good as well. */
const NAME_TIMEOUT_MS = 1000;

/** Sets the delivery address; by default the recipient is the signed-in caller. */
export const setAddress =
  (dependencies: CheckoutDependencies) =>
  async ({ address }: SetAddressRequest, context: Context<CheckoutState>): Promise<Checkout> => {
    const { state } = context.session;
    beginChange(state);
    // Another address is another one: nothing of the old is to stay.
    letGo(state.address);
    state.address = address;
    if (address?.recipients.length === 0) {
      const name = await nameOfCaller(dependencies, context);
      if (name) state.address = { ...address, recipients: [name] };
    }
    return toCheckout(state);
  };

/** Asked for on the caller's behalf: identity sees who he is, and who asks. */
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
    log.warn({ cause: (error as Error).message }, "the caller's name is not known");
    return undefined;
  }
}
