import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import { NO_CHECKPOINTS } from "../anchors/checkpoints.ts";
import type { MethodContract } from "../contract/contract.ts";
import type { Sessions } from "../waybill/sessions.ts";
import { AnchoredSteps } from "./anchored.ts";
import type { Codec, Handler, SessionCall } from "./call.ts";
import { CarriedSteps } from "./carried.ts";
import { MethodSessions, type Opened } from "./methodSessions.ts";
import type { SessionOptions } from "./options.ts";
import { WaysBack } from "./resume.ts";
import { streamHandler } from "./streams/streamHandler.ts";

type Options<State> = Omit<SessionOptions<State>, "state" | "ring">;

/**
 * Wraps a method's handler: opens the waybill before it and seals the state after it, as the method's step
 * in the contract says.
 *
 * @throws Error naming the option that the contract requires
 */
export function withSession<State>(
  method: MethodContract,
  codec: Codec,
  next: Handler,
  sessions: Sessions<State>,
  options: Options<State>,
): Handler {
  assertOptions(method, sessions, options);
  const { anchorage, checkpoints = NO_CHECKPOINTS } = options;
  const own = new MethodSessions(method, sessions, options);
  if (method.kind !== "unary") {
    return streamHandler({ method, codec, next, sessions: own, anchorage, checkpoints });
  }
  const carried = new CarriedSteps(next, own, checkpoints);
  const anchored =
    anchorage && new AnchoredSteps({ method, codec, next, sessions: own, anchorage, checkpoints });
  const waysBack = new WaysBack(method, own, carried, anchored, checkpoints);
  const stepsOf = ({ session }: Opened<State>) => (session.anchored ? anchored! : carried);

  /** A step that starts from a waybill. */
  const opening =
    (
      step: (request: unknown, call: SessionCall, opened: Opened<State>) => Promise<unknown>,
    ): Handler =>
    async (request, call) =>
      step(request, call, await own.open(request, call));

  switch (method.step) {
    case Step.STEP_BEGIN:
      return async (request, call) =>
        (anchored ?? carried).begin(request, call, await own.begin(request, call));
    case Step.STEP_READ:
      // Reads do not contact Postgres: an old waybill reads old state.
      return opening((request, call, opened) => carried.read(request, call, opened));
    case Step.STEP_ADVANCE: {
      const advance = opening((request, call, opened) =>
        stepsOf(opened).advance(request, call, opened),
      );
      if (anchored === undefined) return advance;
      return async (request, call) =>
        waysBack.isNamed(call) ? waysBack.advanceNamed(request, call) : advance(request, call);
    }
    case Step.STEP_END:
      return opening((request, call, opened) => stepsOf(opened).end(request, call, opened));
    case Step.STEP_BIND:
      return opening((request, call, opened) => waysBack.bind(request, call, opened));
    case Step.STEP_RESUME:
      return (request, call) => waysBack.resume(request, call);
    default:
      return next;
  }
}

function assertOptions<State>(
  { path, step }: MethodContract,
  { contract }: Sessions<State>,
  { anchorage, checkpoints }: Options<State>,
): void {
  const { mode, anchor = "own", checkpointEvery = 0 } = contract;
  if (mode !== "carried" && anchorage === undefined) {
    throw new Error(`${path}: its sessions are ${mode}: give an anchorage`);
  }
  const isRemote = anchorage !== undefined && anchorage.anchors.beginTransaction === undefined;
  if (anchorage !== undefined && isRemote !== (anchor === "session")) {
    const wanted = anchor === "session" ? "RemoteAnchors" : "Anchors";
    throw new Error(`${path}: its sessions are anchored at ${anchor}: give ${wanted}`);
  }
  const isSaved = checkpointEvery > 0 || (mode === "carried" && step === Step.STEP_RESUME);
  if (isSaved && checkpoints === undefined) {
    throw new Error(`${path}: its sessions can be resumed: give checkpoints`);
  }
}
