/** The longest time that Node's timers take, in ms. A longer one would run out at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Checks a bound that a program passes in: of a comparison with NaN, or of a limit below zero, nothing would
 * be left of it.
 *
 * @param name of the argument, for the error
 * @throws Error naming the argument and the rule
 */
export function wholeNumber(
  name: string,
  value: number,
  min = 1,
  max = Number.MAX_SAFE_INTEGER,
): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new Error(`${name} must be a whole number from ${min} to ${max}, not ${String(value)}`);
}
