import type { AnchorStore } from "../anchors/anchorStore.ts";
import type { SavedResponses } from "../anchors/savedResponses.ts";
import type { Directory } from "../anchors/sessionDirectory.ts";

/** Where the sessions of a service are anchored. */
export interface Anchorage {
  readonly anchors: AnchorStore;
  readonly answers: SavedResponses;
  /** Where an owner's sessions are listed. Default: nowhere. */
  readonly directory?: Directory | undefined;
}
