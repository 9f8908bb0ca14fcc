/**
 * Makes everything in proto/gen: the TypeScript of each proto, and the descriptor set that the
 * contract, reflection and the front door are read from.
 */
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { delimiter, join } from "node:path";

const here = import.meta.dirname;
const bin = join(here, "..", "node_modules", ".bin");
const env = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env["PATH"]}`,
};
const buf = (...args: string[]) =>
  execFileSync(join(bin, "buf"), args, { cwd: here, env, stdio: "inherit" });

buf("generate");
buf("build", "--as-file-descriptor-set", "--exclude-source-info", "-o", "gen/image.binpb");

// Only options come from these; nothing imports their code.
for (const unused of ["buf", "google/api", "google/protobuf/descriptor.ts"]) {
  rmSync(join(here, "gen", unused), { recursive: true });
}
