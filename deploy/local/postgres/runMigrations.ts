import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { Failure } from "../../../services/replica/failure.ts";
import { programEnvironment } from "../environment.ts";
import { COMPILE_CACHE, PROJECT } from "../paths.ts";
import type { Children } from "../processes/children.ts";
import type { Passwords } from "../secrets/credentials.ts";

/**
 * Runs the migration program. It ends with the runner.
 *
 * @throws Failure with the program's last message
 */
export async function runMigrations(
  children: Children,
  databaseUrl: string,
  passwords: Passwords,
  tell: (line: string) => void,
  adminSecretFile?: string,
): Promise<void> {
  const program = join(PROJECT, "services", "replica", "migrate.ts");
  const child = await children.start(process.execPath, [program], {
    stdio: ["ignore", "pipe", "pipe"],
    env: programEnvironment({
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      DATABASE_URL: databaseUrl,
      WAYBILL_DATABASE_PASSWORD_KEYS: passwords.keys,
      WAYBILL_DATABASE_PASSWORD_IDENTITY: passwords.identity,
      WAYBILL_DATABASE_PASSWORD_TOKEN: passwords.token,
      WAYBILL_DATABASE_PASSWORD_SESSION: passwords.session,
      WAYBILL_DATABASE_PASSWORD_CATALOG: passwords.catalog,
      WAYBILL_DATABASE_PASSWORD_CHECKOUT: passwords.checkout,
      ...(adminSecretFile && { WAYBILL_ADMIN_SECRET_FILE: adminSecretFile }),
    }),
  });
  const { stdout, stderr } = child.process;
  const lines = createInterface({ input: stdout! });
  lines.on("line", (line) => tell(`  ${line}`));
  const printed = new Promise((resolve) => lines.once("close", resolve));
  const [said, { code }] = await Promise.all([text(stderr!), child.exited, printed]);
  const complaint = said.trim().replace(/^waybill migrate: /, "");
  if (code !== 0) throw new Failure(complaint || `the migration ended with ${code}`);
}
