import type {
  CreateUserRequest,
  DeleteUserRequest,
  DeleteUserResponse,
  EndUserSessionsRequest,
  EndUserSessionsResponse,
  GetUserRequest,
  ListUsersRequest,
  ListUsersResponse,
  SetUserSecretRequest,
  SetUserSecretResponse,
  UpdateUserRequest,
  User,
} from "#proto/waybill/identity/v1/identity.ts";
import type { Context } from "#shared/contract/handlers.ts";
import { Errors } from "#shared/errors.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { IdentityErrors } from "./errors.ts";
import type { IdentityParts } from "./parts.ts";
import type { UserRow } from "./sql/readUserByName.ts";
import { common, type Resource, StandardMethods } from "./standardMethods.ts";

export const USERS: Resource<User, UserRow> = {
  table: '"user"',
  collection: "users",
  kind: "user",
  toMessage: (row) => ({
    name: `users/${row.id}`,
    username: row.username,
    displayName: row.display_name,
    scopes: row.scopes,
    disabled: row.disabled,
    ...common(row),
  }),
  columns: {
    username: ({ username }) => {
      if (username !== "") return { username };
      throw Errors.INVALID_FIELD({
        violations: [{ field: "user.username", description: "value is required" }],
      });
    },
    display_name: ({ displayName }) => ({ display_name: displayName }),
    scopes: ({ scopes }) => ({ scopes }),
    disabled: ({ disabled }) => ({ disabled }),
  },
  // What he could do with tokens that he has must not be more than what he may from now on.
  revokes: (paths, row) => (paths.includes("disabled") && row.disabled) || paths.includes("scopes"),
};

/** The handlers of users. */
export function userHandlers(parts: IdentityParts) {
  const methods = new StandardMethods(USERS, parts);
  /** Everyone may do this to himself, and an administrator to everyone. */
  const selfOrAdmin = (name: string, { token, method }: Context): string => {
    if (name === "users/me") {
      if (!token.subject.startsWith("users/")) throw IdentityErrors.NOT_A_USER();
      return token.subject;
    }
    if (name === token.subject || token.scopes.includes("identity.admin")) return name;
    throw Errors.ACCESS_DENIED({ metadata: { method, scope: "identity.admin" } });
  };
  return {
    getUser: async ({ name }: GetUserRequest, context: Context): Promise<User> =>
      methods.get(selfOrAdmin(name, context), context),

    listUsers: async (request: ListUsersRequest, context: Context): Promise<ListUsersResponse> => {
      const { page, nextPageToken } = await methods.list(request, context);
      return { users: page, nextPageToken };
    },

    createUser: async ({ user, secret }: CreateUserRequest, context: Context): Promise<User> => {
      const secret_hash = await parts.hasher.hash(secret);
      return methods.create(newUuid(), user!, context, { secret_hash });
    },

    updateUser: ({ user, updateMask }: UpdateUserRequest, context: Context): Promise<User> =>
      methods.update(user!, updateMask, context),

    deleteUser: async (
      { name, etag }: DeleteUserRequest,
      context: Context,
    ): Promise<DeleteUserResponse> => {
      await methods.delete(name, etag, context);
      return {};
    },

    setUserSecret: async (
      { name, secret }: SetUserSecretRequest,
      context: Context,
    ): Promise<SetUserSecretResponse> => {
      const secret_hash = await parts.hasher.hash(secret);
      const id = name.slice("users/".length);
      const newEpoch = () => true;
      await methods.change(context, id, "", { secret_hash }, "setSecret", { newEpoch });
      return {};
    },

    endUserSessions: async (
      { name }: EndUserSessionsRequest,
      context: Context,
    ): Promise<EndUserSessionsResponse> => {
      const id = selfOrAdmin(name, context).slice("users/".length);
      await methods.change(context, id, "", {}, "endSessions", { newEpoch: () => true });
      return {};
    },
  };
}
