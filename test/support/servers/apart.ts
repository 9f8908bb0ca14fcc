import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLog } from "#shared/runtime/log.ts";
import { databaseUrls, makeSecrets } from "../../../deploy/local/secrets/credentials.ts";
import { type Config, readConfig } from "../../../services/replica/config/config.ts";
import { type Replica, startReplica } from "../../../services/replica/replica.ts";
import { startTestPostgres } from "../postgres.ts";
import { type Cuttable, startCuttable } from "../wire/cuttable.ts";

/** Issuer of the accepted tokens. */
export const ISSUER = "http://127.0.0.1:1";

/** A replica of the session service with its own connection to the key service. */
export interface Apart {
  readonly address: string;
  readonly way: Cuttable;
}

/** A key service, a token issuer and replicas in the test's process, on a real Postgres. */
export interface ReplicasApart {
  readonly databaseUrl: string;
  readonly credentialsDir: string;
  readonly adminSecretFile: string;
  readonly keysAddress: string;
  readonly issuerAddress: string;
  readonly replicas: readonly Apart[];
  remove(): Promise<void>;
}

/** @param settings environment variables of all services */
export async function startReplicasApart(
  count: number,
  settings: Record<string, string>,
): Promise<ReplicasApart> {
  const folder = mkdtempSync(join(tmpdir(), "waybill-apart-"));
  const postgres = await startTestPostgres();
  const secrets = await makeSecrets(folder);
  await postgres.migrate(secrets.passwords, secrets.adminSecretFile);
  const env: Record<string, string> = {
    WAYBILL_CREDENTIALS_DIR: secrets.credentialsDir,
    WAYBILL_KEY_ENCRYPTION_KEY_FILE: secrets.keyEncryptionKeyFile,
    WAYBILL_ORIGINS: ISSUER,
    ...settings,
  };
  for (const [role, url] of Object.entries(databaseUrls(postgres.url, secrets.passwords))) {
    env[`WAYBILL_DATABASE_URL_${role.toUpperCase()}`] = url;
  }
  const started: Replica[] = [];
  const start = async (roles: string, more: Record<string, string> = {}) => {
    const config = readConfig(["--roles", roles], { ...env, ...more }) as Config;
    const replica = await startReplica(config, createLog("fatal"));
    started.push(replica);
    return replica;
  };
  const keys = await start("keys");
  const issuing = await start("identity,token", { WAYBILL_KEYS_ADDRESS: keys.address });
  const replicas: Apart[] = [];
  for (let n = 0; n < count; n += 1) {
    const way = await startCuttable(keys.address);
    const addresses = { WAYBILL_KEYS_ADDRESS: way.target, WAYBILL_TOKEN_ADDRESS: issuing.address };
    const { address } = await start("session", addresses);
    replicas.push({ address, way });
  }
  await Promise.all(started.map(({ ready }) => ready));
  return {
    databaseUrl: postgres.url,
    credentialsDir: secrets.credentialsDir,
    adminSecretFile: secrets.adminSecretFile,
    keysAddress: keys.address,
    issuerAddress: issuing.address,
    replicas,
    async remove() {
      for (const replica of started.toReversed()) await replica.stop();
      await Promise.all(replicas.map(({ way }) => way.close()));
      await postgres.remove();
      rmSync(folder, { recursive: true });
    },
  };
}
