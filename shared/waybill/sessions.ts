import type { EnvelopeV1, Spill } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Errors, type StatusError } from "../errors.ts";
import { CheckedRingSource, type RingSource } from "../rings/ring.ts";
import { systemClocks } from "../runtime/clocks.ts";
import { Entropy } from "../runtime/entropy.ts";
import { UUID_RANDOM_BYTES, uuidFromBytes, uuidToBytes, uuidv7 } from "../runtime/uuid.ts";
import { CHAIN_RANDOM_BYTES, chainDigest } from "./chain.ts";
import { decodeEnvelope, encodeEnvelope } from "./envelopeCodec.ts";
import { encodeHeader, type Sealed } from "./jwe.ts";
import { Opener } from "./opener.ts";
import { ANONYMOUS, isHeldBy, type Owner, ownership } from "./owner.ts";
import { noLease, Sealer } from "./sealer.ts";
import type { OpenSession, SessionContract, SpillSource, StateCodec } from "./session.ts";
import { StateEncoder } from "./state/stateEncoder.ts";
import { keepUnknown, type Unknown, unknownOf } from "./state/unknownFields.ts";
import { lower, raise, type Upgrades } from "./state/upgrades.ts";

/** How far another replica's clock may run ahead of this one's. */
const MAX_CLOCK_SKEW_S = 60;
/** Versions are kept as integers of Postgres: none goes on from this one. */
export const MAX_VERSION = 2 ** 31 - 1;
/** The revision of a state that no waybill carries yet. */
const NOT_SEALED = 0;
const CARRIED = 1;
const ANCHORED = 2;
const MODES = { carried: [CARRIED], anchored: [ANCHORED], either: [CARRIED, ANCHORED] };

/** Characters of a compact serialization besides the ciphertext: header, nonce, tag and dots. */
const COMPACT_OVERHEAD = encodeHeader("waybill", "x".repeat(11 + 1 + 22)).length + 4 + 16 + 22;

/** A state, as it is sealed. */
interface Encoded {
  readonly revision: number;
  readonly encoded: Uint8Array;
}

/** Options of sessions. */
export interface SessionsOptions {
  /** Milliseconds since the Unix epoch. */
  now?: () => number;
  /** Default: a state that is not carried is refused. */
  spills?: SpillSource | undefined;
  upgrades?: Upgrades | undefined;
}

/** The sessions of one audience with one type of state. */
export class Sessions<State> {
  readonly contract: SessionContract;
  readonly #codec: StateCodec<State>;
  readonly #now: () => number;
  readonly #sealer: Sealer;
  readonly #opener: Opener;
  readonly #entropy: Entropy;
  readonly #spills: SpillSource | undefined;
  readonly #upgrades: Upgrades;
  readonly #ring: RingSource;
  readonly #encoder: StateEncoder<State>;

  constructor(
    contract: SessionContract,
    codec: StateCodec<State>,
    ring: RingSource,
    { now = Date.now, spills, upgrades = {} }: SessionsOptions = {},
  ) {
    this.#spills = spills;
    this.#upgrades = upgrades;
    this.#ring = CheckedRingSource.of(ring);
    this.contract = contract;
    this.#codec = codec;
    this.#encoder = new StateEncoder(codec);
    this.#now = now;
    this.#sealer = new Sealer("waybill", contract.audience, this.#ring);
    this.#opener = new Opener("waybill", contract.audience, this.#ring);
    this.#entropy = new Entropy(() => {}, { ...systemClocks, wall: now });
  }

