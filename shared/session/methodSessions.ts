import type { EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Step, type Waybill } from "../../proto/gen/waybill/options/v1/options.ts";
import type { Spills } from "../anchors/spills.ts";
import type { MethodContract } from "../contract/contract.ts";
import { Errors, StatusError } from "../errors.ts";
import type { Db } from "../pg/pool.ts";
import { uuidFromBytes } from "../runtime/uuid.ts";
import {
  type Arrival,
  MAX_MESSAGE_WAYBILL,
  MAX_METADATA_WAYBILL,
  receive,
  toField,
  toMetadataValue,
  tooLarge,
} from "../waybill/carriers.ts";
import type { Sealed } from "../waybill/jwe.ts";
import { isAnonymous, type Owner } from "../waybill/owner.ts";
import type { OpenSession } from "../waybill/session.ts";
import type { Sessions } from "../waybill/sessions.ts";
import { unknownOf } from "../waybill/state/unknownFields.ts";
import type { SessionCall } from "./call.ts";
import type { SessionOptions, SessionRevocations } from "./options.ts";

/** The session of a call, and the carrier that its waybill came in. */
export interface Opened<State> {
  readonly session: OpenSession<State>;
  readonly carrier: Arrival["carrier"];
}

/** Puts a sealed waybill into a call's reply or trailers, or into a message. */
export type Delivery = (call: SessionCall, message: unknown) => void;

/** Reasons of a waybill that was valid once: a new session may begin in spite of it. */
const OVER: ReadonlySet<string> = new Set(["WAYBILL_EXPIRED", "WAYBILL_REVOKED"]);

/** A state of at most this many bytes fits into the metadata, whatever else its envelope holds. */
const SURELY_CARRIED = 1500;

/** Largest difference between two replicas' clocks, in seconds. */
const MAX_SKEW_S = 60;

/** Opens the sessions of one method's calls, and seals their successors for the carrier in use. */
export class MethodSessions<State> {
  readonly sessions: Sessions<State>;
  readonly #method: MethodContract;
  readonly #feed: SessionRevocations | undefined;
  readonly #spills: Spills | undefined;

  constructor(
    method: MethodContract,
    sessions: Sessions<State>,
    { revocations: feed, spills }: Pick<SessionOptions<State>, "revocations" | "spills">,
  ) {
    this.#method = method;
    this.sessions = sessions;
    this.#feed = feed;
    this.#spills = spills;
  }

