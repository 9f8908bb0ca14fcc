import {
  InterceptingCall,
  type InterceptingListener,
  type Interceptor,
  type Metadata,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { Access, Step } from "../../../proto/gen/waybill/options/v1/options.ts";
import type { Contract } from "../../contract/contract.ts";
import { readError } from "../../errors.ts";
import type { SignIn } from "./signIn.ts";

/**
 * Sends the access token of whoever is signed in along with the calls that look at it. One that is
 * refused, though it should be good still, is renewed, and a unary call made once more.
 */
export function authorizing(contract: Contract, signIn: SignIn): Interceptor {
  return (options, nextCall) => {
    const { path, requestStream, responseStream } = options.method_definition;
    const method = contract.find(path);
    const isOwned =
      method?.access === Access.ACCESS_PUBLIC && method.step !== Step.STEP_UNSPECIFIED;
    if (!isOwned && method?.access !== Access.ACCESS_AUTHENTICATED) {
      return new InterceptingCall(nextCall(options));
    }
    const isUnary = !requestStream && !responseStream;
    let current = nextCall(options);
    let given: Metadata;
    let message: unknown;
    let cancelled = false;
    let used: string | undefined;

    const again = async (listener: InterceptingListener, result: StatusObject): Promise<void> => {
      try {
        await signIn.renew(used!);
        if (cancelled) throw new Error("cancelled meanwhile");
        const metadata = given.clone();
        if ((await signIn.authorize(path, metadata)) === undefined) throw new Error("signed out");
        current = nextCall(options);
        current.start(metadata, listener);
        current.sendMessage(message);
        current.halfClose();
      } catch {
        // What the service has said is what the caller hears.
        listener.onReceiveStatus(result);
      }
    };

    return new InterceptingCall(current, {
      start(metadata, listener, next) {
        given = metadata.clone();
        const receiver = listener as InterceptingListener;
        const begin = () =>
          next(metadata, {
            onReceiveStatus(result, nextStatus) {
              const isRefused =
                result.code === status.UNAUTHENTICATED &&
                readError(result).reason === "CREDENTIAL_INVALID";
              if (isRefused && isUnary && used !== undefined) void again(receiver, result);
              else nextStatus(result);
            },
          });
        signIn.authorize(path, metadata).then(
          (token) => {
            used = token;
            begin();
          },
          // The service says what it thinks of a call without a token.
          begin,
        );
      },
      sendMessage(sent, next) {
        message = sent;
        next(sent);
      },
      cancel(next) {
        cancelled = true;
        next();
        current.cancelWithStatus(status.CANCELLED, "Cancelled on client");
      },
    });
  };
}
