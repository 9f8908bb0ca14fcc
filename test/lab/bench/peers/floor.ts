import { Metadata } from "@grpc/grpc-js";
import { WAYBILL_KEY } from "waybill/testing";
import { type Serve, servePlainly } from "./peer.ts";

const NOTHING = { response: { waybill: undefined, changes: 1 } };

/** grpc-js alone: no state, no metadata. */
export const floor: Serve = () =>
  servePlainly({ begin: () => NOTHING, read: () => NOTHING, advance: () => NOTHING });

/** The fair floor: passes a waybill through untouched. Reads return none, as in Waybill. */
export const passing: Serve = () =>
  servePlainly({
    begin: () => NOTHING,
    read: (_request, metadata) => {
      // grpc-js decodes metadata on access.
      metadata.get(WAYBILL_KEY);
      return NOTHING;
    },
    advance: ({ waybill }, metadata) => {
      const response = { waybill, changes: 1 };
      const [value] = metadata.get(WAYBILL_KEY);
      if (value === undefined) return { response };
      const reply = new Metadata();
      reply.set(WAYBILL_KEY, value);
      return { response, metadata: reply };
    },
  });
