import { join } from "node:path";
import { loadWrapping } from "#shared/auth/credentials/wrapping.ts";
import { createPool } from "#shared/pg/pool.ts";
import { newUuid } from "#shared/runtime/ids.ts";
import { deriveRefreshToken } from "../../../services/token/signIns/refreshTokens.ts";
import { SigningKeys } from "../../../services/token/signingKeys/signingKeys.ts";
import type { TestCluster } from "../cluster.ts";

/** A sign-in to create. */
export interface FamilyWish {
  /** Name of the client. Default: none. */
  readonly client?: string;
  /** Confirmation, such as `jkt:` and a thumbprint. Default: none. */
  readonly confirmation?: string;
}

export interface MadeFamily {
  readonly id: string;
  readonly refreshToken: string;
}

/** Inserts thousands of sign-ins into the table: through SignIn, each would cost an Argon2 hash. */
export async function makeFamilies(
  cluster: Pick<TestCluster, "databaseUrl" | "dataDir">,
  wishes: readonly FamilyWish[],
): Promise<MadeFamily[]> {
  const db = createPool(cluster.databaseUrl, { max: 1, name: "families" });
  const wrapping = loadWrapping(join(cluster.dataDir, "secrets", "key-encryption-key"));
  const forever = { rotateS: 1e9, publishS: 0, accessKeepS: 1e9, refreshKeepS: 1e9 };
  const keys = new SigningKeys(db, wrapping, { algorithm: "EdDSA", ...forever });
  await keys.reload();
  const key = keys.current("refresh");
  const families = wishes.map(({ client = "", confirmation = "" }) => ({
    id: newUuid(),
    client,
    confirmation,
  }));
  await db.query(
    `INSERT INTO token.family (id, subject, client, scopes, audiences, epoch, device, address,
                               confirmation, key_id, idle_expires_at, expires_at)
     SELECT id, 'users/' || id, client, '{}', '{checkout,token}', 1, '', '', confirmation, $4,
            now() + interval '1 day', now() + interval '30 days'
       FROM unnest($1::uuid[], $2::text[], $3::text[]) AS given (id, client, confirmation)`,
    [
      families.map(({ id }) => id),
      families.map(({ client }) => client),
      families.map(({ confirmation }) => confirmation),
      key.id,
    ],
  );
  await db.query("VACUUM ANALYZE token.family");
  await db.end();
  return families.map(({ id }) => ({
    id,
    refreshToken: deriveRefreshToken({ family: id, generation: 1, keyId: key.id }, key),
  }));
}
