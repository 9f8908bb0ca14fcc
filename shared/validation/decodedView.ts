import {
  create,
  type DescField,
  type DescMessage,
  type DescOneof,
  type Message,
  ScalarType,
} from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

/** A message as the generated code of a program holds it. */
export type Decoded = Record<string, unknown>;

/** Shows a decoded value in the form that protobuf-es has for it. Values are shared, not copied. */
export type View = (value: unknown) => unknown;

/**
 * Makes the view of a message type: ts-proto's object in, protobuf-es's shape out, as protovalidate
 * reads it. The rules see the very object that the handler gets, so nothing is decoded twice.
 *
 * ts-proto has options for the form of its objects; the view learns from samples which are in use:
 * names of fields, oneofs as unions or as fields, 64-bit integers as bigint, number, string or Long,
 * enums as numbers or strings, maps as objects or Maps, times as Date, Temporal.Instant, text or
 * message, defaults left out.
 *
 * @param samples decoded messages in which each field and each member of each oneof is set at least once
 */
export function decodedView(message: DescMessage, samples: readonly Decoded[]): View {
  return new Views().ofMessage(message, samples);
}

type Step = (from: Decoded, to: Decoded) => void;

class Views {
  /** Types may be recursive: a type's view is the one that was made of its first samples. */
  readonly #made = new Map<DescMessage, View>();

  ofMessage(message: DescMessage, samples: readonly Decoded[]): View {
    const known = this.#made.get(message);
    if (known !== undefined) return known;
    let made: View | undefined;
    this.#made.set(message, (value) => made!(value));
    made = WELL_KNOWN[message.typeName] ?? this.#fieldByField(message, samples);
    return made;
  }

  #fieldByField(message: DescMessage, samples: readonly Decoded[]): View {
    const { typeName } = message;
    const steps: Step[] = [
      ...message.fields
        .filter(({ oneof }) => oneof === undefined)
        .map((f) => this.#field(f, samples)),
      ...message.oneofs.map((oneof) => this.#oneof(oneof, samples)),
    ];
    return (value) => {
      const to: Decoded = { $typeName: typeName };
      for (const step of steps) step(value as Decoded, to);
      return to;
    };
  }

  #field(field: DescField, samples: readonly Decoded[]): Step {
    const { localName } = field;
    const name = nameIn(samples, field);
    const view = this.#whole(field, valuesOf(samples, name)) ?? asIs;
    // Null is JSON's, or with one option of ts-proto a field that is not set.
    const absent = field.message?.typeName === VALUE ? undefined : null;
    // With other options generated code omits fields with their default.
    const unset = create(field.parent);
    const byDefault = Object.hasOwn(unset, localName)
      ? (unset as Message & Decoded)[localName]
      : undefined;
    return (from, to) => {
      const value = from[name];
      if (value !== undefined && value !== absent) to[localName] = view(value);
      else if (byDefault !== undefined) to[localName] = byDefault;
    };
  }

  #oneof(oneof: DescOneof, samples: readonly Decoded[]): Step {
    const { localName, fields } = oneof;
    for (const name of [localName, oneof.name]) {
      const unions = valuesOf(samples, name).filter(isUnion);
      if (unions.length > 0) return this.#union(oneof, name, unions);
    }
    const members = fields.map((field) => {
      const name = nameIn(samples, field);
      const view = this.#element(field, valuesOf(samples, name)) ?? asIs;
      return { case: field.localName, name, view };
    });
    return (from, to) => {
      const member = members.find(({ name }) => from[name] !== undefined && from[name] !== null);
      to[localName] = member
        ? { case: member.case, value: member.view(from[member.name]) }
        : { case: undefined };
    };
  }

  /** A oneof as `{ $case, value }`, or with the value under the name of its member. */
  #union({ localName, fields }: DescOneof, nameOfUnion: string, unions: readonly Decoded[]): Step {
    const members = new Map<unknown, { case: string; name: string; view: View }>();
    for (const field of fields) {
      const own = unions.filter(({ $case }) => namesOf(field).includes(String($case)));
      const name = own.some((each) => Object.hasOwn(each, "value"))
        ? "value"
        : String(own[0]?.["$case"] ?? field.localName);
      const view = this.#element(field, valuesOf(own, name)) ?? asIs;
      members.set(own[0]?.["$case"] ?? field.localName, { case: field.localName, name, view });
    }
    return (from, to) => {
      const union = from[nameOfUnion] as Decoded | undefined | null;
      const member = union && members.get(union["$case"]);
      to[localName] = member
        ? { case: member.case, value: member.view(union[member.name]) }
        : { case: undefined };
    };
  }

  /** @returns undefined: the value is as protobuf-es has it */
  #whole(field: DescField, values: readonly unknown[]): View | undefined {
    if (field.fieldKind === "list") {
      const view = this.#element(field, values.flat());
      return view && ((value) => Array.from(value as Iterable<unknown>, view));
    }
    if (field.fieldKind === "map") {
      const view = this.#element(
        field,
        values.flatMap((each) => entriesOf(each).map(([, v]) => v)),
      );
      if (view === undefined && !values.some((each) => each instanceof Map)) return undefined;
      const of = view ?? asIs;
      // Not assigned one by one: the key `__proto__` is data.
      return (value) => Object.fromEntries(entriesOf(value).map(([k, v]) => [String(k), of(v)]));
    }
    // Singular wrappers are their value in both.
    if (field.fieldKind === "message" && !field.oneof && isWrapperDesc(field.message)) {
      return viewOfScalar(field.message.fields[0]!.scalar);
    }
    return this.#element(field, values);
  }

  #element(field: DescField, values: readonly unknown[]): View | undefined {
    if (field.enum !== undefined) {
      if (!values.some((value) => typeof value === "string")) return undefined;
      const numbers = new Map<unknown, number>();
      for (const { name, number } of field.enum.values) numbers.set(name, number);
      return (value) => numbers.get(value) ?? (typeof value === "number" ? value : -1);
    }
    if (field.message === undefined) return viewOfScalar(field.scalar);
    const { typeName } = field.message;
    // JSON in both.
    if (typeName === STRUCT && field.parent.typeName !== VALUE) return undefined;
    return this.ofMessage(field.message, values.filter(isObject));
  }
}

