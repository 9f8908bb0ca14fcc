import type { StatusObject } from "@grpc/grpc-js";
import { Errors, StatusError } from "../errors.ts";

/** How a server handles errors. */
export interface ErrorHandling {
  /** Makes the status of an error that is not a StatusError, where there is a better one than INTERNAL. */
  translate(error: unknown): StatusError | undefined;
  /** Gets every failed call, with its cause. Must not throw. */
  failed(method: string, error: StatusError): void;
}

const LAST_CODE = 16;

/**
 * The status that a call is refused with, whatever its handler has thrown. Reports it to `failed`. Never
 * throws: an error that cannot be read, translated or encoded becomes INTERNAL, with the fault as its cause.
 */
export function refusalOf(
  method: string,
  thrown: unknown,
  { translate, failed }: ErrorHandling,
): StatusObject {
  try {
    const error =
      thrown instanceof StatusError
        ? thrown
        : (translate(thrown) ?? Errors.INTERNAL({ cause: thrown }));
    const sent = toWritable(error);
    failed(method, error);
    return sent;
  } catch (cause) {
    const error = Errors.INTERNAL({ cause: new AggregateError([cause, thrown], UNWRITABLE) });
    failed(method, error);
    return error.toStatusObject();
  }
}

const UNWRITABLE = "an error could not be made the status of a call: see the first of its errors";

/** @throws Error when the status could not be sent */
function toWritable(error: StatusError): StatusObject {
  const { code, details, metadata } = error.toStatusObject();
  if (!Number.isInteger(code) || code < 1 || code > LAST_CODE) {
    throw new Error(`${code} is not the code of a failed call`);
  }
  // grpc-js percent-encodes the text, which throws on half a surrogate pair.
  return { code, details: details.toWellFormed(), metadata };
}
