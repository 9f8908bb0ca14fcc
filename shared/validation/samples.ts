import {
  create,
  type DescField,
  type DescMessage,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

const VALUE = "google.protobuf.Value";

/**
 * Makes messages of a type in which, taken together, each field and each member of each oneof has a
 * value of its own, and an empty one: to try generated code with. Recursive types are nested once, empty.
 *
 * @param mapKeys the keys of maps with string keys
 */
export function sampleMessages(message: DescMessage, mapKeys: readonly string[]): Message[] {
  const full = Array.from({ length: mostMembers(message, new Set()) }, (_, member) =>
    new Sampling(member, mapKeys).of(message, []),
  );
  return [create(message), ...full];
}

/** The same, with one field alone. */
export function sampleOf(field: DescField): Message {
  const value = new Sampling(field.oneof?.fields.indexOf(field) ?? 0, ["k"]).valueOf(field, []);
  return create(
    field.parent,
    field.oneof
      ? { [field.oneof.localName]: { case: field.localName, value } }
      : { [field.localName]: value },
  );
}

/** The size of the largest oneof in a message or below it. */
function mostMembers(message: DescMessage, seen: Set<DescMessage>): number {
  if (seen.has(message)) return 1;
  seen.add(message);
  return Math.max(
    1,
    ...message.oneofs.map(({ fields }) => fields.length),
    ...message.fields.map(({ message: inner }) => (inner ? mostMembers(inner, seen) : 1)),
  );
}

class Sampling {
  readonly #member: number;
  readonly #mapKeys: readonly string[];

  /** @param member which member of each oneof is set, counted around */
  constructor(member: number, mapKeys: readonly string[]) {
    this.#member = member;
    this.#mapKeys = mapKeys;
  }

  of(message: DescMessage, path: readonly DescMessage[]): Message {
    const inner = [...path, message];
    const init: Record<string, unknown> = {};
    for (const field of message.fields) {
      if (field.oneof === undefined) init[field.localName] = this.valueOf(field, inner);
    }
    for (const { localName, fields } of message.oneofs) {
      // The next one, where a member's type is nested already: a Value is no JSON without any.
      for (let tried = 0; tried < fields.length && init[localName] === undefined; tried += 1) {
        const field = fields[(this.#member + tried) % fields.length]!;
        const value = this.valueOf(field, inner);
        if (value !== undefined) init[localName] = { case: field.localName, value };
      }
    }
    return create(message, init);
  }

  /** @returns undefined where the type is nested already */
  valueOf(field: DescField, path: readonly DescMessage[]): unknown {
    const value = this.#elementOf(field, path);
    if (value === undefined) return undefined;
    if (field.fieldKind === "list") return [value];
    if (field.fieldKind !== "map") return value;
    const keys = field.mapKey === ScalarType.STRING ? this.#mapKeys : [keyOf(field.mapKey)];
    return Object.fromEntries(keys.map((key) => [key, value]));
  }

  #elementOf(
    { enum: type, message, parent, fieldKind, oneof, scalar }: DescField,
    path: readonly DescMessage[],
  ) {
    if (type !== undefined) return type.values.at(-1)!.number;
    if (message === undefined) return scalarOf(scalar!);
    // An empty one, so that the field that nests it has a value. A Value is no JSON without a kind.
    if (path.includes(message)) return message.typeName === VALUE ? undefined : create(message);
    switch (message.typeName) {
      case "google.protobuf.Struct":
        if (parent.typeName === "google.protobuf.Value") break;
        return Object.fromEntries(this.#mapKeys.map((key) => [key, 7]));
      case "google.protobuf.Timestamp":
        // A Date has no finer parts.
        return create(message, { seconds: 7n, nanos: 7_000_000 });
    }
    // Singular wrappers are their value.
    if (isWrapperDesc(message) && fieldKind === "message" && !oneof) {
      return scalarOf(message.fields[0].scalar);
    }
    return this.of(message, path);
  }
}

function scalarOf(scalar: ScalarType): unknown {
  switch (scalar) {
    case ScalarType.STRING:
      return "s";
    case ScalarType.BYTES:
      return new Uint8Array([7]);
    case ScalarType.BOOL:
      return true;
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return 0.5;
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return 7n;
    default:
      return 7;
  }
}

function keyOf(scalar: ScalarType): string {
  return scalar === ScalarType.BOOL ? "true" : "7";
}
