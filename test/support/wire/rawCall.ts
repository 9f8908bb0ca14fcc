import { once } from "node:events";
import {
  type ClientSessionOptions,
  connect,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
} from "node:http2";
import { Metadata } from "@grpc/grpc-js";
import { type ErrorReport, readError } from "#shared/errors.ts";
import { waitFor } from "../waitFor.ts";

/** Frames a message for gRPC, uncompressed. */
export function frame(message: Uint8Array = new Uint8Array()): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Permits repeated single-value headers. Node's types lack the option. */
const LENIENT = { strictSingleValueFields: false } as ClientSessionOptions;

/** A header field, sent unchanged. */
export type Field = readonly [name: string, value: string];

export interface RawResponse {
  /** The HTTP status; undefined if the stream was reset. */
  readonly http: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The gRPC status, or -1 without one. */
  readonly code: number;
  readonly report: ErrorReport;
}

/** Sends a request with header fields that gRPC clients never send, on a new connection. */
export async function rawCall(
  target: string,
  path: string,
  {
    method = "POST",
    type = "application/grpc",
    fields = [],
    body = frame(),
  }: { method?: string; type?: string; fields?: readonly Field[]; body?: Buffer } = {},
): Promise<RawResponse> {
  const session = connect(`http://${target}`, LENIENT);
  session.on("error", () => {});
  try {
    const head: Field[] = [
      [":method", method],
      [":path", path],
      [":scheme", "http"],
      [":authority", target],
      ["content-type", type],
      ["te", "trailers"],
    ];
    const stream = session.request([...head, ...fields].flat(), { endStream: false });
    let headers: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
    let trailers: IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    stream.on("response", (received) => {
      headers = received;
    });
    stream.on("trailers", (received) => {
      trailers = received;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.end(body);
    const closed = once(stream, "close");
    await waitFor(`the response to ${path}`, () => closed);
    const last = { ...headers, ...trailers };
    const code = Number(last["grpc-status"] ?? -1);
    const metadata = Metadata.fromHttp2Headers(last);
    const details = decodeURI(String(last["grpc-message"] ?? ""));
    const report = readError({ code, details, metadata });
    return {
      http: headers[":status"],
      headers,
      trailers,
      body: Buffer.concat(chunks),
      code,
      report,
    };
  } finally {
    session.destroy();
  }
}
