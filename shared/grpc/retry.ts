import {
  InterceptingCall,
  type InterceptingListener,
  type Interceptor,
  type Metadata,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { readError } from "../errors/errors.ts";
import type { Contract } from "./contract.ts";

const MAX_ATTEMPTS = 5;
const MIN_BACKOFF_MS = 20;
const MAX_BACKOFF_MS = 1000;

/**
 * Makes a call again when it failed on its way and its method may be repeated: on UNAVAILABLE, when
 * a replica was too busy to begin with it, and when a connection broke in the middle of the answer.
 * gRPC itself does not retry that: to it, an answer that has begun has been given.
 *
 * Waits between attempts as long as the answer asks (RetryInfo), or else twice as long each time,
 * with jitter; never past the deadline.
 */
export function retrying(contract: Contract): Interceptor {
  return (options, nextCall) => {
    const { method_definition: definition } = options;
    const repeatable = contract.find(definition.path)?.repeatable ?? false;
    if (!repeatable || definition.requestStream || definition.responseStream) {
      return new InterceptingCall(nextCall(options));
    }
    const deadline = Number(options.deadline ?? Number.POSITIVE_INFINITY);
    let metadata: Metadata;
    let message: unknown;
    let listener: InterceptingListener;
    let current = nextCall(options);
    let attempt = 1;
    let waiting: NodeJS.Timeout | undefined;

    /** Holds an attempt's answer back until it is whole. */
    const attemptListener = () => {
      let reply: Metadata | undefined;
      let response: unknown;
      return {
        onReceiveMetadata(received: Metadata) {
          reply = received;
        },
        onReceiveMessage(received: unknown) {
          response = received;
        },
        onReceiveStatus(result: StatusObject) {
          const waitMs = attempt < MAX_ATTEMPTS ? backoffMs(result, attempt) : undefined;
          if (waitMs !== undefined && Date.now() + waitMs < deadline) {
            waiting = setTimeout(again, waitMs);
            return;
          }
          if (reply !== undefined) listener.onReceiveMetadata(reply);
          if (result.code === status.OK) listener.onReceiveMessage(response);
          listener.onReceiveStatus(result);
        },
      };
    };
    const again = () => {
      waiting = undefined;
      attempt += 1;
      current = nextCall(options);
      current.start(metadata.clone(), attemptListener());
      current.sendMessage(message);
      current.halfClose();
    };

    return new InterceptingCall(current, {
      start(given, receiver, next) {
        metadata = given.clone();
        listener = receiver as InterceptingListener;
        next(given, attemptListener());
      },
      sendMessage(given, next) {
        message = given;
        next(given);
      },
      cancel(next) {
        if (waiting === undefined) {
          if (attempt === 1) next();
          else current.cancelWithStatus(status.CANCELLED, "Cancelled on client");
          return;
        }
        clearTimeout(waiting);
        listener.onReceiveStatus({
          code: status.CANCELLED,
          details: "Cancelled between two attempts",
          metadata,
        });
      },
    });
  };
}

/** How long to wait before another attempt; undefined when there is to be none. */
function backoffMs(result: StatusObject, attempt: number): number | undefined {
  const { code, reason, retryAfterMs } = readError(result);
  // A service says why it fails. What fails without a reason failed on its way.
  const brokeOff = reason === "" && (code === status.INTERNAL || code === status.UNKNOWN);
  const wasShed = reason === "OVERLOADED";
  if (code !== status.UNAVAILABLE && !brokeOff && !wasShed) return undefined;
  const usualMs = Math.min(MIN_BACKOFF_MS * 2 ** (attempt - 1), MAX_BACKOFF_MS);
  return (retryAfterMs ?? usualMs) * (0.8 + Math.random() * 0.4);
}
