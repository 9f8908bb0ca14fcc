import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Errors, type StatusError } from "../../errors.ts";
import type { StateCodec } from "../session.ts";
import { KeptWriter } from "./reusedWriter.ts";

/**
 * Most levels of messages in a state, itself included; an entry of a map is a level, too. The decoders that
 * ts-proto generates throw beyond it, while its encoders have no bound.
 */
export const MAX_STATE_DEPTH = 100;

/** Counts how deeply messages are nested, while they are written. */
class NestingWriter extends BinaryWriter {
  #open = 0;
  #deepest = 0;

  override fork(): this {
    this.#open += 1;
    if (this.#open > this.#deepest) this.#deepest = this.#open;
    // An object that contains itself would be written until the stack overflows.
    if (this.#open > MAX_STATE_DEPTH) throw tooDeep();
    return super.fork();
  }

  override join(): this {
    this.#open -= 1;
    return super.join();
  }

  /** How many forks were open at once, at most, since this was last asked for. */
  takeDeepest(): number {
    const deepest = this.#deepest;
    this.#deepest = 0;
    return deepest;
  }
}

/** Encodes states of one type, and none that could not be decoded again. */
export class StateEncoder<State> {
  readonly #codec: Pick<StateCodec<State>, "encode" | "decode">;
  readonly #writer = new KeptWriter(() => new NestingWriter());

  constructor(codec: Pick<StateCodec<State>, "encode" | "decode">) {
    this.#codec = codec;
  }

  /** @throws StatusError STATE_TOO_DEEP */
  encode(state: State): Buffer {
    let forks = 0;
    const encoded = this.#writer.encode((writer) => {
      const written = this.#codec.encode(state, writer);
      forks = writer.takeDeepest();
      return written;
    });
    // The last fork is a message beyond the bound, or a packed list, which is no level.
    if (forks === MAX_STATE_DEPTH) this.#assertDecodes(encoded);
    return encoded;
  }

  #assertDecodes(encoded: Buffer): void {
    try {
      this.#codec.decode(encoded);
    } catch (cause) {
      throw tooDeep(cause);
    }
  }
}

function tooDeep(cause?: unknown): StatusError {
  return Errors.STATE_TOO_DEEP({ cause, metadata: { limit: `${MAX_STATE_DEPTH}` } });
}