  /**
   * A new session, not sealed yet. It belongs to its owner; without one, to the anonymous subject
   * given, or else to a new one.
   *
   * @param expiresAt when it ends at the latest: seconds since the Unix epoch. Default: as the contract
   *   says
   */
  begin(owner?: Owner, subject?: string, expiresAt?: bigint): OpenSession<State> {
    // Node's own would give both copies of a restored memory image the same ids.
    this.#entropy.check();
    const id = uuidv7(this.#now(), this.#entropy.take(UUID_RANDOM_BYTES));
    const nowS = this.#nowS();
    const endS = Number(expiresAt ?? nowS + this.contract.absoluteS);
    return this.#toSession(
      {
        sessionId: uuidToBytes(id),
        version: 0,
        digest: Buffer.alloc(0),
        parentDigest: Buffer.alloc(0),
        subject: subject ?? `${ANONYMOUS}${id}`,
        client: "",
        subjectEpoch: 0,
        familyId: Buffer.alloc(0),
        confirmation: Buffer.alloc(0),
        ...(owner && ownership(owner)),
        audience: this.contract.audience,
        issuedAt: BigInt(nowS),
        idleExpiresAt: BigInt(Math.min(nowS + this.contract.idleS, endS)),
        expiresAt: BigInt(endS),
        mode: this.contract.mode === "anchored" ? ANCHORED : CARRIED,
        stateType: this.contract.stateType,
        stateRevision: NOT_SEALED,
        content: { $case: "state", value: Buffer.alloc(0) },
        checkpointEvery: this.contract.checkpointEvery ?? 0,
      },
      this.#codec.create(),
      Buffer.alloc(0),
    );
  }

  /**
   * Opens a waybill; synchronously if its key and state are at hand.
   *
   * @param holder the caller that presents it; undefined: unauthenticated
   * @throws StatusError WAYBILL_INVALID for any reason that it is not a waybill of this audience and holder,
   *   except WAYBILL_REVOKED (its key id is listed as destroyed, which is public) and KEYS_UNAVAILABLE (the
   *   ring cannot be fetched). Only for its holder: WAYBILL_EXPIRED, and STATE_SCHEMA_UNSUPPORTED for
   *   another state or a newer revision
   */
  open(sealed: Sealed, holder?: Owner): OpenSession<State> | Promise<OpenSession<State>> {
    const opened = this.#opener.open(sealed);
    if (!(opened instanceof Promise)) return this.#readPlaintext(opened, holder);
    return opened.then((plaintext) => this.#readPlaintext(plaintext, holder));
  }

  /**
   * Opens a session from its checkpoint, for a caller that resumes it.
   *
   * @param envelope of its newest version
   * @returns undefined if the caller is not its owner
   * @throws StatusError as `open`
   */
  async resume(envelope: EnvelopeV1, owner: Owner): Promise<OpenSession<State> | undefined> {
    if (envelope.subject !== owner.subject) return undefined;
    return this.read({ ...envelope, ...ownership(owner) }, owner);
  }

  /**
   * A session as an envelope says that is known to be genuine.
   *
   * @throws StatusError as `open`
   */
  read(
    envelope: EnvelopeV1,
    holder: Owner | undefined,
  ): OpenSession<State> | Promise<OpenSession<State>> {
    const refusal = this.#refusal(envelope, holder);
    if (refusal !== undefined) throw refusal;
    const { content } = envelope;
    if (content?.$case === "spill") return this.#readSpilled(envelope, content.value);
    if (content === undefined) throw Errors.STATE_SCHEMA_UNSUPPORTED({ cause: "no state" });
    return this.#decodeState(envelope, content.value);
  }

  /**
   * Makes the envelope of a session's next waybill.
   *
   * @param state encoded
   * @throws StatusError KEYS_UNAVAILABLE; STATE_REVISION_PENDING: some serving replicas could not read it
   */
  successor(session: OpenSession<State>, state: Uint8Array): EnvelopeV1 {
    return this.#next(session, this.#lowered(state, session.envelope));
  }

  /** Makes the envelope of a waybill of the same version and state with a later expiry. */
  renewed({ envelope }: OpenSession<State>): EnvelopeV1 {
    return { ...envelope, ...this.#times(envelope) };
  }

  /** Makes the envelope of the last version of an anchored session, which has no state. */
  last(session: OpenSession<State>): EnvelopeV1 {
    const { revision } = this.contract;
    return this.#next(session, { revision, encoded: Buffer.alloc(0) });
  }

  /** Has a session go on, in its handler's hands, from the version that its successor says. */
  advanceTo(session: OpenSession<State>, envelope: EnvelopeV1): void {
    const encoded = this.encode(session.state, session.unknown);
    Object.assign(session, this.#toSession(envelope, session.state, encoded), {
      // The unknown fields removed in this version stay removed: the next version is compared with the rest.
      unknown: session.unknown && unknownOf(session.state),
    });
  }

  /** Computes the size of a waybill of this envelope: characters in metadata, and bytes in a message. */
  sizeOf(envelope: EnvelopeV1): { metadata: number; message: number } {
    const message = encodeEnvelope(envelope).length;
    return { metadata: COMPACT_OVERHEAD + Math.ceil((message * 4) / 3), message };
  }

  seal(envelope: EnvelopeV1): Sealed {
    return this.#sealer.seal(encodeEnvelope(envelope));
  }

  /**
   * Encodes a state after its handler.
   *
   * @param unknown the state's fields that this program does not know
   * @throws Error if the handler has dropped unknown fields
   * @throws StatusError STATE_TOO_DEEP: it could not be decoded again
   */
  encode(state: State, unknown?: Unknown): Buffer {
    if (unknown !== undefined) keepUnknown(state, unknown);
    return this.#encoder.encode(state);
  }

  /** @throws StatusError WAYBILL_EXPIRED: its absolute life is over */
  assertNotOver({ envelope }: OpenSession<State>): void {
    if (this.#nowS() >= Number(envelope.expiresAt)) throw Errors.WAYBILL_EXPIRED();
  }

  /** Reports whether less than half of the idle life is left, and a new waybill would prolong it. */
  isAging({ envelope }: OpenSession<State>): boolean {
    const leftS = Number(envelope.idleExpiresAt) - this.#nowS();
    return leftS * 2 < this.contract.idleS && envelope.idleExpiresAt < envelope.expiresAt;
  }

  #readPlaintext(
    plaintext: Buffer | undefined,
    holder: Owner | undefined,
  ): OpenSession<State> | Promise<OpenSession<State>> {
    if (plaintext === undefined) throw Errors.WAYBILL_INVALID({ cause: "it does not open" });
    return this.read(this.#decode(plaintext), holder);
  }

  #decode(plaintext: Buffer): EnvelopeV1 {
    let envelope: EnvelopeV1 | undefined;
    try {
      envelope = decodeEnvelope(plaintext);
    } catch (cause) {
      throw Errors.WAYBILL_INVALID({ cause });
    }
    if (envelope === undefined)
      throw Errors.STATE_SCHEMA_UNSUPPORTED({ cause: "envelope version" });
    return envelope;
  }

  async #readSpilled(envelope: EnvelopeV1, spill: Spill): Promise<OpenSession<State>> {
    if (this.#spills === undefined) {
      throw Errors.STATE_SCHEMA_UNSUPPORTED({ cause: "the state is not carried" });
    }
    const encoded = await this.#spills.load(uuidFromBytes(envelope.sessionId), spill);
    if (encoded !== undefined) return this.#decodeState(envelope, encoded);
    throw Errors.WAYBILL_INVALID({
      alarm: true,
      cause: "the state that it names is not there, or was changed",
    });
  }

