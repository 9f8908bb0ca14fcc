/** Fields that a program does not know, by tag, byte for byte: as ts-proto keeps them with `unknownFields=true`. */
type Fields = Record<number, Uint8Array[]>;

/** A decoded message: the fields that its program does not know lie in `_unknownFields`. */
interface Message {
  [field: string]: unknown;
  _unknownFields?: Fields | undefined;
}

/** What a message, a list or a map brought along that this program does not know. */
export interface Unknown {
  readonly whole: object;
  /** Fields of its own. */
  readonly own: Fields | undefined;
  /** Of a `oneof` its branch. */
  readonly branch: unknown;
  /** Of a list its elements, as they came. */
  readonly elements: readonly unknown[] | undefined;
  /** What lies within that has such fields: by field, key or index. */
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
 * Gives a state what it brought along and its handler has left out. At the top level that is put back,
 * so a handler may put a fresh object in the state's place.
 *
 * What lies within may be changed in place, moved within its list, copied with what it has (`{...item}`),
 * or taken out: then what it has goes with it. A fresh message in the place of one that has fields which
 * this program does not know is refused, for nobody can tell what of it was meant to go. So is a list from
 * which one is gone and into which a fresh one came: that may be the same one, rebuilt. `letGo` says that it
 * is meant.
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
  // Fresh ones, by what they have that is unknown: copies have what their originals had.
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

/** What a message brought along and was not told to let go. */
function ownLeft({ own, whole }: Unknown): Fields | undefined {
  return (whole as Message)._unknownFields === undefined ? undefined : own;
}

function isLetGo(unknown: Unknown): boolean {
  return ownLeft(unknown) === undefined && [...unknown.within.values()].every(isLetGo);
}

function isSame(own: Fields, now: Fields | undefined): boolean {
  return now === own || (now !== undefined && textOfFields(now) === textOfFields(own));
}

/** The same for what brings the same along in the same places. */
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
