import {
  type ServiceDefinition as GrpcServiceDefinition,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { CacheScope } from "../cache/cacheScope.ts";
import type { ResponseCache } from "../cache/responseCache.ts";
import { Errors, StatusError } from "../errors/errors.ts";
import { requestReader } from "../reading/requestReader.ts";
import { Sessions } from "../waybill/sessions.ts";
import { type Authentications, access } from "./access.ts";
import { caching, noting } from "./caching.ts";
import { Call, type Handler } from "./call.ts";
import { type Contract, largestRequest, type MethodContract } from "./contract.ts";
import { requestTooLarge } from "./framedMessage.ts";
import type { FrontDoor } from "./frontDoor.ts";
import type { Handlers, ServiceDefinition } from "./handlers.ts";
import { revalidation } from "./revalidation.ts";
import { sessionInterceptor } from "./session.ts";
import type { SessionParts } from "./sessionParts.ts";
import type { UnaryCall, UnaryMethod } from "./unaryCall.ts";

/** What happens around every call of a server. */
export interface Surroundings {
  readonly contract: Contract;
  readonly authentications: Authentications;
  readonly frontDoor: FrontDoor;
  /** Takes a place for a call, and gives the function that frees it; undefined when all are taken. */
  enter(method: MethodContract): (() => void) | undefined;
  /** Makes the status of an error that is not a StatusError, where there is a better one than INTERNAL. */
  translate(error: unknown): StatusError | undefined;
  /** Hears of every failed call, with its cause. */
  failed(method: string, error: StatusError): void;
  readonly draining: AbortSignal;
  /** Largest request of methods that state none, in bytes. */
  readonly maxRequestBytes: number;
}

/** A service, ready to be served. */
export interface Implementation {
  readonly definition: GrpcServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
  /** Its unary methods, for who serves those apart. */
  readonly unary: readonly UnaryMethod[];
}

/**
 * Turns promise handlers into what grpc-js's `Server.addService` takes. The interceptors of each
 * method are composed here, once: a method has only those that its contract asks for.
 *
 * Order: a place on the server, access, what is kept of answers, decoding and field constraints, session,
 * revalidation.
 */
export function implement<Definition extends ServiceDefinition, State>(
  definition: Definition,
  handlers: Handlers<Definition, State>,
  around: Surroundings,
  parts?: SessionParts<State>,
  cache?: ResponseCache,
): Implementation {
  let sessions: Sessions<State> | undefined;
  const wire: Record<string, unknown> = {};
  const implementation: UntypedServiceImplementation = {};
  const unaries: UnaryMethod[] = [];
  for (const [name, method] of Object.entries(definition)) {
    const contract = around.contract.method(method.path);
    if (contract.session !== undefined) {
      if (parts === undefined) throw new Error(`${method.path} has a session: give state and ring`);
      sessions ??= new Sessions(contract.session, parts.state, parts.ring, parts);
    }
    const user = handlers[name] as unknown as Handler;
    const handler = compose(contract, method, user.bind(handlers), around, {
      sessions,
      parts,
      kept: cache?.scope(contract.service),
    });
    // What was encoded already, to be saved, is not encoded again.
    const serialize = (response: unknown) =>
      Buffer.isBuffer(response) ? response : method.responseSerialize(response);
    wire[name] = {
      ...method,
      // The bytes come as they are: they are decoded after the caller may call at all.
      requestDeserialize: (bytes: Buffer) => bytes,
      responseSerialize: serialize,
    };
    if (contract.kind === "unary") {
      const handle = unary(contract, handler, around);
      implementation[name] = handle;
      const maxBytes = largestRequest(contract, around.maxRequestBytes);
      unaries.push({ path: method.path, handle, serialize, maxBytes });
    } else implementation[name] = STREAMS[contract.kind](contract, handler, around);
  }
  return { definition: wire as GrpcServiceDefinition, handlers: implementation, unary: unaries };
}

/** What happens around the calls of one service. */
interface ServiceSurroundings<State> {
  readonly sessions: Sessions<State> | undefined;
  readonly parts: SessionParts<State> | undefined;
  readonly kept: CacheScope | undefined;
}

function compose<State>(
  contract: MethodContract,
  method: ServiceDefinition[string],
  user: Handler,
  around: Surroundings,
  { sessions, parts, kept }: ServiceSurroundings<State>,
): Handler {
  let handler = revalidation(contract, user, method.responseSerialize, () =>
    method.responseDeserialize(Buffer.alloc(0)),
  );
  if (sessions !== undefined) {
    handler = sessionInterceptor(contract, method, handler, sessions, parts!);
  }
  handler = decoding(contract, method, noting(contract, handler), around);
  if (kept !== undefined) {
    handler = caching(contract, handler, method.responseSerialize, kept, () =>
      around.enter(contract),
    );
  }
  return access(contract, handler, around.authentications);
}

function decoding(
  contract: MethodContract,
  method: ServiceDefinition[string],
  next: Handler,
  around: Surroundings,
): Handler {
  const { requestCarrier, resource, sessionName } = contract;
  const maxBytes = largestRequest(contract, around.maxRequestBytes);
  const readWhole = requestReader(
    around.contract.registry,
    contract.request,
    method.requestDeserialize,
    [requestCarrier, resource, sessionName].some((name) => name !== undefined),
  );
  const read = (bytes: Buffer) => {
    if (bytes.length > maxBytes) throw requestTooLarge(bytes.length, maxBytes);
    return readWhole(bytes);
  };
  if (method.requestStream) {
    return async (messages, call) => next(readEach(messages as AsyncIterable<Buffer>, read), call);
  }
  return (bytes, call) => next(read(bytes as Buffer), call);
}

async function* readEach(
  messages: AsyncIterable<Buffer>,
  read: (bytes: Buffer) => unknown,
): AsyncGenerator<unknown> {
  for await (const message of messages) yield read(message);
}

const STREAMS = {
  server_streaming: serverStream,
  client_streaming: clientStream,
  bidi_streaming: bidiStream,
};

function unary(
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
): (call: UnaryCall | ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => void {
  return (grpcCall, callback) => {
    const leave = around.enter(contract);
    if (leave === undefined) {
      callback(overloaded());
      return;
    }
    void serve(grpcCall, callback, leave);
  };

  async function serve(
    grpcCall: UnaryCall | ServerUnaryCall<unknown, unknown>,
    callback: sendUnaryData<unknown>,
    leave: () => void,
  ): Promise<void> {
    try {
      const call = new Call(contract.path, grpcCall, around.frontDoor);
      const response = await handler(grpcCall.request, call);
      call.sendReply();
      callback(null, response);
    } catch (thrown) {
      // Nobody waits for the answer to a call that was given up.
      if (grpcCall.cancelled) callback({ code: status.CANCELLED });
      else callback(failure(contract.path, thrown, around).toStatusObject());
    } finally {
      leave();
    }
  }
}

function serverStream(
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
): handleServerStreamingCall<unknown, unknown> {
  return (grpcCall) => answer(grpcCall, grpcCall.request, contract, handler, around);
}

function clientStream(
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
): handleClientStreamingCall<unknown, unknown> {
  return (grpcCall, callback) => {
    const entered = enterStream(contract, grpcCall, around);
    if (entered === undefined) {
      callback(overloaded());
      return;
    }
    const { call, leave } = entered;
    handler(grpcCall.iterator({ destroyOnReturn: false }), call)
      .then(
        (response) => {
          call.sendReply();
          callback(null, response, call.trailers);
        },
        (thrown) => {
          if (grpcCall.cancelled) callback({ code: status.CANCELLED });
          else callback(failure(contract.path, thrown, around).toStatusObject());
        },
      )
      .finally(leave);
  };
}

function bidiStream(
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
): handleBidiStreamingCall<unknown, unknown> {
  return (grpcCall) => {
    // By itself the iterator would destroy the stream when the requests end, and unsent answers with it.
    const requests = grpcCall.iterator({ destroyOnReturn: false });
    answer(grpcCall, requests, contract, handler, around);
  };
}

/**
 * A stream with a session takes a place, as any call does that writes: a server that drains waits for it.
 * Others, which may last for ever, are told to end.
 */
function enterStream(
  method: MethodContract,
  grpcCall: ConstructorParameters<typeof Call>[1],
  around: Surroundings,
): { call: Call; leave: () => void } | undefined {
  const { frontDoor, draining } = around;
  const { path } = method;
  if (method.session === undefined) {
    return { call: new Call(path, grpcCall, frontDoor, draining), leave: () => {} };
  }
  const leave = around.enter(method);
  return leave && { call: new Call(path, grpcCall, frontDoor), leave };
}

function overloaded() {
  return Errors.OVERLOADED({ retryAfterMs: 1000 }).toStatusObject();
}

type ResponseStream = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

function answer(
  grpcCall: ResponseStream,
  request: unknown,
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
): void {
  const entered = enterStream(contract, grpcCall, around);
  if (entered === undefined) {
    grpcCall.emit("error", overloaded());
    return;
  }
  const { call, leave } = entered;
  pump(grpcCall, request, call, handler)
    .then(
      () => grpcCall.end(call.trailers),
      (thrown) => {
        if (grpcCall.cancelled) return;
        grpcCall.emit("error", failure(call.method, thrown, around).toStatusObject());
      },
    )
    .finally(leave);
}

async function pump(
  grpcCall: ResponseStream,
  request: unknown,
  call: Call,
  handler: Handler,
): Promise<void> {
  const messages = (await handler(request, call)) as AsyncIterable<unknown>;
  for await (const message of messages) {
    if (grpcCall.cancelled) return;
    call.sendReply();
    if (grpcCall.write(message)) continue;
    await new Promise<void>((resolve) => {
      grpcCall.once("drain", resolve);
      call.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
  call.sendReply();
}

function failure(method: string, thrown: unknown, around: Surroundings): StatusError {
  const error =
    thrown instanceof StatusError
      ? thrown
      : (around.translate(thrown) ?? Errors.INTERNAL({ cause: thrown }));
  around.failed(method, error);
  return error;
}
