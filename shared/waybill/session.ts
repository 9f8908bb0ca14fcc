import type { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { EnvelopeV1, Spill } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import type { Unknown } from "./state/unknownFields.ts";

/** Encodes and decodes a state: the object that ts-proto makes for a message. */
export interface StateCodec<State> {
  /** @param writer to be used, empty. Default: a new one */
  encode(state: State, writer?: BinaryWriter): { finish(): Uint8Array };
  decode(bytes: Uint8Array): State;
  create(): State;
}

/** The session options of a service's contract. */
export interface SessionContract {
  readonly audience: string;
  /** Full name of the state's message. */
  readonly stateType: string;
  readonly revision: number;
  /** True if Postgres keeps which version of a session is the newest: of none, each, or some. */
  readonly mode: "carried" | "anchored" | "either";
  readonly idleS: number;
  readonly absoluteS: number;
  /** Interval of checkpoints of a carried session, in versions. Default: no checkpoints. */
  readonly checkpointEvery?: number | undefined;
  /** Where anchored sessions stand: in the service's own schema, or at the session service. */
  readonly anchor?: "own" | "session";
}

/** A session, as a handler has it. */
export interface Session<State> {
  /** UUIDv7. */
  readonly id: string;
  /** 0 in a handler that begins the session; 1 in its first waybill; one more with each advance. */
  readonly version: number;
  /** The owner: the subject of an access token, or `anonymous/{uuid}`. */
  readonly subject: string;
  /** When it ends unless it is used, and at the latest: milliseconds since the Unix epoch. */
  readonly idleExpiresAt: number;
  readonly expiresAt: number;
  /** `idleExpiresAt` of the waybill in this call's response. */
  readonly nextIdleExpiresAt: number;
  /**
   * True if Postgres keeps which version is the newest. Where the contract says MODE_EITHER, a handler
   * that begins a session may set it; default: false.
   */
  anchored: boolean;
  /**
   * Interval of checkpoints of a carried session with an owner, in versions, so that the owner can resume
   * it. 0: only checkpoints that a handler requests with `context.checkpoint()`. Set it in a handler that
   * begins the session. Default: the contract's.
   */
  checkpointEvery: number;
  /** Change it in place or put another in its place. */
  state: State;
}

/** An open session with its envelope. Handlers see only a part of it. */
export interface OpenSession<State> extends Session<State> {
  readonly envelope: EnvelopeV1;
  /** The state as it came, encoded. */
  readonly encoded: Buffer;
  /** Finds the unknown fields of the state; called before the state is written. */
  unknown: Unknown | undefined;
  /** Where it lay when it was too large to be carried. */
  readonly spill: Spill | undefined;
}

/** Where states are that were too large to be carried. */
export interface SpillSource {
  /** Undefined when the session has no such state. */
  load(sessionId: string, spill: Spill): Promise<Buffer | undefined>;
}

const NAME = /^sessions\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** Returns the id in a session's resource name, `sessions/{uuid}`; undefined when it is not one. */
export function sessionIdOf(name: string): string | undefined {
  return NAME.exec(name)?.[1];
}
