import { isDeepStrictEqual } from "node:util";
import { type DescField, type DescMessage, fromBinary } from "@bufbuild/protobuf";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";
import { createValidator } from "@bufbuild/protovalidate";
import { afterAll, expect, test } from "vitest";
import * as catalog from "#proto/waybill/catalog/v1/catalog.ts";
import * as checkout from "#proto/waybill/checkout/v1/checkout.ts";
import { CheckoutState } from "#proto/waybill/checkout/v1/checkout_state.ts";
import * as identity from "#proto/waybill/identity/v1/identity.ts";
import * as keys from "#proto/waybill/keys/v1/keys.ts";
import * as anchors from "#proto/waybill/session/v1/anchors.ts";
import * as directory from "#proto/waybill/session/v1/directory.ts";
import * as session from "#proto/waybill/session/v1/session.ts";
import { SessionState } from "#proto/waybill/session/v1/session.ts";
import * as token from "#proto/waybill/token/v1/token.ts";
import { MAX_VIOLATIONS, StatusError } from "#shared/errors.ts";
import { type Decode, requestReader } from "#shared/validation/requestReader.ts";
import { MAX_ELEMENTS_CHECKED_TO_THE_END } from "#shared/validation/rules.ts";
import { strictScan } from "#shared/validation/strictScan.ts";
import { type WireTable, wireTable } from "#shared/validation/wireTable.ts";
import { contract } from "../support/clients.ts";
import { runs, seededRandom } from "../support/random.ts";
import { Encodings } from "../support/wire/encodings.ts";
import { FormsGenerator, OWN_OPTIONS } from "../support/wire/generatedForms.ts";

/** Number of encodings of all types together. For more: READINGS=1000000. */
const USUAL_READINGS = 60_000;
const READINGS = Number(process.env["READINGS"] ?? runs(USUAL_READINGS));

interface Type {
  readonly message: DescMessage;
  readonly decode: (bytes: Buffer) => unknown;
  /** The generated code loses the map key `__proto__`. */
  readonly losesProtoKey?: boolean;
}

const forms = new FormsGenerator();
afterAll(() => forms.remove());

const definitions = [catalog, checkout, identity, keys, anchors, directory, session, token]
  .flatMap((file) => Object.values(file))
  .flatMap((each) => Object.values(each) as { path?: string; requestDeserialize: Decode }[])
  .filter(({ path }) => typeof path === "string");

/** Every method's request, by type, and every state. */
const types: Type[] = [
  ...new Map(
    definitions.map(({ path, requestDeserialize }): [string, Type] => {
      const { request } = contract.method(path!);
      return [request.typeName, { message: request, decode: requestDeserialize }];
    }),
  ).values(),
  ...[
    { name: "checkout.v1.CheckoutState", codec: CheckoutState },
    { name: "session.v1.SessionState", codec: SessionState },
  ].map(({ name, codec }) => ({
    message: contract.registry.getMessage(`waybill.${name}`)!,
    decode: (bytes: Buffer) => codec.decode(bytes) as unknown,
  })),
  {
    message: forms.contract.method("/forms.v1.FormsService/Check").request,
    decode: (
      ({ Forms }) =>
      (bytes: Buffer) =>
        Forms!.decode(bytes)
    )(await forms.generate(OWN_OPTIONS)),
    losesProtoKey: true,
  },
];

test("the types include every method of the contract", () => {
  const ours = contract.methods.filter(({ service }) => service.startsWith("waybill."));
  expect(definitions.map(({ path }) => path).sort()).toEqual(ours.map(({ path }) => path).sort());
});

test("R2 every list and map has a maximum size", () => {
  const unbounded = new Set<string>();
  const seen = new Set<unknown>();
  const visit = (message: DescMessage, { fields, others }: WireTable) => {
    for (const field of message.fields) {
      const known = (fields[field.number] ?? others.get(field.number))!;
      if (known.isMany && known.counter < 0) unbounded.add(`${message.typeName}.${field.name}`);
      if (known.child === undefined || seen.has(known.child)) continue;
      seen.add(known.child);
      // The table of a map's values is below the table of its entries.
      const isMap = field.fieldKind === "map";
      if (field.message) visit(field.message, isMap ? known.child.fields[2]!.child! : known.child);
    }
  };
  for (const { message } of types) {
    if (/^waybill.*Request$/.test(message.typeName)) visit(message, wireTable(message));
  }
  expect([...unbounded].sort()).toEqual([
    "google.protobuf.ListValue.values",
    "google.protobuf.Struct.fields",
  ]);
});

