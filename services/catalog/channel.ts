/** The channel on which catalogues tell each other that there are more changes. */
export const CHANGE_CHANNEL = "waybill_catalog_change";
