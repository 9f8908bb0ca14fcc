import { constants, type ServerHttp2Stream } from "node:http2";
import type { Metadata } from "@grpc/grpc-js";
import { Errors } from "../../errors.ts";

export const CONTENT_TYPE = "application/grpc+proto";
/** gRPC has no use for a date. */
const WITHOUT_MESSAGE = { endStream: true, sendDate: false };

/**
 * Ends a call on a stream of node:http2 with a status and no message ("Trailers-Only"). Never throws: a status
 * that cannot be written is replaced by INTERNAL, and if that cannot be written either, the stream is reset.
 *
 * @param details may be ill-formed UTF-16: lone surrogates are replaced
 */
export function endWithStatus(
  stream: ServerHttp2Stream,
  code: number,
  details: string,
  metadata?: Metadata,
): void {
  try {
    stream.respond(
      { ...metadata?.toHttp2Headers(), ...HEAD, ...toStatusHeaders(code, details) },
      WITHOUT_MESSAGE,
    );
  } catch {
    endAsInternal(stream);
  }
  drop(stream);
}

/** Ends a stream with an HTTP status that is no response to a gRPC call. */
export function endWithHttp(stream: ServerHttp2Stream, headers: Record<string, string | number>) {
  stream.respond(headers, WITHOUT_MESSAGE);
  drop(stream);
}

/** Reads the rest of a request and drops it: unread, it would use up the connection's flow-control window. */
function drop(stream: ServerHttp2Stream): void {
  // An error also closes the stream.
  stream.on("error", () => {});
  stream.resume();
}

/**
 * Makes sure that a stream which grpc-js serves ends, even if grpc-js cannot write the response. grpc-js calls
 * `respond` and `sendTrailers` in event listeners, where an error of `node:http2` (about metadata such as
 * `connection`, or two values of `etag`) ends the process or leaves the call without a response.
 *
 * @param failed gets the reason when a response could not be written
 */
export function guardResponse(stream: ServerHttp2Stream, failed: (cause: unknown) => void): void {
  const respond = stream.respond.bind(stream);
  const sendTrailers = stream.sendTrailers.bind(stream);
  // grpc-js listens for one error only, and goes on writing to a stream that has ended.
  stream.on("error", () => {});
  stream.respond = (headers, options) => {
    try {
      respond(headers, options);
    } catch (cause) {
      // The caller is gone: nothing can be sent, and nothing is wrong.
      if (stream.destroyed || stream.closed) return;
      failed(cause);
      endAsInternal(stream, respond);
    }
  };
  stream.sendTrailers = (trailers) => {
    try {
      sendTrailers(trailers);
    } catch (cause) {
      if (stream.destroyed || stream.closed) return;
      failed(cause);
      try {
        sendTrailers(INTERNAL);
      } catch {
        stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      }
    }
  };
}

/** Ends a call when nothing else can be written any more. Never throws. */
export function endAsInternal(
  stream: ServerHttp2Stream,
  respond = stream.respond.bind(stream),
): void {
  try {
    if (!stream.headersSent) respond({ ...HEAD, ...INTERNAL }, WITHOUT_MESSAGE);
    else stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  } catch {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }
}

function toStatusHeaders(code: number, details: string): Record<string, string> {
  // Percent-encoding of more than the gRPC specification demands is legal; lone surrogates have none.
  return { "grpc-status": `${code}`, "grpc-message": encodeURI(details.toWellFormed()) };
}

const HEAD = { ":status": 200, "content-type": CONTENT_TYPE };
const { code, details, metadata } = Errors.INTERNAL().toStatusObject();
const INTERNAL = Object.freeze({
  ...metadata.toHttp2Headers(),
  ...toStatusHeaders(code, details),
});
