import { promisify } from "node:util";
import { gunzip, inflate } from "node:zlib";
import { type Metadata, status } from "@grpc/grpc-js";
import { Errors, type StatusError } from "../../errors.ts";

const HEAD = 5;

/** Compressions of a request's message, by their name in `grpc-encoding`. */
const DECOMPRESS = new Map([
  ["gzip", promisify(gunzip)],
  ["deflate", promisify(inflate)],
]);

/** The values of `grpc-encoding` that are supported. */
export const ENCODINGS: readonly string[] = ["identity", ...DECOMPRESS.keys()];

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
  readonly #encoding: string;
  #chunks: Buffer[] = [];
  /** How many bytes have come, and how many there are to be. */
  #size = 0;
  #expected: number | undefined;

  /**
   * @param path of the method
   * @param maxBytes of the message, compressed and not
   * @param encoding one of ENCODINGS
   */
  constructor(path: string, maxBytes: number, encoding: string) {
    this.#path = path;
    this.#maxBytes = maxBytes;
    this.#encoding = encoding;
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
    const flag = this.#joined()[0]!;
    if (flag === 0 || (flag === 1 && this.#encoding !== "identity")) return undefined;
    const details = "The request message is compressed, and does not say how";
    return { code: status.INTERNAL, details };
  }

  get isCompressed(): boolean {
    return this.#joined()[0] === 1;
  }

  /**
   * Decompresses the message, up to the largest message of the method.
   *
   * @returns undefined: the message is `bytes`
   */
  async decompress(): Promise<MessageRefusal | undefined> {
    try {
      const options = { maxOutputLength: this.#maxBytes };
      const message = await DECOMPRESS.get(this.#encoding)!(this.bytes, options);
      this.#chunks = [toFrame(message)];
      return undefined;
    } catch (error) {
      const isLarge = (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
      const refusal = isLarge
        ? requestTooLarge(undefined, this.#maxBytes)
        : Errors.INVALID_FIELD({
            violations: [{ field: "", description: `cannot be decompressed as ${this.#encoding}` }],
          });
      return refusal.toStatusObject();
    }
  }

  /** The message, when all of it has come and is not compressed. */
  get bytes(): Buffer {
    return this.#joined().subarray(HEAD);
  }

  /** Joins the received pieces. Costs a copy: do not call it for every piece. */
  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }
}

/** @param size of a request, in bytes, where it is known @param limit of its method */
export function requestTooLarge(size: number | undefined, limit: number): StatusError {
  return Errors.REQUEST_TOO_LARGE({
    metadata: { ...(size !== undefined && { size: `${size}` }), limit: `${limit}` },
  });
}

/** Frames a message: not compressed, its length, and itself. */
export function toFrame(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(HEAD + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, HEAD);
  return frame;
}
