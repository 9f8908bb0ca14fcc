import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import type { Spills } from "../anchors/spills.ts";
import type { Sessions } from "../waybill/sessions.ts";
import { AnchoredSteps, type Codec } from "./anchoredSteps.ts";
import type { Call, Handler } from "./call.ts";
import { CarriedSteps } from "./carriedSteps.ts";
import type { MethodContract } from "./contract.ts";
import type { Anchorage } from "./endings.ts";
import { type Opened, SessionCalls, type SessionRevocations } from "./sessionCalls.ts";
import { StreamSteps } from "./streamSteps.ts";

/**
 * Opens the call's waybill once, before the handler, and seals what the handler has changed, after
 * it. What happens is the method's step in the contract, and the session's mode.
 *
 * @param anchorage required unless the contract's sessions are carried
 * @param spills where states go that are too large to be carried; default: they are refused
 */
export function sessionInterceptor<State>(
  method: MethodContract,
  codec: Codec,
  next: Handler,
  sessions: Sessions<State>,
  feed: SessionRevocations | undefined,
  anchorage: Anchorage | undefined,
  spills: Spills | undefined,
): Handler {
  const { mode } = sessions.contract;
  const calls = new SessionCalls(method, sessions, feed, spills);
  if (mode !== "carried" && anchorage === undefined) {
    throw new Error(`${method.path}: its sessions are ${mode}: give an anchorage`);
  }
  if (method.kind !== "unary") {
    const streams = new StreamSteps({ method, codec, next, calls, anchorage });
    switch (method.step) {
      case Step.STEP_BEGIN:
        return (request, call) => streams.begin(request, call);
      case Step.STEP_READ:
        return (request, call) => streams.read(request, call);
      default:
        return (request, call) => streams.advance(request, call);
    }
  }
  const carried = new CarriedSteps(next, calls);
  const anchored = anchorage && new AnchoredSteps(method, codec, next, calls, anchorage);
  const stepsOf = ({ session }: Opened<State>) => (session.anchored ? anchored! : carried);

  /** A step that goes on from a waybill. */
  const opening =
    (step: (request: unknown, call: Call, opened: Opened<State>) => Promise<unknown>): Handler =>
    async (request, call) =>
      step(request, call, await calls.open(request, call));

  switch (method.step) {
    case Step.STEP_BEGIN:
      return async (request, call) =>
        (anchored ?? carried).begin(request, call, await calls.begin(request, call));
    case Step.STEP_READ:
      // Asks nobody: what it answers is as of its waybill.
      return opening((request, call, opened) => carried.read(request, call, opened));
    case Step.STEP_ADVANCE: {
      const advance = opening((request, call, opened) =>
        stepsOf(opened).advance(request, call, opened),
      );
      if (anchored === undefined) return advance;
      return async (request, call) =>
        anchored.isNamed(call) ? anchored.advanceNamed(request, call) : advance(request, call);
    }
    case Step.STEP_END:
      return opening((request, call, opened) => stepsOf(opened).end(request, call, opened));
    case Step.STEP_BIND:
      return opening((request, call, opened) => stepsOf(opened).bind(request, call, opened));
    case Step.STEP_RESUME:
      return async (request, call) => anchored!.resume(request, call);
    default:
      return next;
  }
}
