import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  type FileDescriptorSet,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { afterEach, beforeEach, expect, test } from "vitest";

const PROJECT = join(import.meta.dirname, "..", "..");
const RELEASED = join("proto", "released", "image.binpb");
const TODAYS = join("proto", "gen", "image.binpb");

let copy: string;

/** A project for the command, whose protos equal those of the last release. */
beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), "waybill-check-"));
  for (const folder of ["test", "proto/released", "proto/gen"]) {
    mkdirSync(join(copy, folder), { recursive: true });
  }
  for (const linked of ["node_modules", "shared"]) {
    symlinkSync(join(PROJECT, linked), join(copy, linked));
  }
  for (const file of ["package.json", "test/check.ts", "test/stateChanges.ts", RELEASED]) {
    copyFileSync(join(PROJECT, file), join(copy, file));
  }
  copyFileSync(join(PROJECT, RELEASED), join(copy, TODAYS));
});
afterEach(() => rmSync(copy, { recursive: true }));

/** Changes a message of the current protos. */
function change(file: string, message: string, edit: (message: DescriptorProto) => void): void {
  const set: FileDescriptorSet = fromBinary(
    FileDescriptorSetSchema,
    readFileSync(join(copy, TODAYS)),
  );
  const found = set.file
    .find(({ name }) => name === file)
    ?.messageType.find(({ name }) => name === message);
  edit(found!);
  writeFileSync(join(copy, TODAYS), toBinary(FileDescriptorSetSchema, set));
}

/** Output and exit code of the command. */
function check(...steps: string[]): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["test/check.ts", ...steps], {
    cwd: copy,
    encoding: "utf8",
  });
  return { status, said: `${stdout}${stderr}` };
}

test("unchanged states pass", () => {
  expect(check("states of sessions", "proto breaking")).toEqual({
    status: 0,
    said: "ok     proto breaking\nok     states of sessions\n",
  });
});

test("a removed field fails by name", () => {
  change("waybill/checkout/v1/checkout_state.proto", "CheckoutState", (state) => {
    state.field = state.field.filter(({ name }) => name !== "quote");
  });
  const { status, said } = check("states of sessions");
  expect(status).toBe(1);
  expect(said).toContain("FAILED states of sessions");
  expect(said).toContain("waybill.checkout.v1.CheckoutService: ");
  expect(said).toContain("waybill.checkout.v1.CheckoutState.quote (4) is gone");
});

test("a new branch of a oneof fails", () => {
  change("waybill/session/v1/session.proto", "SessionState", (state) => {
    const branch = create(FieldDescriptorProtoSchema, {
      name: "text",
      jsonName: "text",
      number: 3,
      label: FieldDescriptorProto_Label.OPTIONAL,
      type: FieldDescriptorProto_Type.STRING,
      oneofIndex: 0,
    });
    state.field.push(branch);
  });
  const { status, said } = check("proto breaking", "states of sessions");
  expect(status).toBe(1);
  expect(said).toContain("ok     proto breaking");
  expect(said).toContain("FAILED states of sessions");
  expect(said).toContain("waybill.session.v1.SessionState.value has a new branch, text");
});

test("an unknown step name is refused", () => {
  const { status, said } = check("states");
  expect(status).toBe(2);
  expect(said).toContain("no step is called states");
});