function asIs(value: unknown): unknown {
  return value;
}

function viewOfScalar(scalar: ScalarType | undefined): View | undefined {
  switch (scalar) {
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return toBigInt;
    default:
      return undefined;
  }
}

/** A 64-bit integer: a bigint, a number, text, or a Long. */
function toBigInt(value: unknown): unknown {
  if (typeof value === "bigint") return value;
  return typeof value === "number" ? BigInt(value) : BigInt(String(value));
}

/** The names that generated code may have for a field. */
function namesOf({ localName, jsonName, name }: DescField): string[] {
  return [localName, jsonName, name];
}

function nameIn(samples: readonly Decoded[], field: DescField): string {
  const names = namesOf(field);
  return names.find((name) => samples.some((sample) => isPresent(sample[name]))) ?? field.localName;
}

/** The samples have values in all fields: one that is empty is a default of another name's. */
function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function valuesOf(samples: readonly Decoded[], name: string): unknown[] {
  return samples.map((sample) => sample[name]).filter(isPresent);
}

function isObject(value: unknown): value is Decoded {
  return typeof value === "object" && value !== null;
}

function isUnion(value: unknown): value is Decoded {
  return isObject(value) && Object.hasOwn(value, "$case");
}

function entriesOf(value: unknown): [unknown, unknown][] {
  return value instanceof Map ? [...value] : Object.entries(value as object);
}

const STRUCT = "google.protobuf.Struct";
const VALUE = "google.protobuf.Value";
const LIST = "google.protobuf.ListValue";

const WELL_KNOWN: Readonly<Record<string, View>> = {
  "google.protobuf.Timestamp": toTimestamp,
  "google.protobuf.FieldMask": (value) => ({
    $typeName: "google.protobuf.FieldMask",
    paths: Array.isArray(value) ? value : (value as { paths: string[] }).paths,
  }),
  [STRUCT]: toStruct,
  [VALUE]: toValue,
  [LIST]: (value) => ({ $typeName: LIST, values: (value as unknown[]).map(toValue) }),
  ...Object.fromEntries(
    ["Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes"].map(
      (kind) => {
        const $typeName = `google.protobuf.${kind}Value`;
        const isLong = kind.endsWith("Int64");
        return [
          $typeName,
          (value: unknown) => ({ $typeName, value: isLong ? toBigInt(value) : value }),
        ];
      },
    ),
  ),
};

/** A Date, a Temporal.Instant, text, or a message. */
function toTimestamp(value: unknown): unknown {
  const $typeName = "google.protobuf.Timestamp";
  const { seconds, nanos, epochNanoseconds } = value as Record<string, unknown>;
  if (typeof epochNanoseconds === "bigint") {
    const fraction = ((epochNanoseconds % GIGA) + GIGA) % GIGA;
    return { $typeName, seconds: (epochNanoseconds - fraction) / GIGA, nanos: Number(fraction) };
  }
  if (!(value instanceof Date) && typeof value !== "string") {
    return { $typeName, seconds: toBigInt(seconds), nanos };
  }
  const ms = new Date(value).getTime();
  const whole = Math.floor(ms / 1000);
  return { $typeName, seconds: BigInt(whole), nanos: (ms - whole * 1000) * 1_000_000 };
}

const GIGA = 1_000_000_000n;

function toStruct(value: unknown): unknown {
  const entries = Object.entries(value as object).map(([key, each]) => [key, toValue(each)]);
  return { $typeName: STRUCT, fields: Object.fromEntries(entries) };
}

function toValue(value: unknown): unknown {
  return { $typeName: VALUE, kind: kindOf(value) };
}

function kindOf(value: unknown): { case: string; value: unknown } {
  switch (typeof value) {
    case "number":
      return { case: "numberValue", value };
    case "string":
      return { case: "stringValue", value };
    case "boolean":
      return { case: "boolValue", value };
    default:
      if (value === null || value === undefined) return { case: "nullValue", value: 0 };
      return Array.isArray(value)
        ? { case: "listValue", value: WELL_KNOWN[LIST]!(value) }
        : { case: "structValue", value: toStruct(value) };
  }
}
