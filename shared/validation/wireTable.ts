import { type DescField, type DescMessage, getOption, ScalarType } from "@bufbuild/protobuf";
import { field as fieldRules } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { hasCel, statedElements } from "./ruleOptions.ts";

/** Wire types (protobuf encoding, "Message Structure"). */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH = 2;
export const GROUP_START = 3;
export const GROUP_END = 4;
export const FIXED32 = 5;

/** The values that a varint of a field may have. */
export type Range = "any" | "int32" | "uint32" | "bool" | "seconds" | "nanos";

/** Fields below this number are found by their index, others in a map. */
export const DENSE_NUMBERS = 64;

/**
 * Most elements of a list or map that rules look at, where its proto states no `max_items` or
 * `max_pairs`: each element costs an evaluation, and a rule in CEL may compare each with all others.
 */
export const MAX_UNSTATED_ELEMENTS = 1000;

/** Most paths of a field mask, which no proto can state. */
const MAX_MASK_PATHS = 100;

/** The encodings of a message type that every parser reads alike, compiled from its descriptor. */
export interface WireTable {
  /** By field number, below DENSE_NUMBERS. */
  readonly fields: (WireField | undefined)[];
  readonly others: Map<number, WireField>;
  /** How many of its fields may come once; their slots count from 1. */
  slots: number;
  /** How many of its fields have a most; their counters count from 0. */
  counters: number;
  /** The slot that must be taken: the kind of a Value, the message of a map entry. 0: none. */
  required: number;
}

/** One known field. */
export interface WireField {
  readonly name: string;
  readonly wire: number;
  /** Wire type of the elements where the packed form is legal as well; -1 elsewhere. */
  readonly packed: number;
  readonly isText: boolean;
  /** It is the key of a map, which the generated code may not be able to hold. */
  readonly isMapKey: boolean;
  readonly range: Range;
  readonly child: WireTable | undefined;
  /** Taken by the field; 0: it may come any number of times. Members of a oneof share one. */
  readonly slot: number;
  /** It is a list or a map, whose elements are counted. */
  readonly isMany: boolean;
  /** Most elements. */
  readonly most: number;
  /** Where its elements are counted; -1: only with those of the whole message. */
  readonly counter: number;
}

/** By whether rules in CEL may look at the message. */
const tables = [new WeakMap<DescMessage, WireTable>(), new WeakMap<DescMessage, WireTable>()];

/**
 * Compiles the table of a message type. Types may be recursive.
 *
 * @param isSeen whether rules in CEL may look at all lists and maps in it
 * @throws Error naming a field with delimited encoding, which is not supported
 */
export function wireTable(message: DescMessage, isSeen = hasCel(message)): WireTable {
  const known = tables[Number(isSeen)]!.get(message);
  if (known !== undefined) return known;
  const table = emptyTable();
  tables[Number(isSeen)]!.set(message, table);
  const oneofs = new Map<unknown, number>();
  for (const field of message.fields) {
    if ("delimitedEncoding" in field && field.delimitedEncoding) {
      throw new Error(`${message.typeName}.${field.name}: delimited encoding is not supported`);
    }
    let slot = 0;
    if (field.oneof !== undefined) {
      slot = oneofs.get(field.oneof) ?? ++table.slots;
      oneofs.set(field.oneof, slot);
    } else if (field.fieldKind === "message") slot = ++table.slots;
    const isMany = field.fieldKind === "list" || field.fieldKind === "map";
    const most = isMany ? mostElements(field, isSeen) : Number.POSITIVE_INFINITY;
    add(table, field.number, {
      name: field.name,
      ...(field.fieldKind === "map" ? { wire: LENGTH, isText: false } : encodingOf(field)),
      packed: -1,
      ...(field.fieldKind === "list" && packing(field)),
      isMapKey: false,
      range: rangeOf(message, field),
      child:
        field.fieldKind === "map"
          ? entryTable(field, isSeen)
          : field.message && wireTable(field.message, isSeen),
      slot,
      isMany,
      most,
      counter: Number.isFinite(most) ? table.counters++ : -1,
    });
  }
  // A Value without a kind is not JSON: parsers read it differently.
  if (message.typeName === "google.protobuf.Value") table.required = 1;
  return table;
}

