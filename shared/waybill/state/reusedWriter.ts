import type { BinaryWriter } from "@bufbuild/protobuf/wire";

/** Largest encoding, in bytes, after which the writer is reused. */
const MAX_KEPT_BYTES = 64 * 1024;

/** Has messages encoded by one writer after another: a new one grows by copying, which costs more than writing. */
export class KeptWriter<Writer extends BinaryWriter> {
  readonly #make: () => Writer;
  #writer: Writer | undefined;

  constructor(make: () => Writer) {
    this.#make = make;
  }

  /** @param write writes a message, and gives the writer back */
  encode(write: (writer: Writer) => { finish(): Uint8Array }): Buffer {
    const writer = this.#writer ?? this.#make();
    // One that is left in the midst of a message is not used again, nor is one that has grown large.
    this.#writer = undefined;
    const encoded = write(writer).finish();
    if (encoded.length <= MAX_KEPT_BYTES) this.#writer = writer;
    return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  }
}
