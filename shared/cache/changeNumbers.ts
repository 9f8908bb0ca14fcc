import type { Metadata } from "@grpc/grpc-js";

/**
 * The metadata key for the number of a change: of an answer, one that it is at least as new as; of a request,
 * one that its answer must be at least as new as.
 */
export const CHANGE_KEY = "change";

const NUMBER = /^\d{1,19}$/;
/** No change is so late: nothing that is kept is as new. */
const BEYOND = 2n ** 64n;

/** The newest of the changes that metadata name. 0: none; what makes no sense is beyond every change. */
export function changeIn(metadata: Pick<Metadata, "get">): bigint {
  let newest = 0n;
  for (const value of metadata.get(CHANGE_KEY)) {
    const text = value.toString();
    const number = NUMBER.test(text) ? BigInt(text) : BEYOND;
    if (number > newest) newest = number;
  }
  return newest;
}

/** What a caller knows of a service's changes. */
export interface KnownChanges {
  /** The newest that he was told of. */
  readonly seen: bigint;
  /** How often numbers began anew. */
  readonly era: number;
  see(number: bigint): void;
  /** The numbers have gone back: the newest is this one. */
  setBack(number: bigint): void;
}

/** Notes which change an answer tells of. @returns it; 0: none */
export function seeChange(known: KnownChanges, reply: Metadata): bigint {
  const number = changeIn(reply);
  if (number === BEYOND) return 0n;
  known.see(number);
  return number;
}

/**
 * Notes the number of a change that a call has made. It is above all that were known before, unless the
 * service's database has been set back since.
 *
 * @param before what was known when the call was sent
 */
export function seeWritten(
  known: KnownChanges,
  before: Pick<KnownChanges, "seen" | "era">,
  reply: Metadata,
): void {
  const number = changeIn(reply);
  const isBack = number > 0n && number <= before.seen && before.era === known.era;
  if (isBack) known.setBack(number);
  else seeChange(known, reply);
}

/** A request's metadata with the newest change that its caller knows of, unless they name one. */
export function withChange(metadata: Metadata, { seen }: KnownChanges): Metadata {
  if (seen === 0n || metadata.get(CHANGE_KEY).length > 0) return metadata;
  const sent = metadata.clone();
  sent.set(CHANGE_KEY, `${seen}`);
  return sent;
}
