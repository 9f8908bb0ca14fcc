import { create, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StatusError } from "#shared/errors.ts";
import { type Decode, requestReader } from "#shared/validation/requestReader.ts";
import {
  FormsGenerator,
  type GeneratedForms,
  OWN_OPTIONS,
} from "../support/wire/generatedForms.ts";

let forms: FormsGenerator;
let generated: GeneratedForms;
beforeAll(async () => {
  forms = new FormsGenerator();
  generated = await forms.generate(OWN_OPTIONS);
});
afterAll(() => forms?.remove());

const typeOf = (name: string): DescMessage =>
  forms.contract.registry.getMessage(`forms.v1.${name}`)!;

function readerOf(name: string, onDecode = () => {}): Decode {
  return requestReader(forms.contract.registry, typeOf(name), (bytes) => {
    onDecode();
    return generated[name]!.decode(bytes);
  });
}

/** Validates a message. @returns its violations, each as field and description */
function violationsOf(read: Decode, name: string, init: Record<string, unknown>): string[] {
  try {
    read(Buffer.from(toBinary(typeOf(name), create(typeOf(name), init))));
    return [];
  } catch (error) {
    expect((error as StatusError).reason).toBe("INVALID_FIELD");
    return (error as StatusError).details.violations!.map(
      ({ field, description }) => `${field}: ${description}`,
    );
  }
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index);
const texts = (count: number) => numbers(count).map(String);

describe("R2 bounds the elements that constraints evaluate", () => {
  test("in every list below a CEL rule, before decoding", () => {
    let decoded = 0;
    const read = readerOf("Compared", () => {
      decoded += 1;
    });
    decoded = 0;
    expect(violationsOf(read, "Compared", { numbers: numbers(1000) })).toEqual([]);
    expect(violationsOf(read, "Compared", { numbers: [1, 1] })).toEqual([
      ": numbers must be unique",
    ]);
    expect(decoded).toBe(2);
    const byName = Object.fromEntries(texts(1001).map((key) => [key, 1]));
    for (const [field, init] of Object.entries({
      numbers: { numbers: numbers(1001) },
      by_name: { byName },
      "first.cells": { first: { cells: texts(1001) } },
    })) {
      expect(violationsOf(read, "Compared", init)).toEqual([
        `${field}: has more than 1000 elements`,
      ]);
    }
    expect(decoded).toBe(2);
  });

  test("across nested lists of one message", () => {
    const read = readerOf("Compared");
    const rows = (count: number) => numbers(count).map(() => ({ cells: texts(20) }));
    expect(violationsOf(read, "Compared", { rows: rows(476) })).toEqual([]);
    expect(violationsOf(read, "Compared", { rows: rows(477) })).toEqual([
      "rows.cells: has more than 10000 elements, with all before it",
    ]);
  });

  test("and stops at a large message's first violation", () => {
    const read = readerOf("Forms");
    const least = { textValue: "abc", node: { name: "n" }, choice: { case: "aText", value: "x" } };
    const bad = (count: number) => ({
      ...least,
      node: { kids: numbers(count).map(() => ({ name: "abcdef" })) },
    });
    expect(violationsOf(read, "Forms", bad(200))).toHaveLength(16);
    expect(violationsOf(read, "Forms", bad(300))).toEqual([
      "node.kids[0].name: must be at most 5 characters",
    ]);
  });
});

test("R8 a rule that fails to evaluate refuses the message", () => {
  const read = readerOf("Divided");
  expect(violationsOf(read, "Divided", { by: 1 })).toEqual([]);
  expect(violationsOf(read, "Divided", { by: 11 })).toEqual([": must be less than ten"]);
  expect(violationsOf(read, "Divided", { by: 0 })).toEqual([
    ": does not let its constraints be evaluated",
  ]);
});

test("a rule that cannot compile is refused at startup", () => {
  expect(() => readerOf("Misspelt")).toThrow(/Misspelt: a constraint cannot be compiled/);
});

test("recursive types with constraints are refused at startup", () => {
  const person = typeOf("Person");
  const nested = create(person, { household: { person: { name: "abcdef" } } });
  const bytes = toBinary(person, nested);
  // protovalidate misses the violation. Once it reports it, the refusal can be removed.
  const { kind } = createValidator({ registry: forms.contract.registry }).validate(
    person,
    fromBinary(person, bytes),
  );
  expect(kind).toBe("valid");
  expect(() => readerOf("Person")).toThrow(/Person and forms\.v1\.Household contain each other/);
});
