import { createHash } from "node:crypto";
import type { Pool } from "waybill/postgres";
import { IdentityErrors } from "./errors.ts";
import { countAttempts } from "./sql/countAttempts.ts";
import { refundAttempts } from "./sql/refundAttempts.ts";

/** Limits: attempts in a window of seconds. */
const BY_ADDRESS = { most: 30, windowS: 60 };
const BY_ACCOUNT_AND_ADDRESS = { most: 10, windowS: 300 };
/** Counts attempts from unknown addresses: those without a successful sign-in to the account. */
const BY_ACCOUNT = { most: 100, windowS: 3600 };
const SIGN_UPS_BY_ADDRESS = { most: 20, windowS: 3600 };

/**
 * Limits attempts to sign in and to sign up, over all replicas. Postgres counts an attempt before it
 * is made, and refunds it when it succeeds.
 *
 * - Each address has a limit of failures over all accounts, and one for each account.
 * - Once many unknown addresses have tried an account, each further unknown address gets one attempt
 *   in a window. Attackers therefore cannot lock a user out: known addresses keep their limits, and
 *   the correct secret works from an unknown address at the first attempt.
 */
export class Attempts {
  readonly #db: Pool;

  constructor(db: Pool) {
    this.#db = db;
  }

  /**
   * Counts an attempt to sign in.
   *
   * @returns a function that refunds the attempt; call it when the attempt succeeds
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
    const of = (key: Buffer) => counted.attempts.find((each) => each.key.equals(key))!;
    const isUnderAttack = !counted.isKnown && of(keys.account).count > BY_ACCOUNT.most;
    const over = [
      of(keys.address).count > BY_ADDRESS.most ? of(keys.address) : undefined,
      of(keys.both).count > (isUnderAttack ? 1 : BY_ACCOUNT_AND_ADDRESS.most)
        ? of(keys.both)
        : undefined,
    ].find((each) => each !== undefined);
    if (over !== undefined) {
      throw IdentityErrors.TOO_MANY_ATTEMPTS({ retryAfterMs: over.leftS * 1000 });
    }
    return () => refundAttempts(this.#db, [keys.address, keys.both, keys.account], keys.both);
  }

  /** Counts a sign-up from an address. @throws StatusError TOO_MANY_ATTEMPTS */
  async signUp(address: string): Promise<void> {
    const key = digest("sign-up", networkOf(address));
    const { windowS, most } = SIGN_UPS_BY_ADDRESS;
    const { attempts } = await countAttempts(this.#db, [{ key, windowS }], key);
    const [attempt] = attempts;
    if (attempt!.count <= most) return;
    throw IdentityErrors.TOO_MANY_ATTEMPTS({ retryAfterMs: attempt!.leftS * 1000 });
  }
}

/** Returns the /64 of an IPv6 address, because one caller usually controls all of it. */
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
