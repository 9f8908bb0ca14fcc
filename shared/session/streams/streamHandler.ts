import { Step } from "../../../proto/gen/waybill/options/v1/options.ts";
import type { OpenSession } from "../../waybill/session.ts";
import type { Handler, SessionCall } from "../call.ts";
import { StreamedCall, type StreamedMethod } from "./streamedCall.ts";

/** Makes the handler of a method that streams its requests, its responses, or both. */
export function streamHandler<State>(on: StreamedMethod<State>): Handler {
  const { step } = on.method;
  if (step === Step.STEP_READ) return (request, call) => read(on, request, call);
  return async (request, call) => {
    const { session } =
      step === Step.STEP_BEGIN
        ? await on.sessions.begin(request, call)
        : await on.sessions.open(request, call);
    const { kind } = on.method;
    const single = kind === "server_streaming" ? request : undefined;
    const streamed = new StreamedCall(call, session, on, single);
    return kind === "client_streaming" ? streamed.response(request) : streamed.messages(request);
  };
}

async function read<State>(
  on: StreamedMethod<State>,
  request: unknown,
  call: SessionCall,
): Promise<unknown> {
  const { session } = await on.sessions.open(request, call);
  const { sessions } = on.sessions;
  if (sessions.isAging(session)) {
    on.sessions.sealFor("reply", sessions.renewed(session))(call, undefined);
  }
  const response = await on.next(request, call);
  if (on.method.kind !== "client_streaming") {
    return reading(on, response as AsyncIterable<unknown>, session, call);
  }
  await saveRequested(on, session, call);
  return response;
}

/** Stops when the session ends while it is read. */
async function* reading<State>(
  on: StreamedMethod<State>,
  messages: AsyncIterable<unknown>,
  session: OpenSession<State>,
  call: SessionCall,
): AsyncGenerator<unknown> {
  for await (const message of messages) {
    on.sessions.assertLives(session, call);
    yield message;
  }
  await saveRequested(on, session, call);
}

async function saveRequested<State>(
  { checkpoints }: StreamedMethod<State>,
  { anchored, envelope }: OpenSession<State>,
  call: SessionCall,
): Promise<void> {
  if (call.wantsCheckpoint && !anchored) await checkpoints.saveIfDue(envelope, true);
}
