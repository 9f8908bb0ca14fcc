import {
  InterceptingCall,
  type InterceptingListener,
  type InterceptorOptions,
  Metadata,
  type NextCall,
  type StatusObject,
  status,
} from "@grpc/grpc-js";

/** Another attempt at a call. */
export interface Again {
  /** How long to wait before it, in ms. */
  readonly afterMs: number;
  /** What to send with it. Default: what was sent first. */
  readonly metadata?: Metadata;
}

/**
 * A unary call that may be made again. Each attempt's answer is held back until it is whole and
 * nothing better is to be had.
 *
 * @param decide what becomes of an attempt's result: undefined, and the caller hears it. Gets what
 *   the attempt was sent with, and its number, from 1
 * @param prepare changes what the first attempt is sent with
 */
export function repeating(
  options: InterceptorOptions,
  nextCall: NextCall,
  decide: (result: StatusObject, sent: Metadata, attempt: number) => Again | undefined,
  prepare: (metadata: Metadata) => void = () => {},
): InterceptingCall {
  const deadline = Number(options.deadline ?? Number.POSITIVE_INFINITY);
  let first: Metadata;
  let message: unknown;
  let listener: InterceptingListener;
  let current = nextCall(options);
  let attempt = 1;
  let waiting: NodeJS.Timeout | undefined;

  const attemptListener = (sent: Metadata) => {
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
        const again = decide(result, sent, attempt);
        if (again !== undefined && Date.now() + again.afterMs < deadline) {
          waiting = setTimeout(repeat, again.afterMs, again.metadata ?? first.clone());
          return;
        }
        if (reply !== undefined) listener.onReceiveMetadata(reply);
        if (result.code === status.OK) listener.onReceiveMessage(response);
        listener.onReceiveStatus(result);
      },
    };
  };
  const repeat = (metadata: Metadata) => {
    waiting = undefined;
    attempt += 1;
    current = nextCall(options);
    current.start(metadata, attemptListener(metadata));
    current.sendMessage(message);
    current.halfClose();
  };

  return new InterceptingCall(current, {
    start(metadata, receiver, next) {
      prepare(metadata);
      first = metadata.clone();
      listener = receiver as InterceptingListener;
      next(metadata, attemptListener(metadata));
    },
    sendMessage(sent, next) {
      message = sent;
      next(sent);
    },
    cancel(next) {
      if (waiting === undefined) {
        if (attempt === 1) next();
        else current.cancelWithStatus(status.CANCELLED, "Cancelled on client");
        return;
      }
      clearTimeout(waiting);
      waiting = undefined;
      // Not the request's own metadata: they carry its credentials, and errors are logged.
      listener.onReceiveStatus({
        code: status.CANCELLED,
        details: "Cancelled between two attempts",
        metadata: new Metadata(),
      });
    },
  });
}
