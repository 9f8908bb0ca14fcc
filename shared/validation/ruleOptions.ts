import { type DescField, type DescMessage, getOption } from "@bufbuild/protobuf";
import {
  type FieldRules,
  field as fieldRules,
  message as messageRules,
} from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";

/** The extension number of `buf.validate` in the options of fields, messages and oneofs. */
const RULES = 1159;

/** Most elements that rules look at in all of a message, where its proto allows one list no more. */
export const MAX_CHECKED_ELEMENTS = 10_000;

/** Tells whether a message, or one within it, has field constraints. */
export function hasRules(message: DescMessage): boolean {
  const has = ({ proto }: { proto: { options?: { $unknown?: { no: number }[] } } }) =>
    proto.options?.$unknown?.some(({ no }) => no === RULES) ?? false;
  return [...below(message)].some(
    (each) => has(each) || each.oneofs.some(has) || each.fields.some(has),
  );
}

/** Tells whether a message, or one within it, has a rule in CEL. */
export function hasCel(message: DescMessage): boolean {
  return [...below(message)].some((each) => {
    const { cel, celExpression } = getOption(each, messageRules);
    return (
      cel.length + celExpression.length > 0 ||
      each.fields.some((field) => isCel(getOption(field, fieldRules)))
    );
  });
}

function isCel({ cel, celExpression, type }: FieldRules): boolean {
  if (cel.length + celExpression.length > 0) return true;
  if (type.case === "repeated") return type.value.items !== undefined && isCel(type.value.items);
  if (type.case !== "map") return false;
  return [type.value.keys, type.value.values].some((rules) => rules !== undefined && isCel(rules));
}

/** The `max_items` or `max_pairs` of a field. 0: its proto states none. */
export function statedElements(field: DescField): number {
  const { type } = getOption(field, fieldRules);
  if (type.case === "repeated") return Number(type.value.maxItems);
  return type.case === "map" ? Number(type.value.maxPairs) : 0;
}

/** Most elements that rules may look at in all of a message. */
export function mostChecked(message: DescMessage): number {
  const fields = [...below(message)].flatMap((each) => each.fields);
  return Math.max(MAX_CHECKED_ELEMENTS, ...fields.map(statedElements));
}

/**
 * Two types that contain each other and have constraints. protovalidate 1.3 silently skips constraints of
 * such types; a type that contains itself is checked.
 */
export function mutuallyRecursive(message: DescMessage): [DescMessage, DescMessage] | undefined {
  for (const one of below(message)) {
    if (!hasRules(one)) continue;
    const other = [...below(one)].find((each) => each !== one && below(each).has(one));
    if (other !== undefined) return [one, other];
  }
  return undefined;
}

/** A message type and all that it contains. */
function below(message: DescMessage, found = new Set<DescMessage>()): Set<DescMessage> {
  if (found.has(message)) return found;
  found.add(message);
  for (const { message: inner } of message.fields) if (inner !== undefined) below(inner, found);
  return found;
}