// Known fields of both decoders in one plain form, by field number. A Map, since objects cannot have a key
// `__proto__`.
type Plain = unknown;

const STRUCT = "google.protobuf.Struct";
const VALUE = "google.protobuf.Value";

/** @param isEs whether protobuf-es decoded the object; otherwise ts-proto did */
function plain(message: DescMessage, object: unknown, isEs: boolean): Plain {
  if (message.typeName === "google.protobuf.Timestamp") return time(object, isEs);
  if (message.typeName === VALUE) return json(object, isEs);
  if (message.typeName === STRUCT) return isEs ? struct(object) : json(object, false);
  if (!isEs && message.typeName === "google.protobuf.FieldMask") object = { paths: object };
  if (message.typeName === "google.protobuf.ListValue") {
    return isEs
      ? (object as { values: unknown[] }).values.map((v) => json(v, true))
      : json(object, false);
  }
  // In a list, map or oneof, protobuf-es has a wrapper message.
  if (!isEs && isWrapperDesc(message)) object = { value: object };
  const fields = new Map<number, Plain>();
  for (const field of message.fields) {
    const value = fieldValue(field, object as Record<string, unknown>, isEs);
    if (value !== undefined) fields.set(field.number, many(field, value, isEs));
  }
  return fields;
}

function fieldValue(field: DescField, object: Record<string, unknown>, isEs: boolean): unknown {
  if (field.oneof === undefined) {
    // An unset field has its default in both, or is undefined if it has presence. protobuf-es renames
    // `constructor`.
    return object[isEs ? field.localName : field.localName.replace("$", "")];
  }
  const member = object[field.oneof.localName] as Record<string, unknown> | undefined;
  return member?.[isEs ? "case" : "$case"] === field.localName ? member["value"] : undefined;
}

function many(field: DescField, value: unknown, isEs: boolean): Plain {
  if (field.fieldKind === "list") return (value as unknown[]).map((each) => one(field, each, isEs));
  if (field.fieldKind !== "map") return one(field, value, isEs);
  // ts-proto has a Map for bool keys.
  const entries = value instanceof Map ? [...value] : Object.entries(value as object);
  return new Map(entries.map(([key, v]) => [String(key), one(field, v, isEs)]));
}

function one(field: DescField, value: unknown, isEs: boolean): Plain {
  const { message, parent, fieldKind } = field;
  if (message === undefined) return value instanceof Uint8Array ? Buffer.from(value) : value;
  if (message.typeName === STRUCT && parent.typeName !== VALUE) return json(value, false);
  if (fieldKind === "message" && isWrapperDesc(message) && !field.oneof) return value;
  return plain(message, value, isEs);
}

function time(value: unknown, isEs: boolean): Plain {
  if (!isEs) return (value as Date).getTime();
  const { seconds, nanos } = value as { seconds: bigint; nanos: number };
  return new Date(Number(seconds) * 1000 + nanos / 1e6).getTime();
}

function struct(value: unknown): Plain {
  const { fields } = value as { fields: Record<string, unknown> };
  return new Map(Object.entries(fields).map(([key, each]) => [key, json(each, true)]));
}

/** Normalizes JSON of ts-proto, or a Value of protobuf-es. */
function json(value: unknown, isEs: boolean): Plain {
  if (isEs) {
    const { kind } = value as { kind: { case?: string; value: unknown } };
    if (kind.case === "structValue") return struct(kind.value);
    if (kind.case === "listValue") {
      return (kind.value as { values: unknown[] }).values.map((each) => json(each, true));
    }
    return kind.case === "nullValue" ? null : kind.value;
  }
  if (Array.isArray(value)) return value.map((each) => json(each, false));
  if (typeof value !== "object" || value === null) return value;
  return new Map(Object.entries(value).map(([key, each]) => [key, json(each, false)]));
}

/** Decodes the bytes with both decoders; undefined if either fails. */
function readings({ message, decode }: Type, bytes: Buffer): [Plain, Plain] | undefined {
  try {
    return [plain(message, decode(bytes), false), plain(message, fromBinary(message, bytes), true)];
  } catch {
    return undefined;
  }
}

