import { type DescMessage, fromBinary, type Registry } from "@bufbuild/protobuf";
import { createValidator, type Validator } from "@bufbuild/protovalidate";
import { Errors } from "../errors/errors.ts";

/** Checks an encoded request against the field constraints in its proto. */
export type Validate = (request: Uint8Array) => void;

/**
 * Makes the check of a message type.
 *
 * The constraints are protovalidate's, and so is the code that checks them. It has no binding to
 * ts-proto's objects, so the request is decoded once more; a message type without constraints has no
 * check at all.
 *
 * @returns undefined where the message has no constraints. The check throws StatusError
 *   INVALID_FIELD with a violation for each field at fault.
 */
export function validation(registry: Registry, message: DescMessage): Validate | undefined {
  if (!isConstrained(message, new Set())) return undefined;
  const validator = validatorOf(registry);
  return (request) => {
    const result = validator.validate(message, fromBinary(message, request));
    if (result.kind === "valid") return;
    if (result.kind === "error") throw result.error;
    throw Errors.INVALID_FIELD({
      violations: result.violations.map((violation) => ({
        field: fieldPath(violation.field),
        description: violation.message,
      })),
    });
  };
}

/** One for all messages: each brings an environment for CEL of its own, some megabytes together. */
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
    else if (step.kind === "map_sub") text += `[${JSON.stringify(step.key)}]`;
  }
  return text;
}

/** The extension numbers of `buf.validate` on fields, messages and oneofs. */
const RULES = 1159;

function isConstrained(message: DescMessage, seen: Set<string>): boolean {
  if (seen.has(message.typeName)) return false;
  seen.add(message.typeName);
  const has = (options: { $unknown?: { no: number }[] } | undefined) =>
    options?.$unknown?.some((field) => field.no === RULES) ?? false;
  return (
    has(message.proto.options) ||
    message.oneofs.some((oneof) => has(oneof.proto.options)) ||
    message.fields.some(
      (field) =>
        has(field.proto.options) ||
        (field.message !== undefined && isConstrained(field.message, seen)),
    )
  );
}
