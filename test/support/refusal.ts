import type { ServiceError } from "@grpc/grpc-js";
import { type ErrorReport, readError } from "#shared/errors.ts";

/** Returns the error of a refused call. Fails if the call succeeds. */
export async function refusal(call: Promise<unknown>): Promise<ErrorReport> {
  try {
    await call;
  } catch (error) {
    return readError(error as ServiceError);
  }
  throw new Error("expected a refusal, but the call succeeded");
}

/**
 * Repeats a call until it is refused, and returns the error: replicas see a revocation some milliseconds
 * after its acknowledgement. Fails if the call still succeeds after the feed's bound.
 */
export async function untilRefused(call: () => Promise<unknown>): Promise<ErrorReport> {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    const succeeded = await call().then(
      () => true,
      () => false,
    );
    // Every replica must have seen the revocation.
    if (!succeeded) {
      const reports = [];
      for (let again = 0; again < 6; again += 1) {
        reports.push(await refusal(call()).catch(() => undefined));
      }
      const [first] = reports;
      if (first !== undefined && !reports.includes(undefined)) return first;
    }
  }
  throw new Error("expected a refusal, but the call still succeeds");
}
