import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { CACHE, PROJECT } from "../../deploy/local/paths.ts";
import { type Child, Children } from "../../deploy/local/processes/children.ts";
import { freePort } from "../../deploy/local/processes/ports.ts";
import { listening, NODE_FLAGS, untilServing } from "../../deploy/local/processes/replicas.ts";
import { databaseUrls, makeSecrets, type Secrets } from "../../deploy/local/secrets/credentials.ts";
import { ROLES } from "../../services/replica/config/config.ts";
import { startTestPostgres } from "../support/postgres.ts";
import { type BuildContext, buildStage, type Image } from "./build.ts";
import { containerCommand, type Mount, runInImage } from "./container.ts";
import { debianArchive, debianRoot } from "./debianRoot.ts";
import { execForm, parseDockerfile, readDockerignore } from "./dockerfile.ts";

/**
 * Builds the image by its Dockerfile and starts it, without Docker. Two things differ from a build by
 * Docker. The first stage runs on this machine, with its npm: only its node_modules go into the image. The
 * second stage starts from Debian's minimal base instead of `debian:bookworm-slim`.
 */
const FOLDER = join(PROJECT, "deploy", "docker");
const DOCKERFILE = join(FOLDER, "Dockerfile");
const START_LIMIT_MS = 60_000;

const stages = parseDockerfile(readFileSync(DOCKERFILE, "utf8"));
const isRoot = process.platform === "linux" && process.getuid?.() === 0;
const mayMount = isRoot && spawnSync("unshare", ["--mount", "true"]).status === 0;
const archive = mayMount ? debianArchive() : undefined;

mkdirSync(CACHE, { recursive: true });
const folder = mkdtempSync(join(CACHE, "image-"));
const children = new Children();
afterAll(async () => {
  await children.close();
  rmSync(folder, { recursive: true });
});

test("the image starts Node as a local cluster does", () => {
  const { text } = stages.at(-1)!.instructions.find(({ name }) => name === "ENTRYPOINT")!;
  const [, ...flags] = execForm(text)!;
  expect(flags).toEqual(NODE_FLAGS);
});

test("the build context holds the programs and no tests", () => {
  const isSent = readDockerignore(readFileSync(`${DOCKERFILE}.dockerignore`, "utf8"));
  const sent = [
    "package.json",
    "services/replica/main.ts",
    "proto/gen/image.binpb",
    "shared/index.ts",
  ];
  for (const file of sent) expect(isSent(file), file).toBe(true);
  const kept = [
    "secrets/admin-secret",
    ".data/x",
    "services/replica/config/config.test.ts",
    ".git/config",
  ];
  for (const file of kept) expect(isSent(file), file).toBe(false);
});

function buildImage(base: string): Image {
  const isSent = readDockerignore(readFileSync(`${DOCKERFILE}.dockerignore`, "utf8"));
  const context: BuildContext = { folder: PROJECT, isSent, stages: new Map(), run: runInImage };
  const [install, final, ...more] = stages;
  expect([install?.base, final?.base, more]).toEqual([
    "node:26-bookworm-slim",
    "debian:bookworm-slim",
    [],
  ]);
  const installRoot = join(folder, "install");
  mkdirSync(installRoot);
  buildStage(install!, installRoot, {
    ...context,
    run: ({ workdir }, [program, ...args]) => {
      execFileSync(program!, args, {
        cwd: join(installRoot, workdir),
        env: { ...process.env, npm_config_prefer_offline: "true" },
        stdio: ["ignore", "ignore", "inherit"],
      });
    },
  });
  const root = join(folder, "root");
  execFileSync("cp", ["-a", "--reflink=auto", base, root]);
  return buildStage(final!, root, context);
}

/** Makes the secrets of a cluster, readable as Kubernetes mounts them. */
async function makeMounts(): Promise<{ secrets: Secrets; mounts: Mount[] }> {
  const secrets = await makeSecrets(join(folder, "secrets"));
  const mounted = join(folder, "mounted");
  const credentials = join(mounted, "credentials");
  mkdirSync(credentials, { recursive: true });
  for (const name of readdirSync(secrets.credentialsDir)) {
    copyFileSync(join(secrets.credentialsDir, name), join(credentials, name));
  }
  copyFileSync(secrets.keyEncryptionKeyFile, join(mounted, "key-encryption-key"));
  copyFileSync(secrets.frontProxySecretFile, join(mounted, "front-proxy-secret"));
  copyFileSync(secrets.adminSecretFile, join(mounted, "admin-secret"));
  execFileSync("chmod", ["-R", "a+rX", mounted]);
  return { secrets, mounts: [{ from: mounted, to: "/etc/waybill" }] };
}

