import { createHash } from "node:crypto";
import type { Pool } from "#shared/pg/pool.ts";
import { IdentityErrors } from "./errors.ts";
import { countAttempts } from "./sql/countAttempts.ts";
import { refundAttempts } from "./sql/refundAttempts.ts";

/** So many in a window of so many seconds. */
const BY_ADDRESS = { most: 30, windowS: 60 };
const BY_ACCOUNT_AND_ADDRESS = { most: 10, windowS: 300 };
/** Of strangers: from addresses that the account was never signed in to from. */
const BY_ACCOUNT = { most: 100, windowS: 3600 };
const SIGN_UPS_BY_ADDRESS = { most: 20, windowS: 3600 };

/**
 * Limits attempts, across replicas: what counts is counted in Postgres, before the attempt is made,
 * and given back when it succeeds.
 *
 * - One address may fail so often, whoever it tries to be; and so often for one account.
 * - An account that many strangers try leaves each further address one attempt in a window. So nobody
 *   is locked out by others: from where he has signed in before nothing changes for him, and from
 *   elsewhere the right secret is good at the first attempt.
 */
export class Attempts {
  readonly #db: Pool;

  constructor(db: Pool) {
    this.#db = db;
  }

  /**
   * Counts an attempt to sign in.
   *
   * @returns to be called when the attempt has succeeded
   * @throws StatusError TOO_MANY_ATTEMPTS, with the time to wait
   */
  async signIn(username: string, address: string): Promise<() => Promise<void>> {
    const network = networkOf(address);
    const account = username.toLowerCase();
    const keys = {
      address: digest("address", network),
      both: digest("both", account, network),
      account: digest("account", account),
    };
    const counted = await countAttempts(
      this.#db,
      [
        { key: keys.address, windowS: BY_ADDRESS.windowS },
        { key: keys.both, windowS: BY_ACCOUNT_AND_ADDRESS.windowS },
        { key: keys.account, windowS: BY_ACCOUNT.windowS },
      ],
      keys.both,
    );
    const isStranger = !counted.isKnown;
    const of = (key: Buffer) => counted.attempts.find((each) => each.key.equals(key))!;
    const isBesieged = isStranger && of(keys.account).count > BY_ACCOUNT.most;
    const over = [
      of(keys.address).count > BY_ADDRESS.most ? of(keys.address) : undefined,
      of(keys.both).count > (isBesieged ? 1 : BY_ACCOUNT_AND_ADDRESS.most)
        ? of(keys.both)
        : undefined,
    ].find((each) => each !== undefined);
    if (over !== undefined) {
      throw IdentityErrors.TOO_MANY_ATTEMPTS({ retryAfterMs: over.leftS * 1000 });
    }
    return () => refundAttempts(this.#db, [keys.address, keys.both, keys.account], keys.both);
  }

  /** Counts a new account of an address. @throws StatusError TOO_MANY_ATTEMPTS */
  async signUp(address: string): Promise<void> {
    const key = digest("sign-up", networkOf(address));
    const { windowS, most } = SIGN_UPS_BY_ADDRESS;
    const { attempts } = await countAttempts(this.#db, [{ key, windowS }], key);
    const [attempt] = attempts;
    if (attempt!.count <= most) return;
    throw IdentityErrors.TOO_MANY_ATTEMPTS({ retryAfterMs: attempt!.leftS * 1000 });
  }
}

/** A caller has a whole /64 of IPv6 addresses. */
function networkOf(address: string): string {
  if (!address.includes(":") || address.startsWith("::ffff:")) return address;
  const [head = "", tail] = address.split("::");
  const left = head.split(":").filter((part) => part !== "");
  const right = tail === undefined ? [] : tail.split(":").filter((part) => part !== "");
  const zeros = Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => "0");
  return [...left, ...zeros, ...right].slice(0, 4).join(":");
}

function digest(...parts: string[]): Buffer {
  return createHash("sha256").update(JSON.stringify(parts)).digest();
}
