import type {
  CreateScopeRequest,
  DeleteScopeRequest,
  DeleteScopeResponse,
  GetScopeRequest,
  ListScopesRequest,
  ListScopesResponse,
  Scope,
  UpdateScopeRequest,
} from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import type { IdentityParts } from "./parts.ts";
import type { ResourceRow } from "./sql/rows.ts";
import { common, type Resource, StandardMethods } from "./standardMethods.ts";

interface ScopeRow extends ResourceRow {
  description: string;
  granted_to_users: boolean;
}

const SCOPES: Resource<Scope, ScopeRow> = {
  table: "scope",
  collection: "scopes",
  kind: "scope",
  toMessage: (row) => ({
    name: `scopes/${row.id}`,
    description: row.description,
    grantedToUsers: row.granted_to_users,
    ...common(row),
  }),
  columns: {
    description: ({ description }) => ({ description }),
    granted_to_users: ({ grantedToUsers }) => ({ granted_to_users: grantedToUsers }),
  },
};

/** The handlers of scopes. */
export function scopeHandlers(parts: IdentityParts) {
  const methods = new StandardMethods(SCOPES, parts);
  return {
    getScope: ({ name }: GetScopeRequest, context: Context): Promise<Scope> =>
      methods.get(name, context),

    listScopes: async (
      request: ListScopesRequest,
      context: Context,
    ): Promise<ListScopesResponse> => {
      const { page, nextPageToken } = await methods.list(request, context);
      return { scopes: page, nextPageToken };
    },

    createScope: ({ scope, scopeId }: CreateScopeRequest, context: Context): Promise<Scope> =>
      methods.create(scopeId, scope!, context),

    updateScope: ({ scope, updateMask }: UpdateScopeRequest, context: Context): Promise<Scope> =>
      methods.update(scope!, updateMask, context),

    deleteScope: async (
      { name, etag }: DeleteScopeRequest,
      context: Context,
    ): Promise<DeleteScopeResponse> => {
      await methods.delete(name, etag, context);
      return {};
    },
  };
}
