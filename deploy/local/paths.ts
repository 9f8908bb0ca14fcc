import { join } from "node:path";

/** The project's folder. */
export const PROJECT = join(import.meta.dirname, "..", "..");
/** What is fetched or built once. */
export const CACHE = join(PROJECT, ".cache");
export const CONTRACT_IMAGE = join(PROJECT, "proto", "gen", "image.binpb");
