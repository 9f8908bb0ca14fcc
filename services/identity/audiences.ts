import type {
  Audience,
  CreateAudienceRequest,
  DeleteAudienceRequest,
  DeleteAudienceResponse,
  GetAudienceRequest,
  ListAudiencesRequest,
  ListAudiencesResponse,
  UpdateAudienceRequest,
} from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import type { IdentityParts } from "./parts.ts";
import type { ResourceRow } from "./sql/rows.ts";
import { common, type Resource, StandardMethods } from "./standardMethods.ts";

interface AudienceRow extends ResourceRow {
  description: string;
  granted_to_users: boolean;
}

const AUDIENCES: Resource<Audience, AudienceRow> = {
  table: "audience",
  collection: "audiences",
  kind: "audience",
  toMessage: (row) => ({
    name: `audiences/${row.id}`,
    description: row.description,
    grantedToUsers: row.granted_to_users,
    ...common(row),
  }),
  columns: {
    description: ({ description }) => ({ description }),
    granted_to_users: ({ grantedToUsers }) => ({ granted_to_users: grantedToUsers }),
  },
};

/** The handlers of audiences. */
export function audienceHandlers(parts: IdentityParts) {
  const methods = new StandardMethods(AUDIENCES, parts);
  return {
    getAudience: ({ name }: GetAudienceRequest, context: Context): Promise<Audience> =>
      methods.get(name, context),

    listAudiences: async (
      request: ListAudiencesRequest,
      context: Context,
    ): Promise<ListAudiencesResponse> => {
      const { page, nextPageToken } = await methods.list(request, context);
      return { audiences: page, nextPageToken };
    },

    createAudience: (
      { audience, audienceId }: CreateAudienceRequest,
      context: Context,
    ): Promise<Audience> => methods.create(audienceId, audience!, context),

    updateAudience: (
      { audience, updateMask }: UpdateAudienceRequest,
      context: Context,
    ): Promise<Audience> => methods.update(audience!, updateMask, context),

    deleteAudience: async (
      { name, etag }: DeleteAudienceRequest,
      context: Context,
    ): Promise<DeleteAudienceResponse> => {
      await methods.delete(name, etag, context);
      return {};
    },
  };
}
