import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  InterceptingCall,
  type InterceptingListener,
  type Interceptor,
  Metadata,
  type NextCall,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import type { Contract, MethodContract } from "../contract/contract.ts";
import { IDEMPOTENCY_KEY } from "../session/idempotency.ts";
import { SESSION_KEY } from "../waybill/carriers.ts";
import {
  type Attempt,
  type AttemptOptions,
  FRESH,
  type JarState,
  planRetry,
  type Retry,
} from "./retryPlan.ts";

type MessageContext = Parameters<InterceptingCall["sendMessageWithContext"]>[0];

/**
 * Retries failed calls: unary calls that are safe to repeat, by their contract, and with a jar also
 * calls whose waybill is stale, calls whose access token was refused, and streams that broke.
 * gRPC itself does not retry a call once its response has begun.
 *
 * Waits between attempts as long as the response asks (RetryInfo), or else twice as long each time,
 * with jitter, and never past the deadline. With a jar each call that advances a session gets an
 * idempotency key, which all its attempts share. When a call has two such
 * interceptors, only the outer one retries.
 */
export function retrying(contract: Contract, jar?: JarState): Interceptor {
  return (options: AttemptOptions, nextCall) => {
    const method = contract.find(options.method_definition.path);
    if (method === undefined || options.attempt !== undefined || !isRetriable(method, jar)) {
      return new InterceptingCall(nextCall(options));
    }
    return new RetriedCall(method, options, nextCall, jar);
  };
}

function isRetriable({ kind, step, repeatable }: MethodContract, jar?: JarState): boolean {
  if (kind === "unary") return repeatable || jar !== undefined;
  return jar !== undefined && step === Step.STEP_ADVANCE;
}

/** A call over as many attempts as it takes. A unary response is passed on when it is final. */
class RetriedCall extends InterceptingCall {
  readonly #method: MethodContract;
  readonly #jar: JarState | undefined;
  readonly #open: (attempt: Attempt) => ReturnType<NextCall>;
  readonly #deadline: number;
  #current: ReturnType<NextCall>;
  #listener: Partial<InterceptingListener> = {};
  #request: { context: MessageContext; message: unknown } | undefined;
  /** The caller waits for a message of a stream. */
  #isReading = false;
  #hasReplied = false;
  #isResumable = true;
  #hasRenewedToken = false;
  #number = 1;
  /** Ends the wait between two attempts. */
  #waiting: AbortController | undefined;

  constructor(
    method: MethodContract,
    options: AttemptOptions,
    nextCall: NextCall,
    jar: JarState | undefined,
  ) {
    const open = (attempt: Attempt) => {
      const attemptOptions: AttemptOptions = { ...options, attempt };
      return nextCall(attemptOptions);
    };
    const first = open(FRESH);
    super(first);
    this.#method = method;
    this.#jar = jar;
    this.#open = open;
    this.#current = first;
    this.#deadline = Number(options.deadline ?? Number.POSITIVE_INFINITY);
  }

  override start(metadata: Metadata, listener: Partial<InterceptingListener> = {}): void {
    this.#listener = listener;
    // Not the caller's own metadata, which may go with other calls too.
    const sent = metadata.clone();
    const needsKey = this.#method.advancesAnchor || this.#method.kind !== "unary";
    if (this.#jar !== undefined && needsKey && sent.get(IDEMPOTENCY_KEY).length === 0) {
      sent.set(IDEMPOTENCY_KEY, randomUUID());
    }
    this.#current.start(sent, this.#listen(sent));
  }

  override sendMessageWithContext(context: MessageContext, message: unknown): void {
    this.#request = { context, message };
    this.#current.sendMessageWithContext(context, message);
  }

  override sendMessage(message: unknown): void {
    this.sendMessageWithContext({}, message);
  }

