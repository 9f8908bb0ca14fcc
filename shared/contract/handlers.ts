import type { Metadata } from "@grpc/grpc-js";
import type { AccessToken } from "../auth/tokens/claims.ts";
import type { Db } from "../pg/pool.ts";
import type { Origin } from "../server/frontProxy.ts";
import type { Session } from "../waybill/session.ts";

/** The context of a call: every handler receives it with the request. */
export interface Context<State = never> {
  /** `/package.Service/Method`. */
  readonly method: string;
  /** The request's metadata. */
  readonly metadata: Metadata;
  /** The initial metadata of the response. More than 16 KiB fails the call with INTERNAL. */
  readonly reply: Metadata;
  /** Milliseconds since the Unix epoch, or Infinity. */
  readonly deadline: number;
  /**
   * Aborted when the caller cancels, when the deadline passes, and, for a stream without a session, when
   * the server drains.
   */
  readonly signal: AbortSignal;
  readonly caller: Caller;
  /** The network address and the certificate of the caller. */
  readonly origin: Origin;
  /** The caller's access token. Only for methods with ACCESS_AUTHENTICATED; others fail with INTERNAL. */
  readonly token: AccessToken;
  /** The call's session. A method without a session fails with INTERNAL. */
  readonly session: Session<State>;
  /**
   * Begins the transaction that commits together with the step of an anchored session, once, however often
   * the client retries the call. The interceptor commits it or rolls it back.
   *
   * The transaction locks the session until the response, so call other services before it: later calls
   * to them throw. A retry of a call that begins a session begins another session: key its rows by the
   * session. A method without a step that writes an anchored session fails with INTERNAL.
   */
  transaction(): Promise<Db>;
  /**
   * Checkpoints a carried session that has an owner: saves its state at the end of this call, before the
   * response, so that the owner can resume it. Anchored sessions are saved at each advance. Fails with
   * INTERNAL if the service was added without `checkpoints`.
   */
  checkpoint(): void;
  /**
   * Makes the current state the next version of the session and commits the transaction, if any. Only for
   * streams that begin or advance a session; others fail with INTERNAL.
   *
   * With a message, puts the version's waybill into its carrier field, so that a client with that message
   * can resume after it: `yield await context.advance(message)`. Without one, before the first message,
   * sends the waybill at once. Later changes become the last version, in the trailers. A client reopens a
   * broken stream with the last waybill, and the handler resumes from its state.
   */
  advance(): Promise<undefined>;
  advance<Message>(message: Message): Promise<Message>;
}

/** The caller's verified identity. An unverified property is undefined. */
export interface Caller {
  /** The claims of the access token. */
  readonly token?: AccessToken;
  /** The access token, encoded. */
  readonly jwt?: string;
  /** The calling service, for methods with ACCESS_SERVICE. */
  readonly service?: string;
  /** The one-time public key (JWK) that the calling service has signed. */
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

/** A service's methods, as ts-proto generates them (`outputServices=grpc-js`). */
// biome-ignore lint/suspicious/noExplicitAny: variance; the mapped types below restore the types.
export type ServiceDefinition = Record<string, MethodDefinition<any, any>>;

type RequestOf<M> = M extends { requestDeserialize(bytes: Buffer): infer R } ? R : never;
type ResponseOf<M> = M extends { responseDeserialize(bytes: Buffer): infer R } ? R : never;

type InputOf<M> = M extends { requestStream: true } ? AsyncIterable<RequestOf<M>> : RequestOf<M>;
type OutputOf<M> = M extends { responseStream: true }
  ? AsyncIterable<ResponseOf<M>>
  : Promise<ResponseOf<M>>;

/** A service's handlers: one function of request and context for each method. */
export type Handlers<Definition, State = never> = {
  [Name in keyof Definition]: (
    request: InputOf<Definition[Name]>,
    context: Context<State>,
  ) => OutputOf<Definition[Name]>;
};

/** A typed client of a service: one function for each method. */
export type ClientMethods<Definition, Options> = {
  [Name in keyof Definition]: (
    request: InputOf<Definition[Name]>,
    options?: Options,
  ) => OutputOf<Definition[Name]>;
};
