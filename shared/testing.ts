/** `waybill/testing`: opens and makes waybills in a service's own tests. */

export {
  fieldToMetadataValue,
  SESSION_KEY,
  toMetadataValue,
  WAYBILL_KEY,
} from "./waybill/carriers.ts";
export { fromCompact, toCompact } from "./waybill/jwe.ts";
export { Sessions } from "./waybill/sessions.ts";
