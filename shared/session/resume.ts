import type { EnvelopeV1, SavedResponseV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { RequestIdentity } from "../anchors/anchorStore.ts";
import type { CheckpointStore } from "../anchors/checkpoints.ts";
import { isRetry, matchesRow } from "../anchors/replay.ts";
import type { MethodContract } from "../contract/contract.ts";
import { Errors } from "../errors.ts";
import { uuidToBytes } from "../runtime/uuid.ts";
import { SESSION_KEY } from "../waybill/carriers.ts";
import { singleValue } from "../waybill/metadata.ts";
import { sessionIdOf } from "../waybill/session.ts";
import type { AnchoredSteps } from "./anchored.ts";
import { AnchoredCall } from "./anchoredCall.ts";
import type { SessionCall } from "./call.ts";
import type { CarriedSteps } from "./carried.ts";
import type { MethodSessions, Opened } from "./methodSessions.ts";

/** The saved response that made an anchored session's newest version. */
type Newest = SavedResponseV1 & { readonly successor: EnvelopeV1 };

/**
 * The ways back into a session, other than its newest waybill:
 *
 * - bind: a session continues as a new session of the caller, and the old one ends;
 * - resume: the owner names the session in the request, and gets its newest version, or for a carried
 *   session a new session with the state of its last checkpoint;
 * - named: the owner names an anchored session in the metadata, and advances it from its newest version.
 */
export class WaysBack<State> {
  readonly #own: MethodSessions<State>;
  readonly #carried: CarriedSteps<State>;
  readonly #anchored: AnchoredSteps<State> | undefined;
  readonly #checkpoints: CheckpointStore;
  readonly #method: MethodContract;

  /** @param anchored undefined: the service has carried sessions only */
  constructor(
    method: MethodContract,
    own: MethodSessions<State>,
    carried: CarriedSteps<State>,
    anchored: AnchoredSteps<State> | undefined,
    checkpoints: CheckpointStore,
  ) {
    this.#method = method;
    this.#own = own;
    this.#carried = carried;
    this.#anchored = anchored;
    this.#checkpoints = checkpoints;
  }

  async bind(request: unknown, call: SessionCall, opened: Opened<State>): Promise<unknown> {
    const old = opened.session;
    const session = this.#own.bind(old, call);
    const bound = { ...opened, session };
    if (!old.anchored) {
      const response = await this.#carried.begin(request, call, bound);
      await this.#own.revoke(old, session.subject);
      return response;
    }
    const anchored = this.#anchored!;
    const { anchors } = anchored.on.anchorage;
    const plan = async (run: AnchoredCall<State>, encoded: Buffer) => {
      const successor = await run.successor(bound);
      const end = run.next(encoded, undefined);
      // A retry is replayed from the old session's last version: it gets the new session's waybill. Without
      // a transaction the new session may be left over: it expires, as no client has its waybill.
      return [{ ...end, response: { ...end.response, successor } }, run.first(session, successor)];
    };
    const isAtomic = anchors.beginTransaction !== undefined;
    const response = await anchored.run(request, call, opened, plan, { isAtomic, begun: session });
    await anchored.revokeEnded(old, session.subject);
    return response;
  }

  async resume(request: unknown, call: SessionCall): Promise<unknown> {
    const name = (request as Record<string, unknown>)[this.#method.sessionName!];
    const id = sessionIdOf(String(name));
    if (id === undefined) throw Errors.SESSION_NOT_FOUND();
    const { mode } = this.#own.sessions.contract;
    const checkpoint = mode === "anchored" ? undefined : await this.#checkpoints.read(id);
    if (checkpoint !== undefined) {
      return this.#carried.begin(request, call, await continueFrom(this.#own, checkpoint, call));
    }
    if (this.#anchored === undefined) throw Errors.SESSION_NOT_FOUND();
    return this.#resumeAnchored(request, call, id, this.#anchored);
  }

  /** Returns whether the caller names its session in place of a waybill, where the method allows it. */
  isNamed({ headers, caller }: SessionCall): boolean {
    return (
      this.#method.idempotent &&
      caller.token !== undefined &&
      singleValue(headers, SESSION_KEY) !== undefined
    );
  }

  async advanceNamed(request: unknown, call: SessionCall): Promise<unknown> {
    const anchored = this.#anchored!;
    const id = sessionIdOf(singleValue(call.headers, SESSION_KEY)!);
    if (id === undefined) throw Errors.SESSION_NOT_FOUND();
    const newest = await this.#newest(id, anchored);
    const opened = await this.#open(newest, call);
    return isReplay(newest, anchored.identityOf(request, call))
      ? anchored.deliver(call, opened, newest)
      : anchored.advance(request, call, opened);
  }

  async #resumeAnchored(
    request: unknown,
    call: SessionCall,
    id: string,
    anchored: AnchoredSteps<State>,
  ): Promise<unknown> {
    const { next, codec, sessions, anchorage } = anchored.on;
    const identity = anchored.identityOf(request, call);
    const newest = await this.#newest(id, anchored);
    const opened = await this.#open(newest, call);
    if (isReplay(newest, identity)) return anchored.deliver(call, opened, newest);
    const response = codec.responseSerialize(await next(request, call));
    const run = new AnchoredCall(sessions, anchorage, opened.session, identity);
    try {
      const write = run.next(response, await run.successor(opened));
      const deliver = anchored.delivery(opened, write.response);
      if (await run.commit(write)) return deliver(call);
    } catch (error) {
      await run.transaction.abandon();
      throw error;
    }
    throw Errors.CONFLICT({ cause: "the session has advanced", retryAfterMs: 20 });
  }

  /** Opens the newest version. Its idle time starts anew: reads renew a waybill without its anchor. */
  #open({ successor }: Newest, call: SessionCall): Promise<Opened<State>> {
    return this.#own.resume({ ...successor, idleExpiresAt: successor.expiresAt }, call);
  }

  /** @throws StatusError SESSION_NOT_FOUND */
  async #newest(sessionId: string, { on }: AnchoredSteps<State>): Promise<Newest> {
    const { anchors, savedResponses } = on.anchorage;
    const row = await anchors.read(sessionId);
    const saved = row && (await savedResponses.open(row.answer));
    const { successor } = saved ?? {};
    if (row === undefined || row.ended || saved === undefined || successor === undefined) {
      throw Errors.SESSION_NOT_FOUND();
    }
    if (!matchesRow(saved, row, uuidToBytes(sessionId))) {
      const cause = "the anchor's saved response is of another version or session";
      throw Errors.SESSION_NOT_FOUND({ alarm: true, cause });
    }
    return { ...saved, successor };
  }
}

/**
 * Begins a session of the caller from a carried session's checkpoint. It ends no later than the old one
 * would have. Its idle time starts anew: nothing records when the old session was last used.
 *
 * @throws StatusError SESSION_NOT_FOUND
 */
export async function continueFrom<State>(
  own: MethodSessions<State>,
  checkpoint: EnvelopeV1,
  call: SessionCall,
): Promise<Opened<State>> {
  const { expiresAt } = checkpoint;
  const { session: old } = await own.resume({ ...checkpoint, idleExpiresAt: expiresAt }, call);
  return { session: own.bind(old, call, expiresAt), carrier: "metadata" };
}

/**
 * Returns whether a saved response answers this request. Without an idempotency key two devices that send
 * the same request cannot be told apart: each makes a version.
 */
function isReplay(newest: Newest, identity: RequestIdentity): boolean {
  const hasKey = !identity.idempotencyDigest.equals(identity.requestDigest);
  return hasKey && isRetry(newest, identity);
}
