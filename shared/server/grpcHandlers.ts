import type {
  handleBidiStreamingCall,
  handleClientStreamingCall,
  handleServerStreamingCall,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  StatusObject,
  sendUnaryData,
} from "@grpc/grpc-js";
import type { MethodContract } from "../contract/contract.ts";
import { Errors } from "../errors.ts";
import { Call, type Handler } from "./call.ts";
import type { Surroundings } from "./implement.ts";
import { refusalOf } from "./refusal.ts";
import type { UnaryCall } from "./wire/unaryCall.ts";

/** Encodes a response. Returns a Buffer unchanged. */
type Serialize = (response: unknown) => Buffer;

/** Creates the grpc-js handler of a stream, by its kind. */
export const STREAMS = {
  server_streaming: serverStream,
  client_streaming: clientStream,
  bidi_streaming: bidiStream,
};

/** Creates the handler of a unary method, for `UnaryWire` and for grpc-js. */
export function unary(
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
      const call = new Call(contract.path, grpcCall, around.frontProxy);
      const response = await handler(grpcCall.request, call);
      call.sendReply();
      callback(null, response);
    } catch (thrown) {
      refuse(grpcCall, thrown, contract, around, callback);
    } finally {
      leave();
    }
  }
}

function serverStream(
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
  serialize: Serialize,
): handleServerStreamingCall<unknown, unknown> {
  return (grpcCall) => {
    void serveStream(grpcCall, () => grpcCall.request, contract, handler, around, serialize);
  };
}

function clientStream(
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
  serialize: Serialize,
): handleClientStreamingCall<unknown, unknown> {
  return (grpcCall, callback) => {
    const place = enterStream(contract, around);
    if (place === undefined) callback(overloaded());
    else void serve(grpcCall, callback, place);
  };

  async function serve(
    grpcCall: ServerReadableStream<unknown, unknown>,
    callback: sendUnaryData<unknown>,
    { leave, draining }: StreamPlace,
  ): Promise<void> {
    try {
      const call = new Call(contract.path, grpcCall, around.frontProxy, draining);
      const response = await handler(grpcCall.iterator({ destroyOnReturn: false }), call);
      // Encoded here because grpc-js hides the reason of an encoding error.
      const encoded = serialize(response);
      call.sendReply();
      callback(null, encoded, call.trailers);
    } catch (thrown) {
      refuse(grpcCall, thrown, contract, around, callback);
    } finally {
      leave();
    }
  }
}

function bidiStream(
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
  serialize: Serialize,
): handleBidiStreamingCall<unknown, unknown> {
  return (grpcCall) => {
    // By default the iterator destroys the stream, with unsent responses, when the requests end.
    const requests = () => grpcCall.iterator({ destroyOnReturn: false });
    void serveStream(grpcCall, requests, contract, handler, around, serialize);
  };
}

interface StreamPlace {
  readonly leave: () => void;
  /** For streams that must end when the server drains. */
  readonly draining: AbortSignal | undefined;
}

/**
 * Takes a place for a stream with a session, so that a drain waits for it. Other streams may last forever:
 * they take no place, and a drain ends them.
 */
function enterStream(method: MethodContract, around: Surroundings): StreamPlace | undefined {
  if (method.session === undefined) return { leave: () => {}, draining: around.draining };
  const leave = around.enter(method);
  return leave && { leave, draining: undefined };
}

function overloaded() {
  return Errors.OVERLOADED({ retryAfterMs: 1000 }).toStatusObject();
}

/**
 * Ends a call with the error that its handler has thrown.
 *
 * @param send ends the call. Like `refusalOf`, it does not throw (`statusResponse.ts`)
 */
function refuse(
  grpcCall: { readonly cancelled: boolean },
  thrown: unknown,
  contract: MethodContract,
  around: Surroundings,
  send: (error: Partial<StatusObject>) => void,
): void {
  // The caller of a cancelled call reads no response.
  if (!grpcCall.cancelled) send(refusalOf(contract.path, thrown, around));
}

type ResponseStream = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

async function serveStream(
  grpcCall: ResponseStream,
  request: () => unknown,
  contract: MethodContract,
  handler: Handler,
  around: Surroundings,
  serialize: Serialize,
): Promise<void> {
  const place = enterStream(contract, around);
  if (place === undefined) {
    grpcCall.emit("error", overloaded());
    return;
  }
  try {
    const call = new Call(contract.path, grpcCall, around.frontProxy, place.draining);
    await sendMessages(grpcCall, request(), call, handler, serialize);
    grpcCall.end(call.trailers);
  } catch (thrown) {
    refuse(grpcCall, thrown, contract, around, (error) => grpcCall.emit("error", error));
  } finally {
    place.leave();
  }
}

async function sendMessages(
  grpcCall: ResponseStream,
  request: unknown,
  call: Call,
  handler: Handler,
  serialize: Serialize,
): Promise<void> {
  const messages = (await handler(request, call)) as AsyncIterable<unknown>;
  for await (const message of messages) {
    if (grpcCall.cancelled) return;
    // Encoded here because grpc-js hides the reason of an encoding error.
    const encoded = serialize(message);
    call.sendReply();
    if (grpcCall.write(encoded)) continue;
    await new Promise<void>((resolve) => {
      grpcCall.once("drain", resolve);
      call.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
  call.sendReply();
}