function refusalOf({ message, losesProtoKey }: Type, bytes: Buffer): string | undefined {
  try {
    strictScan(wireTable(message), bytes, undefined, losesProtoKey !== true);
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(StatusError);
    expect((error as StatusError).reason).toBe("INVALID_FIELD");
    return (error as StatusError).details.violations![0]!.description.replace(/\d+/g, "N");
  }
}

const shown = (type: Type, bytes: Buffer) => `${type.message.typeName} ${bytes.toString("hex")}`;

test("V1 two decoders read every accepted message alike", () => {
  const encodings = new Encodings(seededRandom());
  const refusals = new Map<string, number>();
  const counts = { accepted: 0, refused: 0, caught: 0 };
  for (let index = 0; index < READINGS; index += 1) {
    const type = types[index % types.length]!;
    const bytes = encodings.hostile(type.message);
    const refusal = refusalOf(type, bytes);
    const both = readings(type, bytes);
    const isSame = both !== undefined && isDeepStrictEqual(both[0], both[1]);
    if (refusal === undefined) {
      counts.accepted += 1;
      expect(both, shown(type, bytes)).toBeDefined();
      if (!isSame) expect(both![0], shown(type, bytes)).toEqual(both![1]);
    } else {
      counts.refused += 1;
      if (!isSame) counts.caught += 1;
      refusals.set(refusal, (refusals.get(refusal) ?? 0) + 1);
    }
  }
  console.log(counts, Object.fromEntries(refusals));
  expect(counts.accepted).toBeGreaterThan(READINGS / 10);
  expect(counts.caught).toBeGreaterThan(READINGS / 100);
  // The generator reaches every rule: each has refused an encoding. Some need many encodings.
  if (READINGS < USUAL_READINGS) return;
  for (const rule of [
    /wire type N instead/,
    /set more than once/,
    /number N$/,
    /group that did not begin/,
    /end of another|without an end/,
    /valid UTF/,
    /tag that is longer/,
    /outside of its type/,
    /longer than what contains it/,
    /cut off/,
    /without a value/,
    /field of wire type/,
  ]) {
    expect(
      [...refusals.keys()].some((each) => rule.test(each)),
      `${rule}`,
    ).toBe(true);
  }
});

test("V1 legal encodings are accepted and read alike", () => {
  const encodings = new Encodings(seededRandom());
  for (let index = 0; index < READINGS / 6; index += 1) {
    const type = types[index % types.length]!;
    const bytes = encodings.legal(type.message);
    const refusal = refusalOf(type, bytes);
    if (type.losesProtoKey && refusal?.includes("__proto__")) continue;
    expect(refusal, shown(type, bytes)).toBeUndefined();
    const [ours, theirs] = readings(type, bytes)!;
    expect(ours, shown(type, bytes)).toEqual(theirs);
  }
});

test("V1 constraints check the object that the handler gets", () => {
  const encodings = new Encodings(seededRandom());
  const registryOf = ({ losesProtoKey }: Type) =>
    (losesProtoKey ? forms : { contract }).contract.registry;
  const validators = new Map(
    [contract, forms.contract].map(({ registry }) => [registry, createValidator({ registry })]),
  );
  const readers = new Map(
    types.map((type) => [type.message, requestReader(registryOf(type), type.message, type.decode)]),
  );
  const outcomes = { accepted: 0, refused: 0 };
  for (let index = 0; index < READINGS / 6; index += 1) {
    const type = types[index % types.length]!;
    const bytes = encodings.legal(type.message);
    if (refusalOf(type, bytes) !== undefined) continue;
    const violated = violations(() => readers.get(type.message)!(bytes));
    const direct = validators
      .get(registryOf(type))!
      .validate(type.message, fromBinary(type.message, bytes));
    const expected = direct.kind === "valid" ? [] : direct.violations!.map((each) => each.message);
    const elements = strictScan(wireTable(type.message), bytes, undefined, !type.losesProtoKey);
    const most = elements > MAX_ELEMENTS_CHECKED_TO_THE_END ? 1 : MAX_VIOLATIONS;
    expect(violated, shown(type, bytes)).toEqual(expected.slice(0, most));
    outcomes[violated.length === 0 ? "accepted" : "refused"] += 1;
  }
  console.log(outcomes);
  expect(outcomes.accepted).toBeGreaterThan(READINGS / 600);
  expect(outcomes.refused).toBeGreaterThan(READINGS / 600);
});

function violations(read: () => unknown): string[] {
  try {
    read();
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(StatusError);
    return (error as StatusError).details.violations!.map(({ description }) => description);
  }
}
