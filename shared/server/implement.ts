import type {
  ServiceDefinition as GrpcServiceDefinition,
  ServerUnaryCall,
  sendUnaryData,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { CacheScope } from "../cache/cacheScope.ts";
import type { ResponseCache } from "../cache/responseCache.ts";
import { type Contract, largestRequest, type MethodContract } from "../contract/contract.ts";
import type { Handlers, ServiceDefinition } from "../contract/handlers.ts";
import { withSession } from "../session/engine.ts";
import type { SessionOptions } from "../session/options.ts";
import { requestReader } from "../validation/requestReader.ts";
import { Sessions } from "../waybill/sessions.ts";
import { type Authentications, access } from "./access.ts";
import { caching, recordingResources } from "./caching.ts";
import type { Handler } from "./call.ts";
import type { FrontProxy } from "./frontProxy.ts";
import { STREAMS, unary } from "./grpcHandlers.ts";
import type { ErrorHandling } from "./refusal.ts";
import { revalidation } from "./revalidation.ts";
import { requestTooLarge } from "./wire/framedMessage.ts";
import { keysOf } from "./wire/requestMetadata.ts";
import type { UnaryMethod } from "./wire/unaryCall.ts";
import type { Route } from "./wire/unaryWire.ts";

/** The parts of a server that every call uses. */
export interface Surroundings extends ErrorHandling {
  readonly contract: Contract;
  readonly authentications: Authentications;
  readonly frontProxy: FrontProxy;
  /** Takes a place for a call. Returns the function that frees it; undefined if all places are taken. */
  enter(method: MethodContract): (() => void) | undefined;
  readonly draining: AbortSignal;
  /** Largest request of methods without a limit of their own, in bytes. */
  readonly maxRequestBytes: number;
}

/** A service for grpc-js and `UnaryWire`. */
export interface Implementation {
  readonly definition: GrpcServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
  /** For `UnaryWire`. */
  readonly unary: readonly UnaryMethod[];
  /** For grpc-js. */
  readonly streams: readonly Route[];
}

/**
 * Turns a service's handlers into the arguments of grpc-js's `Server.addService`. Composes the interceptors
 * of each method once: a method has only those that its contract needs.
 *
 * Order: a place on the server, access, response cache, decoding and field constraints, session,
 * revalidation.
 */
export function implement<Definition extends ServiceDefinition, State>(
  definition: Definition,
  handlers: Handlers<Definition, State>,
  around: Surroundings,
  parts?: SessionOptions<State>,
  cache?: ResponseCache,
): Implementation {
  let sessions: Sessions<State> | undefined;
  const wire: Record<string, unknown> = {};
  const implementation: UntypedServiceImplementation = {};
  const unaries: UnaryMethod[] = [];
  const streams: Route[] = [];
  for (const [name, method] of Object.entries(definition)) {
    const contract = around.contract.method(method.path);
    if (contract.session !== undefined) {
      if (parts === undefined)
        throw new Error(`${method.path} has a session: pass its state and ring to add()`);
      sessions ??= new Sessions(contract.session, parts.state, parts.ring, parts);
    }
    const user = handlers[name] as unknown as Handler;
    const handler = compose(contract, method, user.bind(handlers), around, {
      sessions,
      parts,
      scope: cache?.scope(contract.service),
    });
    // A response that was encoded to be saved is not encoded again.
    const serialize = (response: unknown) =>
      Buffer.isBuffer(response) ? response : method.responseSerialize(response);
    wire[name] = {
      ...method,
      // Passes the bytes on: they are decoded after the access check.
      requestDeserialize: (bytes: Buffer) => bytes,
      responseSerialize: serialize,
    };
    if (contract.kind === "unary") {
      const handle = unary(contract, handler, around);
      // For calls that `UnaryWire` leaves to grpc-js, which hides the reason of an encoding error.
      implementation[name] = (
        call: ServerUnaryCall<unknown, unknown>,
        callback: sendUnaryData<unknown>,
      ) => handle(call, (error, response) => callback(error, error ? null : serialize(response)));
      const maxBytes = largestRequest(contract, around.maxRequestBytes);
      unaries.push({ path: method.path, keys: keysOf(contract), handle, serialize, maxBytes });
    } else {
      implementation[name] = STREAMS[contract.kind](contract, handler, around, serialize);
      streams.push({ path: method.path, keys: keysOf(contract) });
    }
  }
  const definitions = wire as GrpcServiceDefinition;
  return { definition: definitions, handlers: implementation, unary: unaries, streams };
}

interface ServiceSurroundings<State> {
  readonly sessions: Sessions<State> | undefined;
  readonly parts: SessionOptions<State> | undefined;
  readonly scope: CacheScope | undefined;
}

function compose<State>(
  contract: MethodContract,
  method: ServiceDefinition[string],
  user: Handler,
  around: Surroundings,
  { sessions, parts, scope }: ServiceSurroundings<State>,
): Handler {
  let handler = revalidation(contract, user, method.responseSerialize, () =>
    method.responseDeserialize(Buffer.alloc(0)),
  );
  if (sessions !== undefined) {
    handler = withSession(contract, method, handler, sessions, parts!);
  }
  handler = decoding(contract, method, recordingResources(contract, handler), around);
  if (scope !== undefined) {
    handler = caching(contract, handler, method.responseSerialize, scope, () =>
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
