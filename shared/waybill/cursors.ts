import { Cursor, type CursorV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { Errors } from "../errors.ts";
import type { RingSource } from "../rings/ring.ts";
import { sha256 } from "../runtime/sha256.ts";
import { fromCompact, toCompact } from "./jwe.ts";
import { Opener } from "./opener.ts";
import { Sealer } from "./sealer.ts";

const LIFE_S = 24 * 60 * 60;
/** Longest page token that is looked at, in characters. */
const MAX_TOKEN_LENGTH = 2048;

/**
 * Sealed page tokens (AIP-158). A token is bound to the method and to the request that it was
 * answered to: page size apart, the next request must be the same. It lives for a day.
 */
export class Cursors {
  readonly #now: () => number;
  readonly #sealer: Sealer;
  readonly #opener: Opener;

  /** @param now milliseconds since the Unix epoch */
  constructor(audience: string, ring: RingSource, now: () => number = Date.now) {
    this.#now = now;
    this.#sealer = new Sealer("cursor", audience, ring);
    this.#opener = new Opener("cursor", audience, ring);
  }

  /**
   * @param method full name, such as `/waybill.catalog.v1.CatalogService/ListProducts`
   * @param request the request, encoded, without its page token and page size
   * @param position where the next page starts, as the service encodes it
   */
  seal(method: string, request: Uint8Array, position: Uint8Array): string {
    const cursor: CursorV1 = {
      method,
      requestDigest: sha256(request),
      position: Buffer.from(position),
      expiresAt: BigInt(Math.floor(this.#now() / 1000) + LIFE_S),
    };
    return toCompact(
      this.#sealer.seal(Cursor.encode({ version: { $case: "v1", value: cursor } }).finish()),
    );
  }

  /**
   * @returns the position that was sealed
   * @throws StatusError PAGE_TOKEN_INVALID when the token is not one of this method and request
   */
  async open(method: string, request: Uint8Array, token: string): Promise<Uint8Array> {
    const sealed = token.length <= MAX_TOKEN_LENGTH ? fromCompact(token) : undefined;
    const plaintext = sealed && (await this.#opener.open(sealed));
    const cursor = plaintext && Cursor.decode(plaintext).version?.value;
    if (
      !cursor ||
      cursor.method !== method ||
      !cursor.requestDigest.equals(sha256(request)) ||
      Number(cursor.expiresAt) * 1000 <= this.#now()
    ) {
      throw Errors.PAGE_TOKEN_INVALID({
        violations: [
          {
            field: "page_token",
            description: "belongs to another request or is old",
          },
        ],
      });
    }
    return cursor.position;
  }
}

const DEFAULT_PAGE_SIZE = 25;
const MAX_PAGE_SIZE = 100;

/** Returns the number of items in a page (AIP-158): 25 by default, at most 100. */
export function pageSize(requested: number): number {
  return requested === 0 ? DEFAULT_PAGE_SIZE : Math.min(requested, MAX_PAGE_SIZE);
}

/**
 * Cuts a page out of rows that were read with a limit of `size + 1`.
 *
 * @returns the page, and its last row if another page follows
 */
export function cutPage<Row>(rows: readonly Row[], size: number): { page: Row[]; last?: Row } {
  const page = rows.slice(0, size);
  const last = page.at(-1);
  return rows.length > size && last !== undefined ? { page, last } : { page };
}
