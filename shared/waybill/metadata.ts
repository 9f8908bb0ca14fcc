import { Errors } from "../errors.ts";

/** The metadata of a request, to be read key by key: `Metadata` of grpc-js is one. */
export interface MetadataReader {
  get(key: string): readonly (string | Buffer)[];
}

/** Characters that gRPC allows in a metadata value that is not binary. */
export const METADATA_TEXT = /^[ -~]*$/;

/**
 * Sets a key that carries a secret. grpc-js's own error about a value that it refuses repeats the value.
 *
 * @throws Error naming the key alone
 */
export function setSecret(
  metadata: { set(key: string, value: string): void },
  key: string,
  value: string,
): void {
  if (!METADATA_TEXT.test(value)) {
    throw new Error(`the value for the metadata key ${key} must be printable ASCII, on one line`);
  }
  metadata.set(key, value);
}

/**
 * The value of a key that may be sent once: a waybill, a token, a proof.
 *
 * @throws StatusError METADATA_DUPLICATED
 */
export function singleValue(metadata: MetadataReader, key: string): string | undefined {
  const values = metadata.get(key);
  const [value] = values;
  // Node joins values of one key with a comma, which none of these contains.
  if (values.length > 1 || (typeof value === "string" && value.includes(","))) {
    throw Errors.METADATA_DUPLICATED({ metadata: { key } });
  }
  return value?.toString();
}
