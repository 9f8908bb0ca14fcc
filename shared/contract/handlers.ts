import type { Metadata } from "@grpc/grpc-js";
import type { AccessToken } from "../auth/tokens/claims.ts";
import type { Db } from "../pg/pool.ts";
import type { Origin } from "../server/frontProxy.ts";
import type { Session } from "../waybill/session.ts";

/** What a handler knows of its call, next to the request. */
export interface Context<State = never> {
  /** `/package.Service/Method`. */
  readonly method: string;
  /** The request's metadata. */
  readonly metadata: Metadata;
  /** The initial metadata of the response: 16 KiB at most, or the call ends INTERNAL. */
  readonly reply: Metadata;
  /** When the caller stops waiting: milliseconds since the Unix epoch, or Infinity. */
  readonly deadline: number;
  /**
   * Aborted when the caller cancels, when the deadline passes, and when the server of a stream without a
   * session drains.
   */
  readonly signal: AbortSignal;
  readonly caller: Caller;
  /** Where the call comes from. */
  readonly origin: Origin;
  /** The caller's token, for methods with ACCESS_AUTHENTICATED. Throws an error answered as INTERNAL. */
  readonly token: AccessToken;
  /** The call's session. Throws an error answered as INTERNAL when the contract opened none. */
  readonly session: Session<State>;
  /**
   * The transaction that an anchored session's step is committed with: all of it happens, or nothing,
   * and once, however often the call is made. A call that begins a session begins another one when it is
   * made again, with rows of its own: key them by the session. Asking for it locks the session until the
   * answer, so ask other services before: a call to one throws from then on. The interceptor ends it.
   * Throws an error answered as INTERNAL where the contract declares no step that writes an anchored
   * session.
   */
  transaction(): Promise<Db>;
  /**
   * Has a carried session that has an owner kept as this call leaves it, before the answer, so that he
   * can resume it. Of an anchored one that is done at each advance. Throws an error answered as INTERNAL
   * where the service was given no `checkpoints`.
   */
  checkpoint(): void;
  /**
   * For streams that begin or advance a session: makes the state, as it is now, the next version, and
   * commits the transaction, if any. Given a message, its carrier field gets the version's waybill, so
   * that who has the message goes on after it: `yield await context.advance(message)`. Without one,
   * before the first message, the waybill is sent at once. What has changed when the stream ends is
   * the last version, in the trailers. A stream that breaks is opened again with the last waybill: its
   * handler goes on from what the state says. Throws an error answered as INTERNAL elsewhere.
   */
  advance(): Promise<undefined>;
  advance<Message>(message: Message): Promise<Message>;
}

/** Who calls. Nothing of it is there unless it was proven. */
export interface Caller {
  /** What the caller's access token says. */
  readonly token?: AccessToken;
  /** The token itself. */
  readonly jwt?: string;
  /** The service that has proven to be the caller, for methods with ACCESS_SERVICE. */
  readonly service?: string;
  /** The one-time public key (JWK) that the calling service has vouched for. */
  readonly oneTimeKey?: Record<string, unknown>;
}

interface MethodDefinition<Request, Response> {
  path: string;
  requestStream: boolean;
  responseStream: boolean;
  requestSerialize(message: Request): Buffer;
  requestDeserialize(bytes: Buffer): Request;
  responseSerialize(message: Response): Buffer;
  responseDeserialize(bytes: Buffer): Response;
}

/** What ts-proto generates for a service (`outputServices=grpc-js`). */
// biome-ignore lint/suspicious/noExplicitAny: variance; the mapped types below restore the types.
export type ServiceDefinition = Record<string, MethodDefinition<any, any>>;

type RequestOf<M> = M extends { requestDeserialize(bytes: Buffer): infer R } ? R : never;
type ResponseOf<M> = M extends { responseDeserialize(bytes: Buffer): infer R } ? R : never;

/** What goes in: a message, or, where the request is a stream, an async iterable of them. */
type InputOf<M> = M extends { requestStream: true } ? AsyncIterable<RequestOf<M>> : RequestOf<M>;
/** What comes out: a promise of a message, or, where the response is a stream, an async iterable. */
type OutputOf<M> = M extends { responseStream: true }
  ? AsyncIterable<ResponseOf<M>>
  : Promise<ResponseOf<M>>;

/** A service's handlers: for each method of its definition a function of request and context. */
export type Handlers<Definition, State = never> = {
  [Name in keyof Definition]: (
    request: InputOf<Definition[Name]>,
    context: Context<State>,
  ) => OutputOf<Definition[Name]>;
};

/** A typed client of a service: a function for each of its methods. */
export type ClientMethods<Definition, Options> = {
  [Name in keyof Definition]: (
    request: InputOf<Definition[Name]>,
    options?: Options,
  ) => OutputOf<Definition[Name]>;
};
