/**
 * Makes everything in proto/gen: the TypeScript of each proto, and the descriptor set that the
 * contract, reflection and the front proxy are read from.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const here = import.meta.dirname;
const bin = join(here, "..", "node_modules", ".bin");
const env = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env["PATH"]}`,
};
const buf = (...args: string[]) =>
  execFileSync(join(bin, "buf"), args, { cwd: here, env, stdio: "inherit" });

/** `message.fields[entry1.key] = entry1.value;` and the like: indentation, map, key, value. */
const ENTRY_ASSIGNMENT =
  /^( *)([\w.]+)\[((?:entry\d+\.key|key|globalThis\.Number\(key\))(?: as any)?)\] = (.+);$/gm;

const SET_ENTRY = `
function setEntry(map: any, key: string | number, value: any): void {
  if (key !== "__proto__") {
    map[key] = value;
    return;
  }
  globalThis.Object.defineProperty(map, key, { value, writable: true, enumerable: true, configurable: true });
}
`;

buf("generate");
const MEASURED = "internal/waybill/bench";
buf("build", "--as-file-descriptor-set", "--exclude-path", MEASURED, "-o", "gen/image.binpb");
keepComments(join(here, "gen", "image.binpb"));
keepAllMapKeys(join(here, "gen"));
// What is only measured is nobody's API.
buf("build", "--as-file-descriptor-set", "--path", MEASURED, "-o", "gen/bench.binpb");

// Only options come from these; nothing imports their code.
for (const unused of [
  "buf",
  ...["annotations", "field_behavior", "http", "resource"].map((name) => `google/api/${name}.ts`),
  "google/protobuf/descriptor.ts",
]) {
  rmSync(join(here, "gen", unused), { recursive: true });
}

/**
 * ts-proto assigns the entries of maps, and assigning to the key `__proto__` sets the prototype in place
 * of an entry. Here every key of a map is data.
 */
function keepAllMapKeys(folder: string): void {
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".ts")) continue;
    const file = join(folder, name);
    const generated = readFileSync(file, "utf8");
    const changed = generated.replace(ENTRY_ASSIGNMENT, "$1setEntry($2, $3, $4);");
    if (changed !== generated) writeFileSync(file, `${changed}${SET_ENTRY}`);
  }
}

/** Leaves of the source only the comments, and those of our own protos: reflection shows them. */
function keepComments(image: string): void {
  const set = fromBinary(FileDescriptorSetSchema, readFileSync(image));
  for (const file of set.file) {
    const { sourceCodeInfo: info } = file;
    if (info === undefined) continue;
    info.location = file.name.startsWith("waybill/")
      ? info.location.filter((each) => each.leadingComments !== "" || each.trailingComments !== "")
      : [];
  }
  writeFileSync(image, toBinary(FileDescriptorSetSchema, set));
}
