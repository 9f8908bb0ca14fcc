/** The channels on which key services tell each other what they have committed. */
export const FEED_CHANNEL = "waybill_feed";
export const RING_CHANNEL = "waybill_ring";
