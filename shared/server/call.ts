import type { EventEmitter } from "node:events";
import {
  Metadata,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
} from "@grpc/grpc-js";
import type { AccessToken } from "../auth/tokens/claims.ts";
import type { Caller, Context } from "../contract/handlers.ts";
import type { SessionCall } from "../session/call.ts";
import { WAYBILL_KEY } from "../waybill/carriers.ts";
import type { OpenSession, Session } from "../waybill/session.ts";
import { FrontProxy, type Origin } from "./frontProxy.ts";
import { FIELD_OVERHEAD, MAX_METADATA_BYTES } from "./wire/requestMetadata.ts";
import { UnaryCall } from "./wire/unaryCall.ts";

type GrpcCall =
  | UnaryCall
  | ServerUnaryCall<unknown, unknown>
  | ServerReadableStream<unknown, unknown>
  | ServerWritableStream<unknown, unknown>
  | ServerDuplexStream<unknown, unknown>;

const NO_FRONT_PROXY = new FrontProxy(undefined);

const UNKNOWN_CALLER: Caller = Object.freeze({});

/** One call, as the interceptors pass it on. Handlers see it as their Context. */
export class Call implements Context<unknown>, SessionCall {
  readonly method: string;
  /** The request's metadata, to read single keys without building a Metadata object. */
  readonly headers: Pick<Metadata, "get">;
  readonly deadline: number;
  caller: Caller = UNKNOWN_CALLER;
  /** Set by the session interceptor. */
  opened: OpenSession<unknown> | undefined;
  /** Set by the interceptor of anchored sessions. */
  openTransaction: Context["transaction"] | undefined;
  /** True if the handler has called `checkpoint()`. */
  wantsCheckpoint = false;
  /** Set for streams that may advance a session. */
  advanceStream: Context["advance"] | undefined;
  readonly #call: GrpcCall;
  readonly #draining: AbortSignal | undefined;
  #reply: Metadata | undefined;
  #waybill: string | undefined;
  #hasReplied = false;
  #trailers: Metadata | undefined;
  #signal: AbortSignal | undefined;
  readonly #frontProxy: FrontProxy;
  #origin: Origin | undefined;

  /** @param draining aborted when a stream must end because the server drains */
  constructor(
    method: string,
    call: GrpcCall,
    frontProxy: FrontProxy = NO_FRONT_PROXY,
    draining?: AbortSignal,
  ) {
    this.#frontProxy = frontProxy;
    this.method = method;
    this.headers = call instanceof UnaryCall ? call : call.metadata;
    const deadline = call.getDeadline();
    this.deadline = typeof deadline === "number" ? deadline : deadline.getTime();
    this.#call = call;
    this.#draining = draining;
  }

  get metadata(): Metadata {
    return this.#call.metadata;
  }

  get reply(): Metadata {
    this.#reply ??= new Metadata();
    return this.#reply;
  }

  replyWith(waybill: string): void {
    this.#waybill = waybill;
  }

  endWith(waybill: string): void {
    this.trailers.set(WAYBILL_KEY, waybill);
  }

  /**
   * Sends the initial metadata, if any, once.
   *
   * @throws Error if they are larger than clients accept
   */
  sendReply(): void {
    if (this.#hasReplied) return;
    if (this.#reply !== undefined) assertFits(this.#reply);
    this.#hasReplied = true;
    if (this.#call instanceof UnaryCall) {
      this.#call.sendMetadata(this.#reply, this.#waybill);
      return;
    }
    if (this.#waybill !== undefined) this.reply.set(WAYBILL_KEY, this.#waybill);
    if (this.#reply !== undefined) this.#call.sendMetadata(this.#reply);
  }

  get hasReplied(): boolean {
    return this.#hasReplied;
  }

  /** The trailing metadata of a stream. */
  get trailers(): Metadata {
    this.#trailers ??= new Metadata();
    return this.#trailers;
  }

  transaction(): ReturnType<Context["transaction"]> {
    if (this.openTransaction !== undefined) return this.openTransaction();
    throw new Error(
      `${this.method} calls transaction(), but its contract declares no step that writes an anchored session`,
    );
  }

  async advance<Message>(message?: Message): Promise<never> {
    if (this.advanceStream !== undefined) return this.advanceStream(message) as Promise<never>;
    throw new Error(
      `${this.method} calls advance(), but its contract declares no stream that writes a session`,
    );
  }

  checkpoint(): void {
    // The getter throws if the call has no session.
    this.wantsCheckpoint = this.session !== undefined;
  }

  // Created on first use: most handlers do not use it.
  get signal(): AbortSignal {
    if (this.#signal === undefined) {
      const controller = new AbortController();
      if (this.#call.cancelled) controller.abort();
      // The union of both call types has no common signature for `once`.
      (this.#call as EventEmitter).once("cancelled", () => controller.abort());
      this.#signal = this.#draining
        ? AbortSignal.any([controller.signal, this.#draining])
        : controller.signal;
    }
    return this.#signal;
  }

  get origin(): Origin {
    this.#origin ??= this.#frontProxy.originOf(this.headers, this.#call.getPeer());
    return this.#origin;
  }

  get token(): AccessToken {
    if (this.caller.token === undefined) {
      throw new Error(
        `${this.method} reads the token, but its contract has no ACCESS_AUTHENTICATED`,
      );
    }
    return this.caller.token;
  }

  get session(): Session<unknown> {
    if (this.opened === undefined) {
      throw new Error(`${this.method} reads the session, but its contract declares no step`);
    }
    return this.opened;
  }
}

/** A client may close a connection, with all calls on it, over headers beyond its limit. */
function assertFits(reply: Metadata): void {
  let bytes = 0;
  for (const [name, values] of Object.entries(reply.toHttp2Headers())) {
    // grpc-js returns a list of values for each key.
    for (const value of [values].flat()) {
      bytes += name.length + String(value).length + FIELD_OVERHEAD;
    }
  }
  if (bytes <= MAX_METADATA_BYTES) return;
  throw new Error(`the initial metadata have ${bytes} bytes; at most ${MAX_METADATA_BYTES}`);
}

/**
 * Handles a call: an interceptor or a service's handler. A stream's handler resolves to an iterable. May
 * throw synchronously.
 */
export type Handler = (request: unknown, call: Call) => Promise<unknown>;
