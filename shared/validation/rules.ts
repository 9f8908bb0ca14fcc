import { create, type DescMessage, type Message, type Registry } from "@bufbuild/protobuf";
import { CompilationError, createValidator, type Validator } from "@bufbuild/protovalidate";
import { Errors, MAX_VIOLATIONS } from "../errors.ts";
import type { View } from "./decodedView.ts";
import { mutuallyRecursive } from "./ruleOptions.ts";

/**
 * Checks a decoded message against the field constraints in its proto.
 *
 * @param elements how many of lists and maps there are that rules look at
 */
export type CheckRules = (message: unknown, elements: number) => void;

/** Messages with more elements are checked up to the first violation: building each violation costs time. */
export const MAX_ELEMENTS_CHECKED_TO_THE_END = 256;

/**
 * Makes the check of a message type, which throws INVALID_FIELD with a violation for each field at
 * fault, MAX_VIOLATIONS at most; of a message with many elements, for the first one.
 *
 * @param view shows the decoded message to protovalidate
 * @throws Error naming a rule that cannot be compiled, or types whose rules would be lost
 */
export function rulesOf(registry: Registry, message: DescMessage, view: View): CheckRules {
  const pair = mutuallyRecursive(message);
  if (pair !== undefined) {
    throw new Error(
      `${pair[0].typeName} and ${pair[1].typeName} contain each other, and constraints of such types would not be enforced. Let a type contain itself, or take the constraints out`,
    );
  }
  const { whole, first } = validatorsOf(registry);
  const { error } = whole.validate(message, create(message));
  if (error instanceof CompilationError) {
    throw new Error(`${message.typeName}: a constraint cannot be compiled`, { cause: error });
  }
  return (decoded, elements) => {
    const validator = elements > MAX_ELEMENTS_CHECKED_TO_THE_END ? first : whole;
    const result = validator.validate(message, view(decoded) as Message);
    if (result.kind === "valid") return;
    if (result.kind === "error") {
      // A rule in CEL that divides by zero, or looks for an element that there is not.
      throw Errors.INVALID_FIELD({
        cause: result.error,
        violations: [{ field: "", description: "does not let its constraints be evaluated" }],
      });
    }
    throw Errors.INVALID_FIELD({
      violations: result.violations.slice(0, MAX_VIOLATIONS).map((violation) => ({
        field: fieldPath(violation.field),
        description: violation.message,
      })),
    });
  };
}

/** Finds all violations, or ends at the first one. */
interface Validators {
  readonly whole: Validator;
  readonly first: Validator;
}

/** The same for all messages of a registry: each has an environment for CEL, of some megabytes. */
const validators = new WeakMap<Registry, Validators>();

function validatorsOf(registry: Registry): Validators {
  const known = validators.get(registry);
  if (known !== undefined) return known;
  const made = {
    whole: createValidator({ registry }),
    first: createValidator({ registry, failFast: true }),
  };
  validators.set(registry, made);
  return made;
}

type ViolationPath = {
  kind: string;
  name?: string;
  index?: number;
  key?: unknown;
}[];

function fieldPath(path: readonly unknown[]): string {
  let text = "";
  for (const step of path as ViolationPath) {
    if (step.kind === "field" || step.kind === "oneof") text += text ? `.${step.name}` : step.name;
    else if (step.kind === "list_sub") text += `[${step.index}]`;
    else if (step.kind === "map_sub") text += `[${keyText(step.key)}]`;
  }
  return text;
}

/** JSON has no bigint, which keys of 64 bits are. */
function keyText(key: unknown): string {
  return typeof key === "string" ? JSON.stringify(key) : String(key);
}
