import type { Context } from "waybill";
import type {
  BatchIntrospectRequest,
  BatchIntrospectResponse,
} from "#proto/waybill/token/v1/token.ts";
import type { TokenDependencies } from "../index.ts";
import { explain } from "./introspect.ts";

/** Describes up to 100 tokens, in the order of the request. */
export const batchIntrospect =
  (dependencies: TokenDependencies) =>
  async (
    { tokens }: BatchIntrospectRequest,
    context: Context,
  ): Promise<BatchIntrospectResponse> => ({
    introspections: await Promise.all(tokens.map((token) => explain(dependencies, token, context))),
  });
