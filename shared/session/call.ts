import type { Caller, Context } from "../contract/handlers.ts";
import type { MetadataReader } from "../waybill/metadata.ts";
import type { OpenSession } from "../waybill/session.ts";

/** The part of a call that the session engine uses. Servers implement it. */
export interface SessionCall {
  /** `/package.Service/Method`. */
  readonly method: string;
  readonly headers: MetadataReader;
  readonly caller: Caller;
  /** The engine sets it before the handler runs. */
  opened: OpenSession<unknown> | undefined;
  /** Opens the transaction of an anchored session, for `context.transaction()`. */
  openTransaction: Context["transaction"] | undefined;
  /** Advances the session of a stream, for `context.advance()`. */
  advanceStream: Context["advance"] | undefined;
  /** Set when the handler has asked for a checkpoint. */
  readonly wantsCheckpoint: boolean;
  /** True once the initial metadata has been sent. */
  readonly hasReplied: boolean;
  /** Puts a waybill into the initial metadata. An empty one tells the client that its session has ended. */
  replyWith(waybill: string): void;
  /** Puts a waybill into the trailers of a stream. */
  endWith(waybill: string): void;
  /** Sends the initial metadata now. */
  sendReply(): void;
}

/**
 * A handler as the engine calls it; a stream's handler resolves to an async iterable. Declared as a method,
 * so that a handler of a server's own call type is assignable.
 */
export type Handler = {
  handle(request: unknown, call: SessionCall): Promise<unknown>;
}["handle"];

/** Encodes and decodes the messages of a method. */
export interface Codec {
  requestSerialize(request: unknown): Buffer;
  responseSerialize(response: unknown): Buffer;
  responseDeserialize(bytes: Buffer): unknown;
}
