import type { Metadata } from "@grpc/grpc-js";
import { Errors } from "../errors/errors.ts";

/**
 * The value of a key that may be sent once: a waybill, a token, a proof.
 *
 * @throws StatusError METADATA_DUPLICATED
 */
export function singleValue(metadata: Pick<Metadata, "get">, key: string): string | undefined {
  const values = metadata.get(key);
  const [value] = values;
  // Node joins values of one key with a comma, which none of these contains.
  if (values.length > 1 || (typeof value === "string" && value.includes(","))) {
    throw Errors.METADATA_DUPLICATED({ metadata: { key } });
  }
  return value?.toString();
}
