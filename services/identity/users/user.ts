import { type Context, Errors } from "waybill";
import type { User } from "#proto/waybill/identity/v1/identity.ts";
import { IdentityErrors } from "../errors.ts";
import { commonFields, type Resource } from "../resources.ts";
import type { UserRow } from "../sql/readUserByName.ts";

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
    ...commonFields(row),
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
  // Tokens issued earlier must not allow more than the user may do now.
  revokes: (paths, row) => (paths.includes("disabled") && row.disabled) || paths.includes("scopes"),
};

/**
 * Resolves `users/me`, and lets a caller act on itself, or as an administrator on any user.
 *
 * @throws StatusError NOT_A_USER, ACCESS_DENIED
 */
export function selfOrAdmin(name: string, { token, method }: Context): string {
  if (name === "users/me") {
    if (!token.subject.startsWith("users/")) throw IdentityErrors.NOT_A_USER();
    return token.subject;
  }
  if (name === token.subject || token.scopes.includes("identity.admin")) return name;
  throw Errors.ACCESS_DENIED({ metadata: { method, scope: "identity.admin" } });
}
