import type { Scope } from "#proto/waybill/identity/v1/identity.ts";
import { commonFields, type Resource } from "../resources.ts";
import type { ResourceRow } from "../sql/rows.ts";

interface ScopeRow extends ResourceRow {
  description: string;
  granted_to_users: boolean;
}

export const SCOPES: Resource<Scope, ScopeRow> = {
  table: "scope",
  collection: "scopes",
  kind: "scope",
  toMessage: (row) => ({
    name: `scopes/${row.id}`,
    description: row.description,
    grantedToUsers: row.granted_to_users,
    ...commonFields(row),
  }),
  columns: {
    description: ({ description }) => ({ description }),
    granted_to_users: ({ grantedToUsers }) => ({ granted_to_users: grantedToUsers }),
  },
};
