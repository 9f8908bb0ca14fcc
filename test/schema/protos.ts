import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { StateCodec } from "#shared/waybill/session.ts";

const PROJECT = join(import.meta.dirname, "..", "..");
const BIN = join(PROJECT, "node_modules", ".bin");

/** The state that a version of a program knows. */
export interface Compiled<State> {
  /** Descriptor set of a service with sessions of that state. */
  readonly image: Buffer;
  readonly codec: StateCodec<State>;
}

/**
 * Compiles a service `state.v1.StateService` with sessions of audience `state`, with buf and ts-proto as a
 * user's project would.
 *
 * @param state proto text after the imports: `message State {…}` and its types
 */
export async function compile<State>(state: string, revision = 1): Promise<Compiled<State>> {
  // Inside the project, because generated code imports a package.
  mkdirSync(join(PROJECT, ".cache"), { recursive: true });
  const folder = mkdtempSync(join(PROJECT, ".cache", "schema-"));
  try {
    writeFileSync(join(folder, "state.proto"), SERVICE(revision) + state);
    const options = join(PROJECT, "proto", "waybill", "options", "v1", "options.proto");
    mkdirSync(join(folder, "waybill", "options", "v1"), { recursive: true });
    writeFileSync(join(folder, "waybill/options/v1/options.proto"), readFileSync(options));
    const template = {
      version: "v2",
      plugins: [
        {
          local: join(BIN, "protoc-gen-ts_proto"),
          out: "gen",
          strategy: "all",
          opt: [
            "env=node",
            "importSuffix=.ts",
            "forceLong=bigint",
            "oneof=unions-value",
            "unknownFields=true",
          ],
        },
      ],
    };
    const env = { ...process.env, PATH: `${BIN}${delimiter}${process.env["PATH"]}` };
    const buf = (...args: string[]) =>
      execFileSync(join(BIN, "buf"), args, {
        cwd: folder,
        env,
        stdio: ["ignore", "ignore", "inherit"],
      });
    buf("generate", "--template", JSON.stringify(template), "--path", "state.proto");
    buf("build", "--as-file-descriptor-set", "-o", "image.binpb");
    const generated = (await import(join(folder, "gen", "state.ts"))) as {
      State: StateCodec<State>;
    };
    return { image: readFileSync(join(folder, "image.binpb")), codec: generated.State };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const SERVICE = (revision: number) => `
syntax = "proto3";
package state.v1;
import "waybill/options/v1/options.proto";
service StateService {
  option (waybill.options.v1.session) = {audience: "state", state: "state.v1.State", revision: ${revision}};
  rpc Begin(Request) returns (Request) {
    option (waybill.options.v1.method) = {step: STEP_BEGIN, access: ACCESS_PUBLIC};
  }
  rpc Advance(Request) returns (Request) {
    option (waybill.options.v1.method) = {step: STEP_ADVANCE, access: ACCESS_PUBLIC};
  }
}
message Request {}
`;
