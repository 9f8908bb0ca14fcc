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

const NOBODY: Caller = Object.freeze({});

/** One call on its way through the interceptors. Handlers see it as their Context. */
export class Call implements Context<unknown>, SessionCall {
  readonly method: string;
  /** The request's metadata as they came, for those who look for a key or two. */
  readonly headers: Pick<Metadata, "get">;
  readonly deadline: number;
  caller: Caller = NOBODY;
  /** Set by the session interceptor. */
  opened: OpenSession<unknown> | undefined;
  /** Set by the interceptor of anchored sessions. */
  openTransaction: Context["transaction"] | undefined;
  /** Whether the handler has asked for a checkpoint. */
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

  /** @param draining for streams: aborted when the server wants them to end */
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
   * Sends the initial metadata, once, where there is any.
   *
   * @throws Error when they are larger than clients take
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

  /** Whether it is too late for initial metadata. */
  get hasReplied(): boolean {
    return this.#hasReplied;
  }

  /** What a stream's answer ends with. */
  get trailers(): Metadata {
    this.#trailers ??= new Metadata();
    return this.#trailers;
  }

  transaction(): ReturnType<Context["transaction"]> {
    if (this.openTransaction !== undefined) return this.openTransaction();
    throw new Error(`${this.method} asks for a transaction, but its contract has none to offer`);
  }

  async advance<Message>(message?: Message): Promise<never> {
    if (this.advanceStream !== undefined) return this.advanceStream(message) as Promise<never>;
    throw new Error(`${this.method} advances a session, but its contract has it stream none`);
  }

  checkpoint(): void {
    // Asking for the session throws where there is none.
    this.wantsCheckpoint = this.session !== undefined;
  }

  // Made on first use: most handlers never look at it.
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
      throw new Error(`${this.method} asks for a token, but its contract demands none`);
    }
    return this.caller.token;
  }

  get session(): Session<unknown> {
    if (this.opened === undefined) {
      throw new Error(`${this.method} asks for a session, but its contract opens none`);
    }
    return this.opened;
  }
}

/** A client whose limit is exceeded may end its connection, with all other calls on it. */
function assertFits(reply: Metadata): void {
  let bytes = 0;
  for (const [name, values] of Object.entries(reply.toHttp2Headers())) {
    // A list, of grpc-js's.
    for (const value of [values].flat()) {
      bytes += name.length + String(value).length + FIELD_OVERHEAD;
    }
  }
  if (bytes <= MAX_METADATA_BYTES) return;
  throw new Error(`the reply metadata have ${bytes} bytes, more than ${MAX_METADATA_BYTES}`);
}

/**
 * What the interceptors of a method are composed of; a stream's handler resolves to an iterable. It may
 * throw at once.
 */
export type Handler = (request: unknown, call: Call) => Promise<unknown>;
