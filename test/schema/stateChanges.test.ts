import { expect, test } from "vitest";
import { readContract } from "#shared/contract/contract.ts";
import { faultsOfStates } from "../stateChanges.ts";
import { compile } from "./protos.ts";

const BEFORE = `
message State {
  string name = 1;
  Part part = 2;
  oneof choice { string a = 3; int32 b = 4; }
  repeated Part parts = 5;
}
message Part { int32 size = 1; }`;

/** Messages about a change of the state. */
async function faults(change: (state: string) => string, revision = 1): Promise<string[]> {
  const [before, after] = await Promise.all([compile(BEFORE), compile(change(BEFORE), revision)]);
  return faultsOfStates(readContract(before.image), readContract(after.image));
}

test.each<[string, (state: string) => string]>([
  [
    "a new field",
    (state) => state.replace("string name = 1;", "string name = 1; string more = 9;"),
  ],
  [
    "a new nested field",
    (state) => state.replace("int32 size = 1;", "int32 size = 1; int32 w = 2;"),
  ],
  [
    "a new oneof",
    (state) => state.replace("string name = 1;", "string name = 1; oneof n { int32 c = 9; }"),
  ],
  ["a new name", (state) => state.replace("string name", "string title")],
])("%s may come with any release", async (_, change) => {
  expect(await faults(change)).toEqual([]);
});

test.each<[string, (state: string) => string, string]>([
  ["a removed field", (state) => state.replace("string name = 1;", ""), "State.name (1) is gone"],
  ["another type", (state) => state.replace("string name", "int32 name"), "State.name was"],
  ["a list", (state) => state.replace("Part part = 2", "repeated Part part = 2"), "is list of"],
  [
    "a removed nested field",
    (state) => state.replace("int32 size = 1;", ""),
    "Part.size (1) is gone",
  ],
  [
    "a new branch of a oneof",
    (state) => state.replace("int32 b = 4;", "int32 b = 4; string c = 9;"),
    "State.choice has a new branch, c",
  ],
  [
    "a field moved into a oneof",
    (state) =>
      state
        .replace("string name = 1;", "")
        .replace("string a = 3;", "string a = 3; string name = 1;"),
    "went into a oneof",
  ],
])("%s needs another revision", async (_, change, words) => {
  const [fault, ...more] = await faults(change);
  expect(more).toEqual([]);
  expect(fault).toContain(words);
  expect(fault).toContain("state.v1.StateService");
  expect(await faults(change, 2)).toEqual([]);
});

test("a revision grows by one", async () => {
  const same = (state: string) => state;
  expect(await faults(same, 3)).toMatchObject([expect.stringContaining("by more than one")]);
  const [two, one] = await Promise.all([compile(BEFORE, 2), compile(BEFORE, 1)]);
  expect(faultsOfStates(readContract(two.image), readContract(one.image))).toMatchObject([
    expect.stringContaining("was 2 already"),
  ]);
});
