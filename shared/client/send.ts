import type { EventEmitter } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  type CallOptions,
  type Client,
  type ClientReadableStream,
  type ClientUnaryCall,
  type ClientWritableStream,
  Metadata,
  type ServiceError,
  type StatusObject,
} from "@grpc/grpc-js";
import { type KnownChanges, seeChange, seeWritten, withChange } from "../cache/changeNumbers.ts";
import type { MethodContract } from "../contract/contract.ts";
import type { ServiceDefinition } from "../contract/handlers.ts";
import { HandlerTransaction } from "../session/handlerTransaction.ts";
import type { CallSettings } from "./client.ts";

/** Metadata that go along to the next service: W3C trace context. */
export const FORWARDED = ["traceparent", "tracestate"];

/** A method of a client. */
export interface ClientMethod {
  readonly client: Client;
  readonly definition: ServiceDefinition[string];
  /** The deadline of calls that set none, in ms from their start. */
  readonly timeoutMs: number;
  /** The method's contract, where the client has one. */
  readonly declared: MethodContract | undefined;
  /** The changes that responses to this client told of. */
  readonly known: KnownChanges | undefined;
}

/** When a call ends at the latest, in ms since the Unix epoch. */
export function deadlineOf({ timeoutMs, context }: CallSettings, defaultMs: number): number {
  const ownMs = Date.now() + (timeoutMs ?? defaultMs);
  return Math.min(ownMs, context?.deadline ?? Number.POSITIVE_INFINITY);
}

export function metadataOf({ metadata, context }: CallSettings): Metadata {
  if (context === undefined) return metadata ?? new Metadata();
  const merged = metadata?.clone() ?? new Metadata();
  for (const key of FORWARDED)
    for (const value of context.metadata.get(key)) merged.add(key, value);
  return merged;
}

/** Makes a call with a stream of responses. */
export function openStream(
  { client, definition, timeoutMs, known }: ClientMethod,
  request: unknown,
  settings: CallSettings,
): ClientReadableStream<unknown> {
  const { path, requestSerialize: serialize, responseDeserialize: deserialize } = definition;
  HandlerTransaction.assertNone(path);
  const metadata = metadataOf(settings);
  const options = streamOptions(settings, timeoutMs);
  let stream: ClientReadableStream<unknown>;
  if (definition.requestStream) {
    const both = client.makeBidiStreamRequest(path, serialize, deserialize, metadata, options);
    // The reader gets the error that breaks the stream.
    pipeline(Readable.from(request as AsyncIterable<unknown>), both).catch(() => {});
    stream = both;
  } else {
    stream = client.makeServerStreamRequest(
      path,
      serialize,
      deserialize,
      request,
      metadata,
      options,
    );
  }
  const stopListening = onAbort(settings, () => stream.cancel());
  // A reader that stops destroys the stream; grpc-js by itself would leave the call open.
  stream.once("close", () => {
    stopListening();
    stream.cancel();
  });
  listen(stream, settings, known && noteChange(known, false));
  return stream;
}

/** Makes a call with one response. */
export function callForResponse(
  { client, definition, timeoutMs, declared, known }: ClientMethod,
  request: unknown,
  settings: CallSettings,
): Promise<unknown> {
  const { path, requestSerialize: serialize, responseDeserialize: deserialize } = definition;
  return new Promise((resolve, reject) => {
    HandlerTransaction.assertNone(path);
    const given = metadataOf(settings);
    const metadata = known && declared?.cache ? withChange(given, known) : given;
    const note = known && noteChange(known, declared !== undefined && isWrite(declared));
    const done = (error: ServiceError | null, response?: unknown) => {
      stopListening();
      if (error) reject(error);
      else resolve(response);
    };
    let call: ClientUnaryCall | ClientWritableStream<unknown>;
    if (definition.requestStream) {
      const options = streamOptions(settings, timeoutMs);
      const upload = client.makeClientStreamRequest(
        path,
        serialize,
        deserialize,
        metadata,
        options,
        done,
      );
      const requests = reportingFailure(request as AsyncIterable<unknown>, (error) => {
        reject(error);
        upload.cancel();
      });
      // The call fails with any other error that breaks the stream.
      pipeline(Readable.from(requests), upload).catch(() => {});
      call = upload;
    } else {
      const options = { deadline: deadlineOf(settings, timeoutMs) };
      call = client.makeUnaryRequest(
        path,
        serialize,
        deserialize,
        request,
        metadata,
        options,
        done,
      );
    }
    const stopListening = onAbort(settings, () => call.cancel());
    listen(call, settings, note);
  });
}

/** A stream has no deadline, unless its call sets one. */
function streamOptions(settings: CallSettings, defaultMs: number): CallOptions {
  return settings.timeoutMs === undefined ? {} : { deadline: deadlineOf(settings, defaultMs) };
}

/** A repeated call, or one of a session with saved responses, may tell of a change made before it. */
function isWrite({ kind, cache, idempotent, session }: MethodContract): boolean {
  return kind === "unary" && !cache && !idempotent && !session;
}

/** Passes an iterable on, and reports when it fails by itself. */
async function* reportingFailure(
  source: AsyncIterable<unknown>,
  failed: (error: unknown) => void,
): AsyncGenerator<unknown> {
  try {
    yield* source;
  } catch (error) {
    failed(error);
    throw error;
  }
}

/** Makes a function that notes the change which a response tells of. To be called before the call. */
function noteChange(known: KnownChanges, isWrite: boolean): (metadata: Metadata) => void {
  if (!isWrite) return (metadata) => seeChange(known, metadata);
  const before = { seen: known.seen, era: known.era };
  return (metadata) => seeWritten(known, before, metadata);
}

function listen(
  call: EventEmitter,
  { onMetadata, onTrailers }: CallSettings,
  note: ((metadata: Metadata) => void) | undefined,
): void {
  // Before the response, so that the caller's next call knows of the change.
  if (note) call.on("metadata", note);
  if (onMetadata) call.on("metadata", onMetadata);
  if (onTrailers) call.on("status", ({ metadata }: StatusObject) => onTrailers(metadata));
}

/** Calls `cancel` when a signal of a call is aborted. @returns stops listening */
export function onAbort({ signal, context }: CallSettings, cancel: () => void): () => void {
  const signals = [signal, context?.signal].filter((each) => each !== undefined);
  for (const each of signals) {
    if (each.aborted) cancel();
    else each.addEventListener("abort", cancel, { once: true });
  }
  return () => {
    for (const each of signals) each.removeEventListener("abort", cancel);
  };
}