  override startRead(): void {
    this.#isReading = true;
    if (this.#waiting === undefined) this.#current.startRead();
  }

  override halfClose(): void {
    this.#current.halfClose();
  }

  override getPeer(): string {
    return this.#current.getPeer();
  }

  override getAuthContext(): ReturnType<InterceptingCall["getAuthContext"]> {
    return this.#current.getAuthContext();
  }

  override cancelWithStatus(code: status, details: string): void {
    if (this.#waiting === undefined) {
      this.#current.cancelWithStatus(code, details);
      return;
    }
    this.#waiting.abort();
    // Not the request's own metadata: they carry its credentials, and errors are logged.
    this.#listener.onReceiveStatus?.({
      code: status.CANCELLED,
      details: "Cancelled between two attempts",
      metadata: new Metadata(),
    });
  }

  #listen(sent: Metadata): InterceptingListener {
    const isUnary = this.#method.kind === "unary";
    let reply: Metadata | undefined;
    let response: unknown;
    return {
      onReceiveMetadata: (received: Metadata) => {
        reply = received;
        if (!isUnary) this.#passMetadata(received);
      },
      onReceiveMessage: (received: unknown) => {
        response = received;
        if (!isUnary) this.#passMessage(received);
      },
      onReceiveStatus: (result: StatusObject) => {
        const ended = {
          result,
          sent,
          number: this.#number,
          hasRenewedToken: this.#hasRenewedToken,
          isResumable: this.#isResumable,
        };
        const finish = () => {
          if (isUnary && reply !== undefined) this.#passMetadata(reply);
          if (isUnary && result.code === status.OK) this.#listener.onReceiveMessage?.(response);
          this.#listener.onReceiveStatus?.(result);
        };
        const retry = planRetry(this.#method, ended, this.#jar);
        if (retry === undefined || Date.now() + retry.afterMs >= this.#deadline) finish();
        else void this.#retry(retry, sent, finish);
      },
    };
  }

  #passMetadata(received: Metadata): void {
    if (!this.#hasReplied) this.#listener.onReceiveMetadata?.(received);
    this.#hasReplied = true;
  }

  #passMessage(received: unknown): void {
    this.#isReading = false;
    this.#number = 1;
    this.#isResumable = takeWaybill(this.#method, received);
    this.#listener.onReceiveMessage?.(received);
  }

  /** @param giveUp passes on the result of the attempt before */
  async #retry(retry: Retry, sent: Metadata, giveUp: () => void): Promise<void> {
    const { afterMs, session, renewsToken, freshWaybill = false, freshToken = false } = retry;
    const waiting = new AbortController();
    this.#waiting = waiting;
    try {
      await delay(afterMs, undefined, { signal: waiting.signal });
      if (renewsToken) await this.#jar?.renewToken(tokenIn(sent));
    } catch {
      if (!waiting.signal.aborted) giveUp();
      return;
    }
    if (waiting.signal.aborted) return;
    this.#waiting = undefined;
    this.#number += 1;
    this.#hasRenewedToken ||= renewsToken ?? false;
    const metadata = sent.clone();
    if (session !== undefined) metadata.remove(SESSION_KEY);
    if (session) metadata.set(SESSION_KEY, session);
    this.#current = this.#open({ freshWaybill, freshToken });
    this.#current.start(metadata, this.#listen(metadata));
    if (this.#request !== undefined) {
      this.#current.sendMessageWithContext(this.#request.context, this.#request.message);
    }
    this.#current.halfClose();
    if (this.#isReading) this.#current.startRead();
  }
}

/** The access token of a value of `authorization`, after its scheme. */
function tokenIn(sent: Metadata): string {
  return `${sent.get("authorization")[0]}`.replace(/^\S+ /, "");
}

/** Removes the waybill that a stream's message brought: the jar has it. @returns whether it brought one */
function takeWaybill({ responseCarrier }: MethodContract, message: unknown): boolean {
  const fields = message as Record<string, unknown>;
  if (responseCarrier === undefined || fields[responseCarrier] === undefined) return false;
  fields[responseCarrier] = undefined;
  return true;
}
