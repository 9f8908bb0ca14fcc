import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Passwords } from "./credentials.ts";
import { Failure } from "./failure.ts";
import { COMPILE_CACHE, PROJECT } from "./paths.ts";

/** Runs the migrations as the program of their own that they are. */
export async function runMigrations(
  databaseUrl: string,
  passwords: Passwords,
  tell: (line: string) => void,
  adminSecretFile?: string,
): Promise<void> {
  const child = spawn(process.execPath, [join(PROJECT, "services", "migrate.ts")], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      DATABASE_URL: databaseUrl,
      WAYBILL_DATABASE_PASSWORD_KEYS: passwords.keys,
      WAYBILL_DATABASE_PASSWORD_IDENTITY: passwords.identity,
      WAYBILL_DATABASE_PASSWORD_TOKEN: passwords.token,
      WAYBILL_DATABASE_PASSWORD_SESSION: passwords.session,
      WAYBILL_DATABASE_PASSWORD_CATALOG: passwords.catalog,
      WAYBILL_DATABASE_PASSWORD_CHECKOUT: passwords.checkout,
      ...(adminSecretFile && { WAYBILL_ADMIN_SECRET_FILE: adminSecretFile }),
    },
  });
  createInterface({ input: child.stdout }).on("line", (line) => tell(`  ${line}`));
  const errors: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => errors.push(line));
  const [code] = await once(child, "close");
  const said = errors.join("\n").replace(/^waybill migrate: /, "");
  if (code !== 0) throw new Failure(said || `the migration ended with ${code}`);
}
