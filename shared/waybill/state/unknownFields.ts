/** Fields that a program does not know, by tag, byte for byte: as ts-proto keeps them with `unknownFields=true`. */
type Fields = Record<number, Uint8Array[]>;

/** A decoded message: the fields that its program does not know lie in `_unknownFields`. */
interface Message {
  [field: string]: unknown;
  _unknownFields?: Fields | undefined;
}

/** Unknown fields of a message, list or map. */
export interface Unknown {
  readonly whole: object;
  /** Fields of its own. */
  readonly own: Fields | undefined;
  /** Of a `oneof` its branch. */
  readonly branch: unknown;
  /** Of a list its elements, as they came. */
  readonly elements: readonly unknown[] | undefined;
  /** Nested messages with unknown fields, by field, key or index. */
  readonly within: ReadonlyMap<unknown, Unknown>;
}

/** Undefined where everything is known, as it is but for rolling deployments. */
export function unknownOf(value: unknown): Unknown | undefined {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return undefined;
  let within: Map<unknown, Unknown> | undefined;
  const look = (inner: unknown, key: unknown) => {
    const unknown = unknownOf(inner);
    if (unknown !== undefined) within = (within ?? new Map()).set(key, unknown);
  };
  const isList = Array.isArray(value);
  if (isList || value instanceof Map) value.forEach(look);
  else {
    for (const field in value) {
      const inner = (value as Message)[field];
      if (typeof inner === "object" && field !== "_unknownFields") look(inner, field);
    }
  }
  const own = hasUnknown(value) ? value._unknownFields : undefined;
  if (own === undefined && within === undefined) return undefined;
  return {
    whole: value,
    own,
    branch: branchOf(value),
    elements: isList ? [...value] : undefined,
    within: within ?? new Map(),
  };
}

/**
 * Restores unknown fields that a handler has dropped from the state. Fields of the top level are restored,
 * so a handler may replace the whole state object.
 *
 * A nested message may be changed in place, moved within its list, copied with its properties
 * (`{...item}`), or removed together with its unknown fields. A new message in place of one with unknown
 * fields is an error, because the handler's intention is unclear. So is a list that lost such a message and
 * gained a new one: it may be the same element, rebuilt. `letGo` confirms the intention.
 *
 * @throws Error naming the field
 */
export function keepUnknown(state: unknown, unknown: Unknown): void {
  if (unknown.own !== undefined && !hasUnknown(state)) {
    Object.assign(state as object, { _unknownFields: unknown.own });
  }
  assertWithin(state as object, unknown, []);
}

/**
 * Says that fields which this program does not know, of a message within a state and of all in it, may
 * go when another is put in its place.
 */
export function letGo(message: object | undefined): void {
  const unknown = unknownOf(message);
  if (unknown === undefined) return;
  if (unknown.own !== undefined) delete (unknown.whole as Message)._unknownFields;
  for (const inner of unknown.within.values()) letGo(inner.whole);
}

function assertKept(now: unknown, unknown: Unknown, path: readonly unknown[]): void {
  // Left out on purpose.
  if (now === undefined || now === null || branchOf(now) !== unknown.branch) return;
  if (unknown.elements !== undefined) {
    assertListKept(now as unknown[], unknown, path);
    return;
  }
  const own = ownLeft(unknown);
  if (own !== undefined && !isSame(own, (now as Message)._unknownFields)) {
    throw new Error(
      `the state's ${path.join(".")} was replaced, and fields of it that this program does not know would be lost: edit it in place`,
    );
  }
  assertWithin(now, unknown, path);
}

function assertWithin(now: object, { within }: Unknown, path: readonly unknown[]): void {
  for (const [key, inner] of within) {
    const value = now instanceof Map ? now.get(key) : (now as Message)[String(key)];
    assertKept(value, inner, [...path, key]);
  }
}

function assertListKept(
  now: readonly unknown[],
  { elements = [], within }: Unknown,
  path: readonly unknown[],
): void {
  const present = new Set(now);
  const gone: Unknown[] = [];
  for (const [index, unknown] of within) {
    const element = elements[index as number];
    if (present.has(element)) assertKept(element, unknown, [...path, index]);
    else if (!isLetGo(unknown)) gone.push(unknownOf(unknown.whole) ?? unknown);
  }
  if (gone.length === 0) return;
  const before = new Set(elements);
  // New messages by their unknown fields: a copy has those of its original.
  const fresh = now.filter((element) => !before.has(element)).map((each) => unknownOf(each));
  const copies = new Map<string, number>();
  for (const unknown of fresh) {
    if (unknown !== undefined) copies.set(textOf(unknown), 1 + (copies.get(textOf(unknown)) ?? 0));
  }
  let matched = 0;
  for (const unknown of gone) {
    const left = copies.get(textOf(unknown)) ?? 0;
    if (left === 0) continue;
    copies.set(textOf(unknown), left - 1);
    matched += 1;
  }
  if (matched === gone.length || matched === fresh.length) return;
  throw new Error(
    `elements of the state's ${path.join(".")} were replaced, and fields of them that this program does not know would be lost: edit them in place`,
  );
}

/** The unknown fields of a message, without those let go. */
function ownLeft({ own, whole }: Unknown): Fields | undefined {
  return (whole as Message)._unknownFields === undefined ? undefined : own;
}

function isLetGo(unknown: Unknown): boolean {
  return ownLeft(unknown) === undefined && [...unknown.within.values()].every(isLetGo);
}

function isSame(own: Fields, now: Fields | undefined): boolean {
  return now === own || (now !== undefined && textOfFields(now) === textOfFields(own));
}

/** Makes an equal key for equal unknown fields in equal places. */
function textOf({ own, within }: Unknown): string {
  const inner = [...within].map(([key, unknown]) => `${String(key)}{${textOf(unknown)}}`);
  return [own && textOfFields(own), ...inner.sort()].join();
}

function textOfFields(fields: Fields): string {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  return Object.entries(fields)
    .map(([tag, values]) => `${tag}=${values.map(hex).join(".")}`)
    .join(";");
}

function branchOf(value: unknown): unknown {
  return (value as Message)["$case"];
}

/** In JSON that a state carries anything may have that name, but not bytes. */
function hasUnknown(value: unknown): value is Message & Required<Pick<Message, "_unknownFields">> {
  const unknown = (value as Message | undefined)?._unknownFields;
  if (unknown === undefined || unknown === null) return false;
  for (const tag in unknown) return unknown[tag]?.[0] instanceof Uint8Array;
  return false;
}
