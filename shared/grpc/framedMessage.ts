import { type Metadata, status } from "@grpc/grpc-js";
import { Errors, type StatusError } from "../errors/errors.ts";

const HEAD = 5;

/** Why a message is refused. */
export interface MessageRefusal {
  readonly code: status;
  readonly details: string;
  readonly metadata?: Metadata;
}

/** The one message of a request, as gRPC frames it: it may come in any number of pieces. */
export class FramedMessage {
  readonly #path: string;
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  /** How many bytes have come, and how many there are to be. */
  #size = 0;
  #expected: number | undefined;

  /** @param path of the method @param maxBytes of the message */
  constructor(path: string, maxBytes: number) {
    this.#path = path;
    this.#maxBytes = maxBytes;
  }

  /** Takes a piece. */
  add(chunk: Buffer): MessageRefusal | undefined {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size < HEAD) return undefined;
    if (this.#expected === undefined) {
      const size = this.#joined().readUInt32BE(1);
      this.#expected = HEAD + size;
      if (size > this.#maxBytes) {
        return requestTooLarge(size, this.#maxBytes).toStatusObject();
      }
    }
    if (this.#size <= this.#expected) return undefined;
    const details = `Received a second request message for unary method ${this.#path}`;
    return { code: status.UNIMPLEMENTED, details };
  }

  /** Nothing more will come. @returns undefined: there is a message */
  end(): MessageRefusal | undefined {
    if (this.#size === 0) {
      const details = `Received no request message for unary method ${this.#path}`;
      return { code: status.UNIMPLEMENTED, details };
    }
    if (this.#size !== this.#expected) {
      return { code: status.INTERNAL, details: "The request message is cut off" };
    }
    if (this.#joined()[0] === 0) return undefined;
    const details = "The request message is compressed, and does not say how";
    return { code: status.INTERNAL, details };
  }

  /** The message, when all of it has come. */
  get bytes(): Buffer {
    return this.#joined().subarray(HEAD);
  }

  /** What has come, in one piece. Not to be asked for at every piece. */
  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }
}

/** @param size of a request, in bytes @param limit of its method */
export function requestTooLarge(size: number, limit: number): StatusError {
  return Errors.REQUEST_TOO_LARGE({ metadata: { size: `${size}`, limit: `${limit}` } });
}

/** Frames a message: not compressed, its length, and itself. */
export function toFrame(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(HEAD + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, HEAD);
  return frame;
}
