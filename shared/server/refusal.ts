import type { StatusObject } from "@grpc/grpc-js";
import { Errors, StatusError } from "../errors.ts";

/** How a server handles errors. */
export interface ErrorHandling {
  /** Converts an error to a StatusError; undefined: the call ends with INTERNAL. */
  translate(error: unknown): StatusError | undefined;
  /** Gets every failed call, with its cause. Must not throw. */
  failed(method: string, error: StatusError): void;
}

const LAST_CODE = 16;

/**
 * Converts any thrown value to the status of the call, and reports it to `failed`. Never throws: an error that
 * cannot be read, translated or encoded becomes INTERNAL, with the reason as its cause.
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

const UNWRITABLE = "cannot convert the second of these errors to a status: see the first";

/** @throws Error if gRPC cannot send the status */
function toWritable(error: StatusError): StatusObject {
  const { code, details, metadata } = error.toStatusObject();
  if (!Number.isInteger(code) || code < 1 || code > LAST_CODE) {
    throw new Error(`${code} is not the status code of a failed call`);
  }
  // grpc-js percent-encodes the text, which throws on half a surrogate pair.
  return { code, details: details.toWellFormed(), metadata };
}
