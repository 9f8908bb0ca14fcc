import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Credentials, loadCredentials } from "#shared/auth/credentials/credentials.ts";
import { makeSecrets } from "../../../deploy/local/secrets/credentials.ts";
import { ROLES } from "../../../services/replica/config/config.ts";

/** Credentials of all services, created by a cluster's first start. */
export async function makeCredentials(): Promise<Credentials> {
  const folder = mkdtempSync(join(tmpdir(), "waybill-credentials-"));
  try {
    const { credentialsDir } = await makeSecrets(folder);
    return preload(loadCredentials(credentialsDir));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Private keys are read on first use: use them before the files are removed. */
function preload(credentials: Credentials): Credentials {
  for (const service of ROLES) void credentials.own(service);
  return credentials;
}
