/** `waybill/testing`: opens and seals waybills in a service's tests. */

export {
  fieldToMetadataValue,
  SESSION_KEY,
  toMetadataValue,
  WAYBILL_KEY,
} from "./waybill/carriers.ts";
export { fromCompact, toCompact } from "./waybill/jwe.ts";
export { Sessions } from "./waybill/sessions.ts";
