import type { EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { Waybill } from "../../proto/gen/waybill/options/v1/options.ts";
import { Step } from "../../proto/gen/waybill/options/v1/options.ts";
import type { Spills } from "../anchors/spills.ts";
import type { MethodContract } from "../contract/contract.ts";
import { Errors, StatusError } from "../errors.ts";
import type { Db } from "../pg/pool.ts";
import { uuidFromBytes } from "../runtime/uuid.ts";
import type { Call } from "../server/call.ts";
import {
  type Arrival,
  MAX_MESSAGE_WAYBILL,
  MAX_METADATA_WAYBILL,
  receive,
  toField,
  toMetadataValue,
  tooLarge,
  WAYBILL_KEY,
} from "../waybill/carriers.ts";
import type { Sealed } from "../waybill/jwe.ts";
import { isAnonymous, type Owner } from "../waybill/owner.ts";
import type { OpenSession } from "../waybill/session.ts";
import type { Sessions } from "../waybill/sessions.ts";
import { unknownOf } from "../waybill/state/unknownFields.ts";
import type { SessionOptions } from "./sessionOptions.ts";
import type { SessionRevocations } from "./sessionRevocations.ts";

/** A call's session, and the way that its waybill came. */
export interface Opened<State> {
  readonly session: OpenSession<State>;
  readonly carrier: Arrival["carrier"];
}

/** Puts a waybill into a call's reply or trailers, or into a message. */
export type Delivery = (call: Call, message: unknown) => void;

/** Of a waybill that was good once: it is no hindrance to a new session. */
const OVER: ReadonlySet<string> = new Set(["WAYBILL_EXPIRED", "WAYBILL_REVOKED"]);

/** A state of so many bytes fits into the metadata, whatever else its envelope says. */
const SURELY_CARRIED = 1500;

/** How far another replica's clock may be off, in seconds. */
const MAX_SKEW_S = 60;

/** How the calls of one method come by their session, and how its successor goes. */
export class SessionCalls<State> {
  readonly #method: MethodContract;
  readonly sessions: Sessions<State>;
  readonly #feed: SessionRevocations | undefined;
  readonly #spills: Spills | undefined;

  constructor(
    method: MethodContract,
    sessions: Sessions<State>,
    { revocations: feed, spills }: Pick<SessionOptions<State>, "revocations" | "spills">,
  ) {
    this.#spills = spills;
    this.#method = method;
    this.sessions = sessions;
    this.#feed = feed;
  }

  /** A new session; of the owner of the waybill that comes along, if any. */
  async begin(request: unknown, call: Call): Promise<Opened<State>> {
    const { sealed, carrier } = this.#arrival(request, call);
    const subject = sealed && (await this.#subjectOf(sealed, call));
    const session = this.sessions.begin(ownerOf(call), subject);
    call.opened = session;
    return { session, carrier };
  }

  /** The session of the call's waybill, if it is the caller's and nobody has ended it. */
  async open(request: unknown, call: Call): Promise<Opened<State>> {
    const { sealed, carrier } = this.#arrival(request, call);
    if (sealed === undefined) throw Errors.WAYBILL_MISSING();
    const opening = this.sessions.open(sealed, ownerOf(call));
    const session = opening instanceof Promise ? await opening : opening;
    this.#assertNotRevoked(session);
    if (this.#method.step !== Step.STEP_READ) session.unknown = unknownOf(session.state);
    call.opened = session;
    return { session, carrier };
  }

  /**
   * The session of a checkpoint, if it is the caller's and nobody has ended it.
   *
   * @throws StatusError SESSION_NOT_FOUND
   */
  async resume(envelope: EnvelopeV1, call: Call): Promise<Opened<State>> {
    const session = await this.sessions.resume(envelope, ownerOf(call)!);
    if (session === undefined) throw Errors.SESSION_NOT_FOUND();
    session.unknown = unknownOf(session.state);
    if (this.#feed !== undefined) {
      assertNotRevoked(session, this.#feed.revocations, session.id);
    }
    call.opened = session;
    return { session, carrier: "metadata" };
  }

  /** The session of a version that the caller was to get, and of which he has not heard. */
  async reopen(envelope: EnvelopeV1, call: Call): Promise<OpenSession<State>> {
    const session = await this.sessions.read(envelope, ownerOf(call));
    session.unknown = unknownOf(session.state);
    call.opened = session;
    return session;
  }

  /**
   * For calls that take their time: whether the session would still be opened.
   *
   * @throws StatusError WAYBILL_EXPIRED, WAYBILL_REVOKED, REVOCATIONS_STALE
   */
  assertLives(session: OpenSession<State>, { caller }: Call): void {
    this.sessions.assertNotOver(session);
    if (this.#feed === undefined) return;
    assertNotRevoked(session, this.#feed.revocations, session.id, caller.token?.id);
  }

  /** @throws StatusError WAYBILL_TOO_LARGE: no metadata could bring it */
  assertFitsMetadata(envelope: EnvelopeV1): void {
    if (envelope.content?.$case === "state" && envelope.content.value.length < SURELY_CARRIED)
      return;
    const size = this.sessions.sizeOf(envelope).metadata;
    if (size > MAX_METADATA_WAYBILL) throw tooLarge(size);
  }

  /** A new session of the caller's with the state of another one. @param expiresAt as in `begin` */
  bind(old: OpenSession<State>, call: Call, expiresAt?: bigint): OpenSession<State> {
    const session = this.sessions.begin(ownerOf(call), undefined, expiresAt);
    const { anchored, checkpointEvery, state, unknown } = old;
    call.opened = Object.assign(session, { anchored, checkpointEvery, state, unknown });
    return session;
  }

  /**
   * A new session of the caller's that goes on from a carried one's checkpoint, for no longer than that
   * one would have lived. When it was used last nobody knows, so it has not idled out.
   *
   * @throws StatusError SESSION_NOT_FOUND
   */
  async continueFrom(kept: EnvelopeV1, call: Call): Promise<Opened<State>> {
    const { expiresAt } = kept;
    const { session: old } = await this.resume({ ...kept, idleExpiresAt: expiresAt }, call);
    return { session: this.bind(old, call, expiresAt), carrier: "metadata" };
  }

  /**
   * Keeps the state of a successor elsewhere, where its carrier has no room for it. Answers at once where
   * it has.
   *
   * @param tx to be done in, asked for when there is something to be written; default: its own
   * @throws StatusError STATE_TOO_LARGE, SPILL_QUOTA_EXCEEDED
   */
  fit(
    { session, carrier }: Opened<State>,
    envelope: EnvelopeV1,
    tx?: () => Promise<Db>,
  ): EnvelopeV1 | Promise<EnvelopeV1> {
    const { content } = envelope;
    if (this.#spills === undefined || content?.$case !== "state") return envelope;
    // What is this small need not be measured.
    if (content.value.length < SURELY_CARRIED) return envelope;
    const size = this.sessions.sizeOf(envelope);
    const fits =
      carrier === "metadata"
        ? size.metadata <= MAX_METADATA_WAYBILL
        : size.message <= MAX_MESSAGE_WAYBILL;
    if (fits) return envelope;
    return this.#spills
      .keep(session.id, content.value, session.spill, tx)
      .then((value) => ({ ...envelope, content: { $case: "spill", value } }));
  }

  /**
   * Seals a successor for the way that the call's waybill came.
   *
   * @returns puts it into the call's reply, or into the response
   * @throws StatusError WAYBILL_TOO_LARGE, KEYS_UNAVAILABLE
   */
  seal(carrier: Arrival["carrier"], envelope: EnvelopeV1): Delivery {
    const isInMessage = carrier === "message" && this.#method.responseCarrier !== undefined;
    return isInMessage ? this.sealForMessage(envelope) : this.sealFor("reply", envelope);
  }

  /** The same, for initial metadata or trailers. */
  sealFor(place: "reply" | "trailers", envelope: EnvelopeV1): Delivery {
    const value = toMetadataValue(this.sessions.seal(envelope));
    return place === "reply"
      ? (call) => call.replyWith(value)
      : (call) => call.trailers.set(WAYBILL_KEY, value);
  }

  /** The same, for the carrier field of a message, which the method has. */
  sealForMessage(envelope: EnvelopeV1): Delivery {
    const field = toField(this.sessions.seal(envelope));
    return (_call, message) => {
      (message as Record<string, unknown>)[this.#method.responseCarrier!] = field;
    };
  }

  /** Whether a response that was encoded without its waybill is whole. */
  isWhole(carrier: Arrival["carrier"]): boolean {
    return carrier === "metadata" || this.#method.responseCarrier === undefined;
  }

  /** Refuses a session's waybills from now on, wherever they are. */
  async revoke({ id, expiresAt }: OpenSession<State>, owner: string): Promise<void> {
    const ttlS = Math.max(0, expiresAt - Date.now()) / 1000 + MAX_SKEW_S;
    await this.#feed?.revoke([{ $case: "session", value: { id, owner } }], ttlS);
  }

  #arrival(request: unknown, call: Call): Arrival {
    return receive(call.headers, fieldOf(request, this.#method.requestCarrier));
  }

  /** @throws StatusError WAYBILL_REVOKED, REVOCATIONS_STALE */
  #assertNotRevoked(session: OpenSession<State>): void {
    if (this.#feed === undefined) return;
    // Ending what has been ended already is what a caller does who has lost the answer.
    const id = this.#mayHaveEnded(session) ? undefined : session.id;
    assertNotRevoked(session, this.#feed.revocations, id);
  }

  /** Whether a session that has ended may come again; of an anchored one the anchor knows more. */
  #mayHaveEnded({ anchored: isAnchored }: OpenSession<State>): boolean {
    const { step } = this.#method;
    return step === Step.STEP_END || (step === Step.STEP_BIND && isAnchored);
  }

  /** Whose an earlier session was. Who comes after its end begins as a new one. */
  async #subjectOf(sealed: Sealed, call: Call): Promise<string | undefined> {
    try {
      const session = await this.sessions.open(sealed, ownerOf(call));
      this.#assertNotRevoked(session);
      return session.subject;
    } catch (error) {
      if (error instanceof StatusError && OVER.has(error.reason)) return undefined;
      throw error;
    }
  }
}

/** @throws StatusError WAYBILL_REVOKED, REVOCATIONS_STALE */
function assertNotRevoked(
  { envelope }: OpenSession<unknown>,
  revocations: SessionRevocations["revocations"],
  session: string | undefined,
  token?: string,
): void {
  const { subject, subjectEpoch: epoch, familyId } = envelope;
  // Who has no owner has nobody who could have him ended: that goes on being served.
  if (!isAnonymous(subject)) revocations.assertFresh();
  const family = familyId.length === 16 ? uuidFromBytes(familyId) : undefined;
  if (revocations.has({ subject, epoch, family, session, token })) throw Errors.WAYBILL_REVOKED();
}

function ownerOf({ caller: { token } }: Call): Owner | undefined {
  if (token === undefined) return undefined;
  const { subject, client, epoch, family, confirmation } = token;
  return { subject, client, epoch, family, thumbprint: confirmation?.thumbprint };
}

function fieldOf(request: unknown, name: string | undefined): Waybill | undefined {
  return name === undefined ? undefined : (request as Record<string, Waybill | undefined>)[name];
}
