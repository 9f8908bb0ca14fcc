/** `waybill/postgres`: pools, anchors, checkpoints, spilled states and change feeds. */

export { Anchors } from "../anchors/anchors.ts";
export { Checkpoints } from "../anchors/checkpoints.ts";
export { migrateAnchors } from "../anchors/migrate.ts";
export { SavedResponses, savedAudience } from "../anchors/savedResponses.ts";

export { Spills } from "../anchors/spills.ts";
export { during } from "./during.ts";
export { Feed } from "./feed.ts";
export { Notifications } from "./notifications.ts";
export { createPool, type Db, type Pool } from "./pool.ts";
