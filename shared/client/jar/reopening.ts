import { randomUUID } from "node:crypto";
import {
  InterceptingCall,
  type InterceptingListener,
  type Interceptor,
  type InterceptorOptions,
  Metadata,
  type NextCall,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { Step } from "../../../proto/gen/waybill/options/v1/options.ts";
import type { Contract, MethodContract } from "../../contract/contract.ts";
import { readError } from "../../errors.ts";
import { IDEMPOTENCY_KEY } from "../../session/idempotency.ts";
import { backoffMs } from "../retry.ts";

const MAX_ATTEMPTS = 5;

/**
 * Gives each stream that advances a session an idempotency key, and opens one that breaks again, with
 * the last waybill that it brought: a stream of responses to one request, while whatever came of it
 * came with a waybill, so that nothing comes twice and nothing is missed. Others report what broke
 * them, and their callers go on from where the session stands.
 */
export function reopening(contract: Contract): Interceptor {
  return (options, nextCall) => {
    const method = contract.find(options.method_definition.path);
    const isAdvancing = method?.kind !== "unary" && method?.step === Step.STEP_ADVANCE;
    if (!isAdvancing) return new InterceptingCall(nextCall(options));
    if (method.kind === "server_streaming" && method.responseCarrier !== undefined) {
      return new Reopening(method, options, nextCall).call;
    }
    return new InterceptingCall(nextCall(options), {
      start(metadata, _listener, next) {
        addKey(metadata);
        next(metadata, {
          onReceiveMessage(message, nextMessage) {
            takeWaybill(method, message);
            nextMessage(message);
          },
        });
      },
    });
  };
}

function addKey(metadata: Metadata): void {
  if (metadata.get(IDEMPOTENCY_KEY).length === 0) metadata.set(IDEMPOTENCY_KEY, randomUUID());
}

/** Whether a message brought a waybill: the jar has it, and nobody else needs it. */
function takeWaybill({ responseCarrier }: MethodContract, message: unknown): boolean {
  const fields = message as Record<string, unknown>;
  if (responseCarrier === undefined || fields[responseCarrier] === undefined) return false;
  fields[responseCarrier] = undefined;
  return true;
}

/** A stream of responses, over as many calls as it takes. */
class Reopening {
  readonly call: InterceptingCall;
  readonly #method: MethodContract;
  readonly #open: () => ReturnType<NextCall>;
  readonly #deadline: number;
  #current: ReturnType<NextCall>;
  #metadata = new Metadata();
  #listener: InterceptingListener | undefined;
  #request: unknown;
  #hasReplied = false;
  /** Whether the caller waits for a message. */
  #isReading = false;
  /** Whether the last message brought a waybill, or there has been none. */
  #isWhole = true;
  /** Attempts since the last message. */
  #attempt = 1;
  #waiting: NodeJS.Timeout | undefined;

  constructor(method: MethodContract, options: InterceptorOptions, nextCall: NextCall) {
    this.#method = method;
    this.#open = () => nextCall(options);
    this.#deadline = Number(options.deadline ?? Number.POSITIVE_INFINITY);
    this.#current = this.#open();
    // Whatever the caller does, he does to the call of the moment.
    const current = new Proxy(this.#current, {
      get: (_first, name) => {
        const value = this.#current[name as keyof ReturnType<NextCall>];
        return typeof value === "function" ? value.bind(this.#current) : value;
      },
    });
    const call = new InterceptingCall(current, {
      start: (metadata, listener, next) => {
        addKey(metadata);
        this.#metadata = metadata.clone();
        this.#listener = listener as InterceptingListener;
        next(metadata, this.#hear());
      },
      sendMessage: (request, next) => {
        this.#request = request;
        next(request);
      },
      cancel: (next) => {
        if (this.#waiting === undefined) next();
        else this.#end({ code: status.CANCELLED, details: "Cancelled", metadata: new Metadata() });
      },
    });
    const startRead = call.startRead.bind(call);
    this.call = Object.assign(call, {
      startRead: () => {
        this.#isReading = true;
        if (this.#waiting === undefined) startRead();
      },
    });
  }

  #hear(): Partial<InterceptingListener> {
    return {
      onReceiveMetadata: (reply: Metadata) => {
        if (!this.#hasReplied) this.#listener!.onReceiveMetadata(reply);
        this.#hasReplied = true;
      },
      onReceiveMessage: (message: unknown) => {
        this.#isReading = false;
        this.#attempt = 1;
        this.#isWhole = takeWaybill(this.#method, message);
        this.#listener!.onReceiveMessage(message);
      },
      onReceiveStatus: (result: StatusObject) => {
        const afterMs = this.#backoffMs(result);
        if (afterMs === undefined || Date.now() + afterMs >= this.#deadline) this.#end(result);
        else this.#waiting = setTimeout(() => this.#reopen(), afterMs);
      },
    };
  }

  #backoffMs(result: StatusObject): number | undefined {
    if (result.code === status.OK || !this.#isWhole || this.#attempt >= MAX_ATTEMPTS) {
      return undefined;
    }
    // What is left of a stream on another replica may have been first: what it made is kept.
    const { reason, metadata } = readError(result);
    if (reason === "WAYBILL_STALE" && metadata["served"] === "true") return 0;
    return backoffMs(result, this.#attempt);
  }

  #reopen(): void {
    this.#waiting = undefined;
    this.#attempt += 1;
    this.#current = this.#open();
    this.#current.start(this.#metadata.clone(), this.#hear());
    this.#current.sendMessage(this.#request);
    this.#current.halfClose();
    if (this.#isReading) this.#current.startRead();
  }

  #end(result: StatusObject): void {
    clearTimeout(this.#waiting);
    this.#waiting = undefined;
    this.#listener!.onReceiveStatus(result);
  }
}
