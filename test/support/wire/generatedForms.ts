import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { parse } from "yaml";
import { type Contract, loadContract } from "#shared/contract/contract.ts";
import { CACHE, PROJECT } from "../../../deploy/local/paths.ts";

const PROTO = join(PROJECT, "proto");
const BIN = join(PROJECT, "node_modules", ".bin");

/** This project's options for ts-proto. */
export const OWN_OPTIONS = (
  parse(readFileSync(join(PROTO, "buf.gen.yaml"), "utf8")) as { plugins: { opt: string[] }[] }
).plugins[0]!.opt;

/** Generated codecs of the messages in forms.proto, by name. */
export type GeneratedForms = Record<string, { decode(bytes: Uint8Array): unknown }>;

/** Generates code from forms.proto in its own folder. */
export class FormsGenerator {
  /** Below the project, so that the code resolves its packages. */
  readonly #folder: string;
  readonly contract: Contract;

  constructor() {
    mkdirSync(CACHE, { recursive: true });
    this.#folder = mkdtempSync(join(CACHE, "forms-"));
    const protos = join(this.#folder, "proto");
    cpSync(join(PROTO, "vendor", "buf"), join(protos, "buf"), { recursive: true });
    const options = join("waybill", "options", "v1", "options.proto");
    cpSync(join(PROTO, options), join(protos, options));
    mkdirSync(join(protos, "forms", "v1"), { recursive: true });
    cpSync(join(import.meta.dirname, "forms.proto"), join(protos, "forms", "v1", "forms.proto"));
    this.#write("buf.yaml", { version: "v2", modules: [{ path: "proto" }] });
    this.#buf("build", "--as-file-descriptor-set", "-o", "image.binpb");
    this.contract = loadContract(join(this.#folder, "image.binpb"));
  }

  /** @param options of ts-proto */
  async generate(options: readonly string[]): Promise<GeneratedForms> {
    const out = mkdtempSync(join(this.#folder, "gen-"));
    const local = join(BIN, "protoc-gen-ts_proto");
    const plugins = [{ local, out, strategy: "all", opt: options }];
    this.#write("buf.gen.yaml", { version: "v2", plugins });
    this.#buf("generate", "--include-imports");
    return (await import(join(out, "forms", "v1", "forms.ts"))) as GeneratedForms;
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true });
  }

  #write(name: string, content: object): void {
    // JSON is YAML.
    writeFileSync(join(this.#folder, name), JSON.stringify(content));
  }

  #buf(...args: string[]): void {
    const env = { ...process.env, PATH: `${BIN}${delimiter}${process.env["PATH"]}` };
    execFileSync(join(BIN, "buf"), args, { cwd: this.#folder, env, stdio: "pipe" });
  }
}
