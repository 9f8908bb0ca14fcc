import type { AnchorStore } from "../anchors/anchorStore.ts";
import type { CheckpointStore } from "../anchors/checkpoints.ts";
import type { SavedResponses } from "../anchors/savedResponses.ts";
import type { Directory } from "../anchors/sessionDirectory.ts";
import type { Spills } from "../anchors/spills.ts";
import type { Revocations } from "../auth/tokens/revocations.ts";
import type { RingSource } from "../rings/ring.ts";
import type { StateCodec } from "../waybill/session.ts";
import type { Upgrades } from "../waybill/state/upgrades.ts";

/** Options of a service that has sessions. */
export interface SessionOptions<State> {
  state: StateCodec<State>;
  ring: RingSource;
  /** Revocations that waybills are checked against. Default: none. */
  revocations?: SessionRevocations | undefined;
  /** Required with MODE_ANCHORED and MODE_EITHER. */
  anchorage?: Anchorage | undefined;
  /** Converts states of older revisions. Default: older states are decoded as they are. */
  upgrades?: Upgrades | undefined;
  /** Stores states that are too large for a waybill. Default: such states are refused. */
  spills?: Spills | undefined;
  /** Stores checkpoints of carried sessions; required with `checkpoint_every` and STEP_RESUME. */
  checkpoints?: CheckpointStore | undefined;
}

/** Storage of a service's anchored sessions. */
export interface Anchorage {
  readonly anchors: AnchorStore;
  readonly savedResponses: SavedResponses;
  /** Lists the sessions of each owner. Default: sessions are not listed. */
  readonly directory?: Directory | undefined;
}

/** The replica's copy of the revocations, and the service that adds to them. */
export interface SessionRevocations {
  readonly revocations: Pick<Revocations, "assertFresh" | "has">;
  revoke(
    targets: readonly {
      readonly $case: "session";
      readonly value: { readonly id: string; readonly owner: string };
    }[],
    ttlS: number,
  ): Promise<void>;
}
