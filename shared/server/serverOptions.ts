import { checkContract } from "../contract/contract.ts";
import { MAX_TIMER_MS, wholeNumber } from "../runtime/wholeNumber.ts";
import type { ServerOptions } from "./server.ts";

/** Largest gRPC message: its length field has four bytes. */
const MAX_MESSAGE_BYTES = 2 ** 32 - 1;
/** Most streams on an HTTP/2 connection. */
const MAX_STREAMS = 2 ** 31 - 1;

/** @throws Error naming an option that would disable a bound or a check, and the rule */
export function checkServerOptions(options: ServerOptions): void {
  checkContract("Server: contract", options?.contract);
  const { maxRequestBytes, maxCalls, maxStreams, maxConnectionAgeMs } = options;
  const bounds: [string, number | undefined, number, number][] = [
    ["maxRequestBytes", maxRequestBytes, 1, MAX_MESSAGE_BYTES],
    ["maxCalls", maxCalls, 1, MAX_STREAMS],
    ["maxStreams", maxStreams, 0, MAX_STREAMS],
    ["maxConnectionAgeMs", maxConnectionAgeMs, 1, MAX_TIMER_MS],
  ];
  for (const [name, value, min, max] of bounds) {
    if (value !== undefined) wholeNumber(`Server: ${name}`, value, min, max);
  }
  for (const name of ["authenticate", "translate"] as const) {
    const given: unknown = options[name];
    if (given !== undefined && typeof given !== "function") {
      throw new Error(`Server: ${name} must be a function`);
    }
  }
}
