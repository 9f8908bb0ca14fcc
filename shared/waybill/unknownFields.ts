/**
 * A decoded message, as ts-proto makes it with `unknownFields=true`: fields that its program does not
 * know lie in `_unknownFields`, by tag, byte for byte.
 */
interface Message {
  readonly [field: string]: unknown;
  _unknownFields?: Record<number, Uint8Array[]> | undefined;
}

/** What a state brought along that this program does not know. */
export interface Unknown {
  readonly top: Record<number, Uint8Array[]> | undefined;
  /** Messages in fields of their own, anywhere in the state, that have such fields; by their path. */
  readonly nested: readonly { readonly path: readonly string[]; readonly message: Message }[];
}

/** Undefined where everything is known, as it is but for rolling deployments. */
export function unknownOf(state: unknown): Unknown | undefined {
  const top = hasUnknown(state) ? state._unknownFields : undefined;
  const nested: { path: string[]; message: Message }[] = [];
  collect(state, [], nested);
  return top === undefined && nested.length === 0 ? undefined : { top, nested };
}

/**
 * Gives a state what it brought along and its handler has left out. At the top level that is put back,
 * so a handler may put a fresh object in the state's place. A message within it must be edited in place:
 * one that was put in the place of another is refused, for nobody can tell what of it was meant to go.
 *
 * @throws Error naming the field
 */
export function keepUnknown(state: unknown, unknown: Unknown): void {
  if (unknown.top !== undefined && !hasUnknown(state)) {
    Object.assign(state as object, { _unknownFields: unknown.top });
  }
  for (const { path, message } of unknown.nested) {
    const now = path.reduce<unknown>(
      (value, field) => (value as Message | undefined)?.[field],
      state,
    );
    // Left out on purpose, or changed in place.
    if (now === undefined || now === null || now === message || hasUnknown(now)) continue;
    throw new Error(
      `the state's ${path.join(".")} was replaced, and fields of it that this program does not know would be lost: edit it in place`,
    );
  }
}

function collect(
  value: unknown,
  path: string[],
  found: { path: string[]; message: Message }[],
): void {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return;
  // Elements of a list come and go: there is no telling which was put in the place of which.
  if (Array.isArray(value)) return;
  for (const [field, inner] of Object.entries(value)) {
    if (field === "_unknownFields") continue;
    if (typeof inner !== "object" || inner === null) continue;
    if (hasUnknown(inner)) found.push({ path: [...path, field], message: inner });
    collect(inner, [...path, field], found);
  }
}

function hasUnknown(value: unknown): value is Message & Required<Pick<Message, "_unknownFields">> {
  const unknown = (value as Message | undefined)?._unknownFields;
  if (unknown === undefined || unknown === null) return false;
  for (const _ in unknown) return true;
  return false;
}