  /** Begins a session. It belongs to the owner of the waybill in the request, if there is one. */
  async begin(request: unknown, call: SessionCall): Promise<Opened<State>> {
    const { sealed, carrier } = this.#arrival(request, call);
    const subject = sealed && (await this.#subjectOf(sealed, call));
    const session = this.sessions.begin(ownerOf(call), subject);
    call.opened = session;
    return { session, carrier };
  }

  /**
   * Opens the call's waybill.
   *
   * @throws StatusError WAYBILL_MISSING, WAYBILL_REVOKED, REVOCATIONS_STALE, and those of `Sessions.open`
   */
  async open(request: unknown, call: SessionCall): Promise<Opened<State>> {
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
   * Opens a checkpoint for its owner.
   *
   * @throws StatusError SESSION_NOT_FOUND, WAYBILL_REVOKED, REVOCATIONS_STALE
   */
  async resume(envelope: EnvelopeV1, call: SessionCall): Promise<Opened<State>> {
    const session = await this.sessions.resume(envelope, ownerOf(call)!);
    if (session === undefined) throw Errors.SESSION_NOT_FOUND();
    session.unknown = unknownOf(session.state);
    if (this.#feed !== undefined) {
      assertNotRevoked(session, this.#feed.revocations, session.id);
    }
    call.opened = session;
    return { session, carrier: "metadata" };
  }

  /** Opens a version from a saved response that the client may not have received. */
  async reopen(envelope: EnvelopeV1, call: SessionCall): Promise<OpenSession<State>> {
    const session = await this.sessions.read(envelope, ownerOf(call));
    session.unknown = unknownOf(session.state);
    call.opened = session;
    return session;
  }

  /**
   * Checks during a long call that the session could still be opened.
   *
   * @throws StatusError WAYBILL_EXPIRED, WAYBILL_REVOKED, REVOCATIONS_STALE
   */
  assertLives(session: OpenSession<State>, { caller }: SessionCall): void {
    this.sessions.assertNotOver(session);
    if (this.#feed === undefined) return;
    assertNotRevoked(session, this.#feed.revocations, session.id, caller.token?.id);
  }

  /** @throws StatusError WAYBILL_TOO_LARGE when the next request's metadata could not carry it */
  assertFitsMetadata(envelope: EnvelopeV1): void {
    if (envelope.content?.$case === "state" && envelope.content.value.length < SURELY_CARRIED)
      return;
    const size = this.sessions.sizeOf(envelope).metadata;
    if (size > MAX_METADATA_WAYBILL) throw tooLarge(size);
  }

  /**
   * Begins a session of the caller with the state of another one.
   *
   * @param expiresAt as in `Sessions.begin`
   */
  bind(old: OpenSession<State>, call: SessionCall, expiresAt?: bigint): OpenSession<State> {
    const session = this.sessions.begin(ownerOf(call), undefined, expiresAt);
    const { anchored, checkpointEvery, state, unknown } = old;
    call.opened = Object.assign(session, { anchored, checkpointEvery, state, unknown });
    return session;
  }

  /** Encodes a session's state as its handler has left it. */
  encode({ state, unknown }: OpenSession<State>): Buffer {
    return this.sessions.encode(state, unknown);
  }

  /**
   * Spills the state of a successor that is too large for its carrier. Returns the envelope itself when it
   * fits.
   *
   * @param tx transaction to write in, opened only when needed. Default: one of its own
   * @throws StatusError STATE_TOO_LARGE, SPILL_QUOTA_EXCEEDED
   */
  fit(
    { session, carrier }: Opened<State>,
    envelope: EnvelopeV1,
    tx?: () => Promise<Db>,
  ): EnvelopeV1 | Promise<EnvelopeV1> {
    const { content } = envelope;
    if (this.#spills === undefined || content?.$case !== "state") return envelope;
    // Small states are not measured: that would cost time on every call.
    if (content.value.length < SURELY_CARRIED) return envelope;
    const size = this.sessions.sizeOf(envelope);
    const fits =
      carrier === "metadata"
        ? size.metadata <= MAX_METADATA_WAYBILL
        : size.message <= MAX_MESSAGE_WAYBILL;
    if (fits) return envelope;
    return this.#spills
      .store(session.id, content.value, session.spill, tx)
      .then((value) => ({ ...envelope, content: { $case: "spill", value } }));
  }

  /**
   * Seals a successor for the carrier of the call's own waybill.
   *
   * @throws StatusError WAYBILL_TOO_LARGE, KEYS_UNAVAILABLE
   */
  seal(carrier: Arrival["carrier"], envelope: EnvelopeV1): Delivery {
    const isInMessage = carrier === "message" && this.#method.responseCarrier !== undefined;
    return isInMessage ? this.sealForMessage(envelope) : this.sealFor("reply", envelope);
  }

  /** Seals a successor for the initial metadata or the trailers. */
  sealFor(place: "reply" | "trailers", envelope: EnvelopeV1): Delivery {
    const value = toMetadataValue(this.sessions.seal(envelope));
    return place === "reply" ? (call) => call.replyWith(value) : (call) => call.endWith(value);
  }

  /** Seals a successor for the carrier field of a response message. */
  sealForMessage(envelope: EnvelopeV1): Delivery {
    const field = toField(this.sessions.seal(envelope));
    return (_call, message) => {
      (message as Record<string, unknown>)[this.#method.responseCarrier!] = field;
    };
  }

  /** Returns whether an encoded response is complete, because its waybill goes into the metadata. */
  isWhole(carrier: Arrival["carrier"]): boolean {
    return carrier === "metadata" || this.#method.responseCarrier === undefined;
  }

  /** Revokes all waybills of a session. */
  async revoke({ id, expiresAt }: OpenSession<State>, owner: string): Promise<void> {
    const ttlS = Math.max(0, expiresAt - Date.now()) / 1000 + MAX_SKEW_S;
    await this.#feed?.revoke([{ $case: "session", value: { id, owner } }], ttlS);
  }

  #arrival(request: unknown, call: SessionCall): Arrival {
    return receive(call.headers, fieldOf(request, this.#method.requestCarrier));
  }

  /** @throws StatusError WAYBILL_REVOKED, REVOCATIONS_STALE */
  #assertNotRevoked(session: OpenSession<State>): void {
    if (this.#feed === undefined) return;
    // A client that has lost the response retries the call that ended the session.
    const id = this.#mayHaveEnded(session) ? undefined : session.id;
    assertNotRevoked(session, this.#feed.revocations, id);
  }

  /** Returns whether this method accepts a session that has ended. Its anchor, if any, decides then. */
  #mayHaveEnded({ anchored: isAnchored }: OpenSession<State>): boolean {
    const { step } = this.#method;
    return step === Step.STEP_END || (step === Step.STEP_BIND && isAnchored);
  }

  /** Returns the subject of an earlier session; undefined when that session is over. */
  async #subjectOf(sealed: Sealed, call: SessionCall): Promise<string | undefined> {
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
  // Anonymous sessions have no owner who could revoke them: they are served with a stale feed, too.
  if (!isAnonymous(subject)) revocations.assertFresh();
  const family = familyId.length === 16 ? uuidFromBytes(familyId) : undefined;
  if (revocations.has({ subject, epoch, family, session, token })) throw Errors.WAYBILL_REVOKED();
}

function ownerOf({ caller: { token } }: SessionCall): Owner | undefined {
  if (token === undefined) return undefined;
  const { subject, client, epoch, family, confirmation } = token;
  return { subject, client, epoch, family, thumbprint: confirmation?.thumbprint };
}

function fieldOf(request: unknown, name: string | undefined): Waybill | undefined {
  return name === undefined ? undefined : (request as Record<string, Waybill | undefined>)[name];
}
