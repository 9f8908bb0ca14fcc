import type { Metadata } from "@grpc/grpc-js";

/**
 * The metadata key of a change number. A response is at least as new as the change that it names; a request
 * needs a response that is at least as new.
 */
export const CHANGE_KEY = "change";

const NUMBER = /^\d{1,19}$/;
/** Above every change: no cached response is as new. */
const BEYOND = 2n ** 64n;

/** Returns the newest change that metadata name. 0: none. A malformed number counts as above every change. */
export function changeIn(metadata: Pick<Metadata, "get">): bigint {
  let newest = 0n;
  for (const value of metadata.get(CHANGE_KEY)) {
    const text = value.toString();
    const number = NUMBER.test(text) ? BigInt(text) : BEYOND;
    if (number > newest) newest = number;
  }
  return newest;
}

/** A client's record of a service's changes. */
export interface KnownChanges {
  /** The newest change that the client has received. */
  readonly seen: bigint;
  /** Grows by one each time the numbers start anew. */
  readonly era: number;
  see(number: bigint): void;
  /** Starts a new era: the numbers have gone back, and this one is the newest. */
  setBack(number: bigint): void;
}

/** Records the change that a response names. @returns its number; 0: none */
export function seeChange(known: KnownChanges, reply: Metadata): bigint {
  const number = changeIn(reply);
  if (number === BEYOND) return 0n;
  known.see(number);
  return number;
}

/**
 * Records the number of a change that a call has made. It is above all earlier numbers, unless the service's
 * database was restored to an earlier state since.
 *
 * @param before the known changes when the call was sent
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

/** Adds the newest known change to a request's metadata, unless they name one. */
export function withChange(metadata: Metadata, { seen }: KnownChanges): Metadata {
  if (seen === 0n || metadata.get(CHANGE_KEY).length > 0) return metadata;
  const sent = metadata.clone();
  sent.set(CHANGE_KEY, `${seen}`);
  return sent;
}
