import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { expect, test } from "vitest";
import { CACHE, PROJECT } from "../../deploy/local/paths.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { startTestCluster } from "../fixtures/cluster.ts";

const README = readFileSync(join(PROJECT, "README.md"), "utf8");
const BIN = join(PROJECT, "node_modules", ".bin");
const env = { ...process.env, PATH: `${BIN}${delimiter}${process.env["PATH"]}` };

/** The one code block of the README in this language. */
function block(language: string): string {
  const blocks = [...README.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "gms"))];
  expect(blocks).toHaveLength(1);
  return blocks[0]![1]!;
}

test.skipIf(toolPath("grpcurl") === undefined)(
  "the checkout by hand works as it is pasted (needs grpcurl)",
  async () => {
    const cluster = await startTestCluster();
    const script = block("bash")
      .replaceAll("127.0.0.1:8080", cluster.target)
      .replaceAll("/tmp/waybill-reply", join(cluster.dataDir, "reply"));
    const { stdout, stderr } = spawnSync("bash", ["-c", script], {
      cwd: PROJECT,
      encoding: "utf8",
    });
    await cluster.remove();
    expect(stderr).toBe("");
    expect(stdout).toContain("waybill.checkout.v1.CheckoutService\n");
    expect(stdout).toContain("Astérix aux Jeux Olympiques");
    const orders = [...stdout.matchAll(/"name": "(orders\/.*)"/g)].map(([, name]) => name);
    // Placed twice and listed: the same one.
    expect(orders).toHaveLength(3);
    expect(new Set(orders).size).toBe(1);
  },
);

test("the ten lines for a service work as they stand", () => {
  mkdirSync(CACHE, { recursive: true });
  const folder = mkdtempSync(join(CACHE, "readme-"));
  try {
    mkdirSync(join(folder, "proto"));
    writeFileSync(join(folder, "proto", "counter.proto"), block("proto"));
    const options = join("waybill", "options");
    mkdirSync(join(folder, "proto", "waybill"));
    symlinkSync(join(PROJECT, "proto", options), join(folder, "proto", options));
    const plugin = { local: join(BIN, "protoc-gen-ts_proto"), out: "gen", strategy: "all" };
    const opt = ["outputServices=grpc-js", "unknownFields=true"];
    opt.push("importSuffix=.ts", "enumsAsLiterals=true", "esModuleInterop=true", "env=node");
    const template = { version: "v2", plugins: [{ ...plugin, opt }] };
    const buf = (...args: string[]) =>
      execFileSync(join(BIN, "buf"), args, { cwd: folder, env, stdio: "pipe" });
    buf("generate", "proto", "--template", JSON.stringify(template));
    buf("build", "proto", "--as-file-descriptor-set", "-o", "image.binpb");

    const sdk = join(folder, "node_modules", "waybill");
    mkdirSync(sdk, { recursive: true });
    writeFileSync(join(sdk, "package.json"), '{"type": "module", "exports": "./index.js"}');
    const entry = join(PROJECT, "shared", "index.ts");
    writeFileSync(join(sdk, "index.js"), `export * from ${JSON.stringify(entry)};\n`);
    writeFileSync(join(folder, "package.json"), '{"type": "module"}');
    writeFileSync(join(folder, "main.ts"), block("ts"));
    const run = spawnSync(process.execPath, ["main.ts"], { cwd: folder, encoding: "utf8" });
    expect(run.stderr).toBe("");
    expect(run.stdout).toContain("value: 42");
    expect(run.status).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
