import type { ServiceError } from "@grpc/grpc-js";
import { type ErrorReport, readError } from "#shared/errors.ts";

/** Returns the error of a refused call. Fails when the call succeeds. */
export async function refusal(call: Promise<unknown>): Promise<ErrorReport> {
  try {
    await call;
  } catch (error) {
    return readError(error as ServiceError);
  }
  throw new Error("the call was to be refused, but succeeded");
}

/**
 * Repeats a call until it is refused, and returns the error: replicas receive a revocation a few
 * milliseconds after it was acknowledged. Fails when the call still succeeds after the feed's bound.
 */
export async function untilRefused(call: () => Promise<unknown>): Promise<ErrorReport> {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    const succeeded = await call().then(
      () => true,
      () => false,
    );
    // Of several replicas each must have heard of it.
    if (!succeeded) {
      const reports = [];
      for (let again = 0; again < 6; again += 1) {
        reports.push(await refusal(call()).catch(() => undefined));
      }
      const [first] = reports;
      if (first !== undefined && !reports.includes(undefined)) return first;
    }
  }
  throw new Error("the call was to be refused, but went on succeeding");
}