  #decodeState(envelope: EnvelopeV1, sealed: Buffer): OpenSession<State> {
    let state: State;
    let encoded: Buffer;
    try {
      const between = { from: envelope.stateRevision, to: this.contract.revision };
      encoded = asBuffer(raise(this.#upgrades, sealed, between));
      state = this.#codec.decode(encoded);
    } catch (cause) {
      throw Errors.STATE_SCHEMA_UNSUPPORTED({ cause });
    }
    return this.#toSession(envelope, state, encoded);
  }

  #next(
    { envelope, anchored, checkpointEvery }: OpenSession<State>,
    { revision, encoded }: Encoded,
  ): EnvelopeV1 {
    const version = envelope.version + 1;
    const next: EnvelopeV1 = {
      ...envelope,
      ...this.#times(envelope),
      version,
      mode: anchored ? ANCHORED : CARRIED,
      checkpointEvery,
      stateRevision: revision,
      content: { $case: "state", value: asBuffer(encoded) },
    };
    if (!anchored) return next;
    const { digest: parentDigest, sessionId } = envelope;
    this.#entropy.check();
    const random = this.#entropy.take(CHAIN_RANDOM_BYTES);
    const digest = chainDigest(parentDigest, sessionId, version, encoded, random);
    return { ...next, digest, parentDigest };
  }

