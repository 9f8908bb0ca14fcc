import type { Audience, Scope } from "#proto/waybill/identity/v1/identity.ts";
import { commonFields, type Resource } from "./resources.ts";
import type { ResourceRow } from "./sql/rows.ts";

interface GrantableRow extends ResourceRow {
  description: string;
  granted_to_users: boolean;
}

export const SCOPES = grantable("scope");
export const AUDIENCES = grantable("audience");

/** Describes scopes or audiences: resources that tokens can be granted. */
function grantable(kind: "scope" | "audience"): Resource<Scope & Audience, GrantableRow> {
  const collection = `${kind}s`;
  return {
    table: kind,
    collection,
    kind,
    toMessage: (row) => ({
      name: `${collection}/${row.id}`,
      description: row.description,
      grantedToUsers: row.granted_to_users,
      ...commonFields(row),
    }),
    columns: {
      description: ({ description }) => ({ description }),
      granted_to_users: ({ grantedToUsers }) => ({ granted_to_users: grantedToUsers }),
    },
  };
}
