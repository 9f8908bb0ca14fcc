import { type IncomingHttpHeaders, type ServerHttp2Stream, sensitiveHeaders } from "node:http2";
import { Metadata, type ServerErrorResponse, status } from "@grpc/grpc-js";
import { WAYBILL_KEY } from "../../waybill/carriers.ts";
import { METADATA_TEXT } from "../../waybill/metadata.ts";
import { FramedMessage, type MessageRefusal, toFrame } from "./framedMessage.ts";
import { CONTENT_TYPE, endAsInternal, endWithStatus } from "./statusResponse.ts";

/** Handles a call: grpc-js's `handleUnaryCall` with an undecoded request. */
export interface UnaryMethod {
  readonly path: string;
  /** Metadata keys that it reads: their values were checked to be text before the call. Default: none. */
  readonly keys?: readonly string[];
  /** Must not throw. If it does, the call is answered INTERNAL. */
  handle(
    call: UnaryCall,
    callback: (error: Partial<ServerErrorResponse> | null, response?: unknown) => void,
  ): void;
  serialize(response: unknown): Buffer;
  /** Largest request in bytes. */
  readonly maxBytes: number;
}

/**
 * Never indexed: waybills are unique and would evict useful entries of the header compression table, and
 * secrets must not be in it (RFC 7541 section 7.1.3).
 */
const NEVER_INDEXED = { [sensitiveHeaders]: [WAYBILL_KEY] };
/** gRPC has no use for a date. */
const WITH_TRAILERS = { waitForTrailers: true, sendDate: false };
const OK_TRAILERS = Object.freeze({ "grpc-status": "0" });

/** A timeout as gRPC writes it. */
export const TIMEOUT = /^(\d{1,8})([HMSmun])$/;
/** Says so of a value that is none, which it does not repeat: it may be of any length. */
export const NO_TIMEOUT = "The metadata `grpc-timeout` is not a timeout.";
const UNIT_MS: Record<string, number> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
/** The longest that a timer of Node's waits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Maps a stream to its call for the shared listeners, without a closure for each call. */
const CALL = Symbol("call");
/**
 * Detaches the call and the headers from a finished stream. node:http2's own lists keep a finished stream
 * alive until a full garbage collection, with everything that it references. Without this a cached
 * response costs a third more.
 */
type CallStream = ServerHttp2Stream & { [CALL]: UnaryCall | undefined };

/**
 * A unary call on a stream of node:http2: one message in, one message or a status out (gRPC over HTTP/2).
 * Handlers see the same interface as grpc-js's own call.
 */