  /**
   * Converts a state to the newest revision that every replica reads. A state that is beyond it already
   * stays there: replicas that cannot read it could not before.
   */
  #lowered(state: Uint8Array, envelope: EnvelopeV1): Encoded {
    const { contract } = this;
    const sealing = this.#ring.sealing();
    if (sealing === undefined) throw noLease(contract.audience);
    if (sealing.revision >= contract.revision) {
      return { revision: contract.revision, encoded: state };
    }
    const between = { from: contract.revision, to: sealing.revision };
    const lowered = lower(this.#upgrades, state, between);
    if (lowered !== undefined) return { revision: sealing.revision, encoded: lowered };
    if (envelope.stateRevision === contract.revision) {
      return { revision: contract.revision, encoded: state };
    }
    throw Errors.STATE_REVISION_PENDING({
      retryAfterMs: 5000,
      metadata: { type: contract.stateType, revision: `${contract.revision}` },
    });
  }

  #refusal(envelope: EnvelopeV1, holder: Owner | undefined): StatusError | undefined {
    const { contract } = this;
    const nowS = this.#nowS();
    if (
      envelope.audience !== contract.audience ||
      envelope.sessionId.length !== 16 ||
      envelope.version >= MAX_VERSION ||
      !MODES[contract.mode].includes(envelope.mode) ||
      envelope.digest.length !== (envelope.mode === ANCHORED ? 32 : 0)
    ) {
      return Errors.WAYBILL_INVALID({
        cause: "its envelope is not of this audience and mode",
      });
    }
    if (!isHeldBy(envelope, holder)) {
      return Errors.WAYBILL_INVALID({ cause: "it is not the caller's" });
    }
    if (Number(envelope.issuedAt) > nowS + MAX_CLOCK_SKEW_S) {
      return Errors.WAYBILL_INVALID({ cause: "it was issued in the future" });
    }
    if (nowS >= Number(envelope.idleExpiresAt) || nowS >= Number(envelope.expiresAt)) {
      return Errors.WAYBILL_EXPIRED();
    }
    if (envelope.stateType !== contract.stateType || envelope.stateRevision > contract.revision) {
      return Errors.STATE_SCHEMA_UNSUPPORTED({
        metadata: {
          type: envelope.stateType,
          revision: `${envelope.stateRevision}`,
        },
      });
    }
    return undefined;
  }

  #toSession(envelope: EnvelopeV1, state: State, encoded: Buffer): OpenSession<State> {
    return new EnvelopeSession(
      envelope,
      this.#idleEndS(envelope) * 1000,
      envelope.mode === ANCHORED,
      state,
      encoded,
    );
  }

  #times(envelope: EnvelopeV1): Pick<EnvelopeV1, "issuedAt" | "idleExpiresAt"> {
    return {
      issuedAt: BigInt(this.#nowS()),
      idleExpiresAt: BigInt(this.#idleEndS(envelope)),
    };
  }

  /** When a waybill sealed now idles out: never after its session's end. */
  #idleEndS(envelope: EnvelopeV1): number {
    return Math.min(this.#nowS() + this.contract.idleS, Number(envelope.expiresAt));
  }

  #nowS(): number {
    return Math.floor(this.#now() / 1000);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A session as its envelope says. */
class EnvelopeSession<State> implements OpenSession<State> {
  readonly envelope: EnvelopeV1;
  readonly nextIdleExpiresAt: number;
  anchored: boolean;
  checkpointEvery: number;
  state: State;
  readonly encoded: Buffer;
  unknown: Unknown | undefined;

  constructor(
    envelope: EnvelopeV1,
    nextIdleExpiresAt: number,
    isAnchored: boolean,
    state: State,
    encoded: Buffer,
  ) {
    this.envelope = envelope;
    this.nextIdleExpiresAt = nextIdleExpiresAt;
    this.anchored = isAnchored;
    this.checkpointEvery = envelope.checkpointEvery;
    this.state = state;
    this.encoded = encoded;
    this.unknown = undefined;
  }

  get id(): string {
    return uuidFromBytes(this.envelope.sessionId);
  }

  get version(): number {
    return this.envelope.version;
  }

  get subject(): string {
    return this.envelope.subject;
  }

  get idleExpiresAt(): number {
    return Number(this.envelope.idleExpiresAt) * 1000;
  }

  get expiresAt(): number {
    return Number(this.envelope.expiresAt) * 1000;
  }

  get spill(): Spill | undefined {
    const { content } = this.envelope;
    return content?.$case === "spill" ? content.value : undefined;
  }
}
