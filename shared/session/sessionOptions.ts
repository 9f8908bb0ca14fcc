import type { CheckpointStore } from "../anchors/checkpoints.ts";
import type { Spills } from "../anchors/spills.ts";
import type { RingSource } from "../rings/ring.ts";
import type { StateCodec } from "../waybill/session.ts";
import type { Upgrades } from "../waybill/state/upgrades.ts";
import type { Anchorage } from "./anchorage.ts";
import type { SessionRevocations } from "./sessionRevocations.ts";

/** What a service with sessions brings along. */
export interface SessionOptions<State> {
  state: StateCodec<State>;
  ring: RingSource;
  /** What has been revoked. Default: nothing can be. */
  revocations?: SessionRevocations | undefined;
  /** Where the sessions stand; required with MODE_ANCHORED. */
  anchorage?: Anchorage | undefined;
  /** Takes states of older revisions over. Default: older ones are read as they are. */
  upgrades?: Upgrades | undefined;
  /** Where states go that are too large to be carried. Default: they are refused. */
  spills?: Spills | undefined;
  /** Where carried sessions are kept to be resumed; required with `checkpoint_every`. */
  checkpoints?: CheckpointStore | undefined;
}
