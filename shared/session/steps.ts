import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import { NO_CHECKPOINTS } from "../anchors/checkpoints.ts";
import type { MethodContract } from "../contract/contract.ts";
import { Errors } from "../errors.ts";
import type { Call, Handler } from "../server/call.ts";
import { sessionIdOf } from "../waybill/sessionName.ts";
import type { Sessions } from "../waybill/sessions.ts";
import { AnchoredSteps, type Codec } from "./anchoredSteps.ts";
import { CarriedSteps } from "./carriedSteps.ts";
import { type Opened, SessionCalls } from "./sessionCalls.ts";
import type { SessionOptions } from "./sessionOptions.ts";
import { StreamSteps } from "./streams/streamSteps.ts";

/**
 * Opens the call's waybill once, before the handler, and seals what the handler has changed, after
 * it. What happens is the method's step in the contract, and the session's mode.
 *
 * @throws Error naming what of `parts` the contract needs
 */
export function sessionInterceptor<State>(
  method: MethodContract,
  codec: Codec,
  next: Handler,
  sessions: Sessions<State>,
  parts: Omit<SessionOptions<State>, "state" | "ring">,
): Handler {
  const { mode, checkpointEvery = 0 } = sessions.contract;
  const { anchorage, checkpoints = NO_CHECKPOINTS } = parts;
  const calls = new SessionCalls(method, sessions, parts);
  if (mode !== "carried" && anchorage === undefined) {
    throw new Error(`${method.path}: its sessions are ${mode}: give an anchorage`);
  }
  const { anchor = "own" } = sessions.contract;
  if (
    anchorage !== undefined &&
    (anchorage.anchors.open === undefined) !== (anchor === "session")
  ) {
    const wanted = anchor === "session" ? "RemoteAnchors" : "Anchors";
    throw new Error(`${method.path}: its sessions stand at ${anchor}: give ${wanted}`);
  }
  const keeps = checkpointEvery > 0 || (mode === "carried" && method.step === Step.STEP_RESUME);
  if (keeps && parts.checkpoints === undefined) {
    throw new Error(`${method.path}: its sessions are kept to be resumed: give checkpoints`);
  }
  if (method.kind !== "unary") {
    const streams = new StreamSteps({ method, codec, next, calls, anchorage, checkpoints });
    switch (method.step) {
      case Step.STEP_BEGIN:
        return (request, call) => streams.begin(request, call);
      case Step.STEP_READ:
        return (request, call) => streams.read(request, call);
      default:
        return (request, call) => streams.advance(request, call);
    }
  }
  const carried = new CarriedSteps(next, calls, checkpoints);
  const anchored =
    anchorage && new AnchoredSteps(method, codec, next, calls, anchorage, checkpoints);
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
      return async (request, call) => {
        const id = sessionIdOf(String((request as Record<string, unknown>)[method.sessionName!]));
        if (id === undefined) throw Errors.SESSION_NOT_FOUND();
        const kept = mode === "anchored" ? undefined : await checkpoints.read(id);
        if (kept !== undefined) return carried.resume(request, call, kept);
        if (anchored === undefined) throw Errors.SESSION_NOT_FOUND();
        return anchored.resume(request, call, id);
      };
    default:
      return next;
  }
}
