import { join } from "node:path";

/** The project's folder. */
export const PROJECT = join(import.meta.dirname, "..", "..");
/** Downloads and builds that are made once. */
export const CACHE = join(PROJECT, ".cache");
/** Where Node keeps compiled code: a start without a compiler for TypeScript takes a third less memory. */
export const COMPILE_CACHE = join(CACHE, "node");
export const CONTRACT_IMAGE = join(PROJECT, "proto", "gen", "image.binpb");
