import type { StateCodec } from "./sessions.ts";

/**
 * By revision: takes a state of it, encoded, to the next one. Where there is none the bytes are those
 * of the next revision, too.
 */
export type Upgrades = Readonly<Record<number, (encoded: Uint8Array) => Uint8Array>>;

/**
 * An upgrade of decoded states. Fields that neither codec knows are kept where `change` keeps them.
 *
 * @param change makes a state of the next revision
 */
export function upgrade<Old, New>(
  from: Pick<StateCodec<Old>, "decode">,
  to: Pick<StateCodec<New>, "encode">,
  change: (old: Old) => New,
): (encoded: Uint8Array) => Uint8Array {
  return (encoded) => to.encode(change(from.decode(encoded))).finish();
}
