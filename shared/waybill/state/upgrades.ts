import type { StateCodec } from "../session.ts";
import { StateEncoder } from "./stateEncoder.ts";

/** How states, encoded, go from one revision to the next, and back. */
export interface Upgrade {
  up(encoded: Uint8Array): Uint8Array;
  /**
   * For as long as replicas serve that read the older revision alone. Undefined: it has no way to say
   * this, and the call is refused until they are gone. Default: every call that would seal is.
   */
  down?: ((encoded: Uint8Array) => Uint8Array | undefined) | undefined;
}

/**
 * Upgrades, by the older revision of each pair. Without one, the newer revision decodes the older
 * encoding; the reverse is never assumed.
 */
export type Upgrades = Readonly<Record<number, Upgrade>>;

/**
 * An upgrade of decoded states. Fields that neither codec knows are kept where `up` and `down` keep
 * them.
 *
 * @param up makes a state of the newer revision
 * @param down makes one of the older; undefined where that cannot say it. One that is nested too deeply to
 *   be decoded again is STATE_TOO_DEEP
 */
export function upgrade<Old, New>(
  older: Pick<StateCodec<Old>, "decode" | "encode">,
  newer: Pick<StateCodec<New>, "decode" | "encode">,
  up: (old: Old) => New,
  down?: (state: New) => Old | undefined,
): Upgrade {
  const encoder = new StateEncoder(older);
  return {
    up: (encoded) => newer.encode(up(older.decode(encoded))).finish(),
    down:
      down &&
      ((encoded) => {
        const old = down(newer.decode(encoded));
        return old && encoder.encode(old);
      }),
  };
}

/** Takes an encoded state from a revision up to another. */
export function raise(
  upgrades: Upgrades,
  encoded: Uint8Array,
  { from, to }: { from: number; to: number },
): Uint8Array {
  let raised = encoded;
  for (let revision = from; revision < to; revision += 1) {
    raised = upgrades[revision]?.up(raised) ?? raised;
  }
  return raised;
}

/** Takes one down again. Undefined: it cannot be said there. */
export function lower(
  upgrades: Upgrades,
  encoded: Uint8Array,
  { from, to }: { from: number; to: number },
): Uint8Array | undefined {
  let lowered: Uint8Array | undefined = encoded;
  for (let revision = from - 1; revision >= to && lowered !== undefined; revision -= 1) {
    lowered = upgrades[revision]?.down?.(lowered);
  }
  return lowered;
}
