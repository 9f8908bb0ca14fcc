import type { Audience } from "#proto/waybill/identity/v1/identity.ts";
import { commonFields, type Resource } from "../resources.ts";
import type { ResourceRow } from "../sql/rows.ts";

interface AudienceRow extends ResourceRow {
  description: string;
  granted_to_users: boolean;
}

export const AUDIENCES: Resource<Audience, AudienceRow> = {
  table: "audience",
  collection: "audiences",
  kind: "audience",
  toMessage: (row) => ({
    name: `audiences/${row.id}`,
    description: row.description,
    grantedToUsers: row.granted_to_users,
    ...commonFields(row),
  }),
  columns: {
    description: ({ description }) => ({ description }),
    granted_to_users: ({ grantedToUsers }) => ({ granted_to_users: grantedToUsers }),
  },
};