export class UnaryCall {
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #method: UnaryMethod;
  #metadata: Metadata | undefined;
  #reply: Metadata | undefined;
  #waybill: string | undefined;
  readonly #message: FramedMessage;
  #deadline = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;
  #cancelled = false;
  #whenCancelled: (() => void)[] | undefined;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, method: UnaryMethod) {
    this.#stream = stream;
    this.#headers = headers;
    this.#method = method;
    const encoding = headers["grpc-encoding"] ?? "identity";
    this.#message = new FramedMessage(method.path, method.maxBytes, String(encoding));
  }

  /** Listens to the stream. */
  start(): void {
    const stream = this.#stream as CallStream;
    stream[CALL] = this;
    // An error also closes the stream.
    stream.on("error", ignore);
    stream.on("close", closed);
    const timeout = this.#headers["grpc-timeout"];
    if (timeout !== undefined && !this.#expireAfter(String(timeout))) {
      this.#end(status.INTERNAL, NO_TIMEOUT);
      return;
    }
    stream.on("data", received);
    stream.on("end", ended);
  }

  /** The request's message, encoded. */
  get request(): Buffer {
    return this.#message.bytes;
  }

  /** Made on first use. */
  get metadata(): Metadata {
    this.#metadata ??= toMetadata(this.#headers);
    return this.#metadata;
  }

  /** The values of a key in lower case, as `metadata.get` has them, without making metadata of all. */
  get(key: string): (string | Buffer)[] {
    if (key.endsWith("-bin")) return this.metadata.get(key);
    const value = this.#headers[key];
    if (value === undefined) return [];
    if (this.#method.keys?.includes(key)) return [value as string];
    return typeof value === "string" && METADATA_TEXT.test(value)
      ? [value]
      : this.metadata.get(key);
  }

  /** True if the caller has cancelled, or its deadline has passed. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** @param event `cancelled` is the only one */
  once(_event: "cancelled", listener: () => void): this {
    this.#whenCancelled = [...(this.#whenCancelled ?? []), listener];
    return this;
  }

  /** Milliseconds since the Unix epoch, or Infinity. */
  getDeadline(): number {
    return this.#deadline;
  }

  /** Host and port of the caller's connection. */
  getPeer(): string {
    const socket = this.#stream.session?.socket;
    return socket?.remoteAddress ? `${socket.remoteAddress}:${socket.remotePort}` : "unknown";
  }

  /**
   * Sets the initial metadata. They are sent with the message.
   *
   * @param waybill goes with them as it is: it is text that was made here
   */
  sendMetadata(metadata: Metadata | undefined, waybill?: string): void {
    this.#reply = metadata;
    this.#waybill = waybill;
  }

  receive(chunk: Buffer): void {
    if (this.#isOver) return;
    const refusal = this.#message.add(chunk);
    if (refusal !== undefined) this.#refuse(refusal);
  }

  /** The request has ended: the caller has half-closed or disconnected. */
  receivedAll(): void {
    if (this.#isOver || this.#isGone()) return;
    const refusal = this.#message.end();
    if (refusal !== undefined) this.#refuse(refusal);
    else if (this.#message.isCompressed) void this.#decompress();
    else this.#handle();
  }

  async #decompress(): Promise<void> {
    const refusal = await this.#message.decompress();
    if (this.#isOver || this.#isGone()) return;
    if (refusal !== undefined) this.#refuse(refusal);
    else this.#handle();
  }

  #handle(): void {
    try {
      this.#method.handle(this, (error, response) => this.#answer(error, response));
    } catch {
      // An exception in this event listener would end the process.
      this.#finish();
      endAsInternal(this.#stream);
    }
  }

  #refuse({ code, details, metadata }: MessageRefusal): void {
    this.#end(code, details, metadata);
  }

  /** The stream is gone. */
  closed(): void {
    if (!this.#isOver) this.#cancel();
  }

  #answer(error: Partial<ServerErrorResponse> | null, response: unknown): void {
    if (this.#isOver || this.#isGone()) return;
    if (error !== null) {
      this.#end(error.code ?? status.UNKNOWN, error.details ?? "", error.metadata);
      return;
    }
    const frame = toFrame(this.#method.serialize(response));
    // A list, which is cheaper to node:http2 than an object, and may be emptied.
    const headers: unknown[] = [":status", 200, "content-type", CONTENT_TYPE];
    const reply = this.#reply?.toHttp2Headers();
    for (const key in reply) headers.push(key, reply[key]);
    if (this.#waybill !== undefined) {
      headers.push(WAYBILL_KEY, this.#waybill);
      Object.assign(headers, NEVER_INDEXED);
    }
    this.#stream.respond(headers as readonly string[], WITH_TRAILERS);
    // They are on their way, and the stream has kept the list.
    headers.length = 0;
    // Not before: metadata that node:http2 refuses are an error that the call can still be answered with.
    this.#finish();
    this.#stream.on("wantTrailers", sendOk);
    // Message and end in one: they leave together.
    this.#stream.end(frame);
  }

  /** Ends the call without a message. */
  #end(code: status, details: string, metadata?: Metadata): void {
    // It will be told that it is closed.
    if (this.#isGone()) return;
    this.#finish();
    endWithStatus(this.#stream, code, details, metadata);
  }

  /** A stream may be gone before it says so. */
  #isGone(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  #finish(): void {
    this.#isOver = true;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
  }

  #cancel(): void {
    this.#finish();
    this.#cancelled = true;
    for (const listener of this.#whenCancelled ?? []) listener();
  }

  /** @returns whether that is a timeout as gRPC writes it */
  #expireAfter(text: string): boolean {
    const [, value, unit] = TIMEOUT.exec(text) ?? [];
    if (value === undefined || unit === undefined) return false;
    this.#deadline = Date.now() + Number(value) * UNIT_MS[unit]!;
    if (begun.length === 0) setImmediate(watchBegun);
    begun.push(this);
    return true;
  }

  /** Has the call end at its deadline, unless it is over. */
  watch(): void {
    if (this.#isOver) return;
    this.#timer = setTimeout(expired, toTimer(this.#deadline - Date.now()), this);
  }

  /** The caller's time has run out. */
  expire(): void {
    if (this.#isOver || this.#isGone()) return;
    this.#end(status.DEADLINE_EXCEEDED, "Deadline exceeded");
    this.#cancel();
  }
}

function received(this: CallStream, chunk: Buffer): void {
  this[CALL]?.receive(chunk);
}

function ended(this: CallStream): void {
  this[CALL]?.receivedAll();
}

function closed(this: CallStream): void {
  this[CALL]?.closed();
  this[CALL] = undefined;
}

function sendOk(this: CallStream): void {
  this.sendTrailers(OK_TRAILERS);
}

function expired(call: UnaryCall): void {
  call.expire();
}

function ignore(): void {}

/** Those with a deadline that have begun in this turn of the event loop: most are over with it, without a timer. */
let begun: UnaryCall[] = [];

function watchBegun(): void {
  const calls = begun;
  begun = [];
  for (const call of calls) call.watch();
}

/**
 * Rounds the time until a deadline up, by at most a 64th. Node keeps a list of timers for each distinct
 * duration, and callers send a different remaining time with each call.
 */
function toTimer(timeoutMs: number): number {
  if (timeoutMs < 1) return 1;
  const grain = 2 ** Math.max(0, Math.floor(Math.log2(timeoutMs)) - 6);
  return Math.min(Math.ceil(timeoutMs / grain) * grain, MAX_TIMER_MS);
}

/** Request headers of the transport. */
const TRANSPORT: ReadonlySet<string> = new Set([
  "grpc-timeout",
  "grpc-encoding",
  "grpc-accept-encoding",
  "accept-encoding",
  "te",
  "content-type",
]);

function toMetadata(headers: IncomingHttpHeaders): Metadata {
  const metadata = Metadata.fromHttp2Headers(headers);
  for (const key of TRANSPORT) metadata.remove(key);
  return metadata;
}
