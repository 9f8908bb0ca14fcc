/** The longest delay of Node's timers, in ms. A longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Checks a bound that a program passes in: NaN or a negative number would disable it.
 *
 * @param name the argument's name, for the error
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