function emptyTable(): WireTable {
  const fields = Array.from({ length: DENSE_NUMBERS }, () => undefined);
  return { fields, others: new Map(), slots: 0, counters: 0, required: 0 };
}

function add(table: WireTable, number: number, field: WireField): void {
  if (number < DENSE_NUMBERS) table.fields[number] = field;
  else table.others.set(number, field);
}

/** The entries of a map: a message with a key and a value, each once. */
function entryTable(field: DescField & { fieldKind: "map" }, isSeen: boolean): WireTable {
  const table = { ...emptyTable(), slots: 2 };
  const common = { packed: -1, isMany: false, most: Number.POSITIVE_INFINITY, counter: -1 };
  add(table, 1, {
    ...common,
    name: "key",
    wire: wireOf(field.mapKey),
    isText: field.mapKey === ScalarType.STRING,
    isMapKey: true,
    range: scalarRange(field.mapKey),
    child: undefined,
    slot: 1,
  });
  add(table, 2, {
    ...common,
    name: "value",
    ...encodingOf(field),
    isMapKey: false,
    range: field.scalar === undefined ? enumRange(field) : scalarRange(field.scalar),
    child: field.message && wireTable(field.message, isSeen),
    slot: 2,
  });
  if (field.message !== undefined) table.required = 2;
  return table;
}

/** How one value of a field is encoded; of a map, the value of an entry. */
function encodingOf(field: DescField): Pick<WireField, "wire" | "isText"> {
  if (field.scalar !== undefined) {
    return { wire: wireOf(field.scalar), isText: field.scalar === ScalarType.STRING };
  }
  return { wire: field.enum === undefined ? LENGTH : VARINT, isText: false };
}

function packing(field: DescField & { fieldKind: "list" }): Pick<WireField, "packed"> {
  const { wire } = encodingOf(field);
  return { packed: wire === LENGTH ? -1 : wire };
}

function wireOf(scalar: ScalarType): number {
  switch (scalar) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return LENGTH;
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
    case ScalarType.FLOAT:
      return FIXED32;
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
    case ScalarType.DOUBLE:
      return FIXED64;
    default:
      return VARINT;
  }
}

function rangeOf(message: DescMessage, field: DescField): Range {
  // ts-proto makes a Date of it, which has no other values than these.
  if (message.typeName === "google.protobuf.Timestamp") {
    return field.number === 1 ? "seconds" : "nanos";
  }
  return field.scalar === undefined ? enumRange(field) : scalarRange(field.scalar);
}

function enumRange({ enum: type }: DescField): Range {
  return type === undefined ? "any" : "int32";
}

function scalarRange(scalar: ScalarType): Range {
  switch (scalar) {
    case ScalarType.INT32:
      return "int32";
    case ScalarType.UINT32:
    case ScalarType.SINT32:
      return "uint32";
    case ScalarType.BOOL:
      return "bool";
    default:
      return "any";
  }
}

/** Most elements of a list or map: the proto's limit, or a bound if rules read its elements. */
function mostElements(field: DescField, isSeen: boolean): number {
  if (field.parent.typeName === "google.protobuf.FieldMask") return MAX_MASK_PATHS;
  const stated = statedElements(field);
  if (stated > 0) return stated;
  const isChecked =
    isSeen ||
    getOption(field, fieldRules).type.case !== undefined ||
    (field.message !== undefined && !isJson(field.message.typeName));
  return isChecked ? MAX_UNSTATED_ELEMENTS : Number.POSITIVE_INFINITY;
}

/** Without rules that look at it, JSON is bounded by the elements of the whole message. */
function isJson(typeName: string): boolean {
  return typeName === "google.protobuf.Value" || typeName === "google.protobuf.Struct";
}
