import { BinaryWriter } from "@bufbuild/protobuf/wire";
import {
  SavedResponse,
  type SavedResponseV1,
} from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Waybill } from "../../proto/gen/waybill/options/v1/options.ts";
import { StatusError } from "../errors.ts";
import type { RingSource } from "../rings/ring.ts";
import { IV_BYTES, TAG_BYTES } from "../waybill/jwe.ts";
import { Opener } from "../waybill/opener.ts";
import { Sealer } from "../waybill/sealer.ts";
import { KeptWriter } from "../waybill/state/reusedWriter.ts";

/** Returns the audience whose ring seals the saved responses of an audience. */
export function savedAudience(audience: string): string {
  return `${audience}-saved`;
}

/**
 * Seals and opens saved responses, under a ring of their own: when a key of the waybills' ring leaks and is
 * destroyed, the sessions can still be resumed.
 */
export class SavedResponses {
  readonly #sealer: Sealer;
  readonly #opener: Opener;
  readonly #writer = new KeptWriter(() => new BinaryWriter());

  /** @param ring of `savedAudience(audience)` */
  constructor(audience: string, ring: RingSource) {
    this.#sealer = new Sealer("answer", savedAudience(audience), ring);
    this.#opener = new Opener("answer", savedAudience(audience), ring);
  }

  /** @throws StatusError KEYS_UNAVAILABLE */
  seal(answer: SavedResponseV1): Buffer {
    const message: SavedResponse = { version: { $case: "v1", value: answer } };
    const plaintext = this.#writer.encode((writer) => SavedResponse.encode(message, writer));
    const { header, iv, ciphertext, tag } = this.#sealer.seal(plaintext);
    const fields = { protected: Buffer.from(header, "base64url"), iv, ciphertext, tag };
    return this.#writer.encode((writer) => Waybill.encode(fields, writer));
  }

  /**
   * @returns undefined when it was not sealed for this audience, or was changed
   * @throws StatusError KEYS_UNAVAILABLE
   */
  async open(sealed: Buffer): Promise<SavedResponseV1 | undefined> {
    try {
      const { protected: header, iv, ciphertext, tag } = Waybill.decode(sealed);
      if (iv.length !== IV_BYTES || tag.length !== TAG_BYTES) return undefined;
      const parts = { header: header.toString("base64url"), iv, ciphertext, tag };
      const plaintext = await this.#opener.open(parts);
      const version = plaintext && SavedResponse.decode(plaintext).version;
      return version?.$case === "v1" ? version.value : undefined;
    } catch (error) {
      if (error instanceof StatusError) throw error;
      return undefined;
    }
  }
}
