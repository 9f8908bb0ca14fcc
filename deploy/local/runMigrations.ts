import type { Children } from "./children.ts";
import type { Passwords } from "./credentials.ts";
import { Failure } from "./failure.ts";
import { runProgram } from "./programs.ts";

/** Runs the migrations as the program of their own that they are. */
export async function runMigrations(
  children: Children,
  databaseUrl: string,
  passwords: Passwords,
  tell: (line: string) => void,
  adminSecretFile?: string,
): Promise<void> {
  const { code, complaint } = await runProgram(children, "migrate", {
    env: {
      DATABASE_URL: databaseUrl,
      WAYBILL_DATABASE_PASSWORD_KEYS: passwords.keys,
      WAYBILL_DATABASE_PASSWORD_IDENTITY: passwords.identity,
      WAYBILL_DATABASE_PASSWORD_TOKEN: passwords.token,
      WAYBILL_DATABASE_PASSWORD_SESSION: passwords.session,
      WAYBILL_DATABASE_PASSWORD_CATALOG: passwords.catalog,
      WAYBILL_DATABASE_PASSWORD_CHECKOUT: passwords.checkout,
      ...(adminSecretFile && { WAYBILL_ADMIN_SECRET_FILE: adminSecretFile }),
    },
    hear: (line) => tell(`  ${line}`),
  });
  if (code !== 0) throw new Failure(complaint || `the migration ended with ${code}`);
}