test.skipIf(archive === undefined)(
  "the image starts every role as uid 65532 (needs root, unshare and an apt with bookworm)",
  { timeout: 600_000 },
  async ({ skip }) => {
    const base = debianRoot(archive!);
    if (base === undefined) return skip("debootstrap could not be fetched");
    // Otherwise a Dockerfile that does not install it would pass here, and fail with Docker.
    expect(globSync("{,usr/}lib/**/libatomic.so*", { cwd: base })).toEqual([]);

    const image = buildImage(base);
    expect(image.user).toBe("65532:65532");
    const { secrets, mounts } = await makeMounts();
    const command = (words: readonly string[]) =>
      containerCommand(image, words, { isReadOnly: true, mounts });

    // The container runs as the chart runs it: not as root, with nothing writable.
    const look =
      'id -u; id -g; grep CapEff /proc/self/status; touch x /tmp/x .cache/x || echo "read-only"';
    const [shell, ...shellArgs] = command(["/bin/sh", "-c", look]);
    const seen = spawnSync(shell!, shellArgs, { env: image.env, encoding: "utf8" });
    expect(seen.stdout).toMatch(/^65532\n65532\nCapEff:\s+0{16}\nread-only\n$/);

    const postgres = await startTestPostgres();
    const started: Child[] = [];
    try {
      const passwords = ROLES.map((role) => [
        `WAYBILL_DATABASE_PASSWORD_${role.toUpperCase()}`,
        secrets.passwords[role],
      ]);
      const [program, ...args] = command([...image.entrypoint, "services/replica/migrate.ts"]);
      const migration = await children.start(program!, args, {
        env: {
          ...image.env,
          DATABASE_URL: postgres.url,
          ...Object.fromEntries(passwords),
          WAYBILL_ADMIN_SECRET_FILE: "/etc/waybill/admin-secret",
        },
        stdio: ["ignore", "ignore", "inherit"],
      });
      expect(await migration.exited).toEqual({ code: 0, signal: null });

      const ports = new Map<string, number>();
      for (const role of ROLES) ports.set(role, await freePort());
      const addresses = ["keys", "identity", "token", "catalog", "session"].map((role) => [
        `WAYBILL_${role.toUpperCase()}_ADDRESS`,
        `127.0.0.1:${ports.get(role)}`,
      ]);
      const urls = Object.entries(databaseUrls(postgres.url, secrets.passwords)).map(
        ([role, url]) => [`WAYBILL_DATABASE_URL_${role.toUpperCase()}`, url],
      );
      const env = {
        ...image.env,
        ...Object.fromEntries(urls),
        WAYBILL_CREDENTIALS_DIR: "/etc/waybill/credentials",
        WAYBILL_KEY_ENCRYPTION_KEY_FILE: "/etc/waybill/key-encryption-key",
        WAYBILL_FRONT_PROXY_SECRET_FILE: "/etc/waybill/front-proxy-secret",
        WAYBILL_ORIGINS: "https://waybill.example.com",
      };
      const start = async (name: string, words: readonly string[], more: object) => {
        const [starter, ...rest] = command([...image.entrypoint, ...words]);
        const logFile = join(folder, `${name}.log`);
        const serving = children.startServing({
          name,
          command: starter!,
          args: rest,
          options: { env: { ...env, ...more } },
          logFile,
          readsStdout: true,
          startLimitMs: START_LIMIT_MS,
          ready: async (child, over) => untilServing(await listening(child), undefined, over),
        });
        const { child } = await serving.catch((error: Error) => {
          throw new Error(`${error.message}\n${readFileSync(logFile, "utf8")}`);
        });
        started.push(child);
      };
      await Promise.all(
        ROLES.map((role) => {
          const words = ["services/replica/main.ts", `--roles=${role}`, "--listen"];
          return start(
            role,
            [...words, `127.0.0.1:${ports.get(role)}`],
            Object.fromEntries(addresses),
          );
        }),
      );
      // The default command, but not on every interface of this machine.
      const cmd = image.cmd.map((word) => word.replace(/^0\.0\.0\.0:\d+$/, "127.0.0.1:0"));
      expect(cmd).not.toEqual(image.cmd);
      await start("all roles", cmd, {});

      for (const child of started) {
        child.process.kill("SIGTERM");
        expect(await child.exited).toEqual({ code: 0, signal: null });
      }
    } finally {
      for (const child of started) await child.end(10_000);
      await postgres.remove();
    }
  },
);
