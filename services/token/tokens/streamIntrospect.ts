import type { Context } from "waybill";
import type { Introspection, IntrospectRequest } from "#proto/waybill/token/v1/token.ts";
import type { TokenDependencies } from "../index.ts";
import { explain } from "./introspect.ts";

/** Describes each token that the client sends, in order. */
export const streamIntrospect = (dependencies: TokenDependencies) =>
  async function* (
    requests: AsyncIterable<IntrospectRequest>,
    context: Context,
  ): AsyncGenerator<Introspection> {
    for await (const { token } of requests) {
      // The caller's own token may have been revoked since the stream began.
      dependencies.authentication.assertNotRevoked(context.token);
      yield explain(dependencies, token, context);
    }
  };
