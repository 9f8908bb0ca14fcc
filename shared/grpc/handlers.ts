import type { Metadata } from "@grpc/grpc-js";
import type { Session } from "../waybill/sessions.ts";

/** What a handler knows of its call, next to the request. */
export interface Context<State = never> {
  /** `/package.Service/Method`. */
  readonly method: string;
  /** The request's metadata. */
  readonly metadata: Metadata;
  /** The response's initial metadata. */
  readonly reply: Metadata;
  /** When the caller stops waiting: milliseconds since the Unix epoch, or Infinity. */
  readonly deadline: number;
  /** Aborted when the caller cancels, when the deadline passes, and when a stream's server drains. */
  readonly signal: AbortSignal;
  readonly caller: Caller;
  /** The call's session. Throws an error answered as INTERNAL when the contract opened none. */
  readonly session: Session<State>;
}

/** Who calls. */
export interface Caller {
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

/**
 * A service's handlers: for each method of its definition a function from request and context to a
 * promise of the response, or, where the response is a stream, to an async iterable of messages.
 */
export type Handlers<Definition, State = never> = {
  [Name in keyof Definition]: Definition[Name] extends { responseStream: true }
    ? (
        request: RequestOf<Definition[Name]>,
        context: Context<State>,
      ) => AsyncIterable<ResponseOf<Definition[Name]>>
    : (
        request: RequestOf<Definition[Name]>,
        context: Context<State>,
      ) => Promise<ResponseOf<Definition[Name]>>;
};

/** A typed client of a service: its unary methods as functions to promises. */
export type ClientMethods<Definition, Options> = {
  [Name in keyof Definition]: Definition[Name] extends { responseStream: true }
    ? (
        request: RequestOf<Definition[Name]>,
        options?: Options,
      ) => AsyncIterable<ResponseOf<Definition[Name]>>
    : (
        request: RequestOf<Definition[Name]>,
        options?: Options,
      ) => Promise<ResponseOf<Definition[Name]>>;
};
