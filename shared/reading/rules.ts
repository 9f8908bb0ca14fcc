import type { DescMessage, Message, Registry } from "@bufbuild/protobuf";
import { createValidator, type Validator } from "@bufbuild/protovalidate";
import { Errors, MAX_VIOLATIONS } from "../errors/errors.ts";
import type { View } from "./decodedView.ts";

/** Checks a decoded message against the field constraints in its proto. */
export type CheckRules = (message: unknown) => void;

/**
 * Makes the check of a message type, which throws INVALID_FIELD with a violation for each field at
 * fault, MAX_VIOLATIONS at most.
 *
 * @param view shows the decoded message to protovalidate
 */
export function rulesOf(registry: Registry, message: DescMessage, view: View): CheckRules {
  const validator = validatorOf(registry);
  return (decoded) => {
    const result = validator.validate(message, view(decoded) as Message);
    if (result.kind === "valid") return;
    if (result.kind === "error") throw result.error;
    throw Errors.INVALID_FIELD({
      violations: result.violations.slice(0, MAX_VIOLATIONS).map((violation) => ({
        field: fieldPath(violation.field),
        description: violation.message,
      })),
    });
  };
}

/** One for all messages of a registry: each has an environment for CEL, of some megabytes. */
const validators = new WeakMap<Registry, Validator>();

function validatorOf(registry: Registry): Validator {
  const validator = validators.get(registry) ?? createValidator({ registry });
  validators.set(registry, validator);
  return validator;
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

/** The extension numbers of `buf.validate` on fields, messages and oneofs. */
const RULES = 1159;

/** Tells whether a message, or one within it, has field constraints. */
export function hasRules(message: DescMessage, seen = new Set<DescMessage>()): boolean {
  if (seen.has(message)) return false;
  seen.add(message);
  const has = (options: { $unknown?: { no: number }[] } | undefined) =>
    options?.$unknown?.some(({ no }) => no === RULES) ?? false;
  return (
    has(message.proto.options) ||
    message.oneofs.some(({ proto }) => has(proto.options)) ||
    message.fields.some(
      ({ proto, message: inner }) =>
        has(proto.options) || (inner !== undefined && hasRules(inner, seen)),
    )
  );
}
