/** Longest text in a log line, and longest stack of an error, in characters. */
const MAX_TEXT = 4096;
/** Most members of an object or list, and levels of nesting, that are written. */
const MAX_MEMBERS = 50;
const MAX_DEPTH = 10;

/** Members that may contain a token, a key, a state or personal data. Compared without case, `-` and `_`. */
const SECRETS: ReadonlySet<string> = new Set([
  "waybill",
  "authorization",
  "proxyauthorization",
  "dpop",
  "cookie",
  "setcookie",
  "key",
  "privatekey",
  "state",
  "jwe",
  "jwt",
  "token",
  "accesstoken",
  "refreshtoken",
  "subjecttoken",
  "assertion",
  "clientassertion",
  "secret",
  "clientsecret",
  "password",
  "metadata",
  "payload",
  // Postgres quotes a row's values in these; a query builder quotes a statement's.
  "detail",
  "where",
  "params",
  "parameters",
]);

/** A JWS or JWE in compact serialization; credentials after their scheme; a password in an address. */
const TOKEN = /\beyJ[\w-]*(?:\.[\w-]*)+/g;
const CREDENTIAL = /\b(bearer|dpop|basic) +[^\s"',;]+/gi;
const PASSWORD = /(:\/\/[^\s:/@]*):[^\s/@]+@/g;

/**
 * Copies a value for the log, as plain objects, arrays and strings, bounded in size. Redacts members and strings that
 * may be secret, at every depth. Copies of errors have their stack, own members, causes and, for an AggregateError,
 * errors. Never throws: an unreadable value becomes `[unreadable]`.
 */
export function loggable(value: unknown): unknown {
  return copyOf(value, []);
}

/** @param path from the outermost object to the one that has the value */
function copyOf(value: unknown, path: readonly object[]): unknown {
  switch (typeof value) {
    case "string":
      return textOf(value);
    case "bigint":
    case "symbol":
      return String(value);
    case "function":
      return "[function]";
    case "object":
      break;
    default:
      return value;
  }
  if (value === null) return null;
  if (path.includes(value)) return "[circular]";
  if (path.length >= MAX_DEPTH) return "[nested deeper]";
  try {
    return objectOf(value, [...path, value]);
  } catch {
    return "[unreadable]";
  }
}

function textOf(text: string): string {
  // Cut before the search: a text may be of any length.
  const safe = text
    .slice(0, MAX_TEXT)
    .replace(TOKEN, "[redacted]")
    .replace(CREDENTIAL, "$1 [redacted]")
    .replace(PASSWORD, "$1:[redacted]@");
  return text.length > MAX_TEXT ? `${safe} [${text.length - MAX_TEXT} characters more]` : safe;
}

function objectOf(value: object, path: readonly object[]): unknown {
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Date) return value;
  if (Array.isArray(value)) {
    const elements = value.slice(0, MAX_MEMBERS).map((each) => copyOf(each, path));
    const left = value.length - elements.length;
    return left > 0 ? [...elements, `[${left} more]`] : elements;
  }
  const copy: Record<string, unknown> = value instanceof Error ? Object.create(ERROR) : {};
  if (value instanceof Error) {
    copy["type"] = value.constructor?.name ?? value.name;
    for (const name of ["message", "stack", "cause", "errors"]) add(copy, value, name, path);
  }
  for (const name of Object.keys(value).slice(0, MAX_MEMBERS)) add(copy, value, name, path);
  return copy;
}

/** The prototype of copied errors. Without a constructor, pino's serializer reads the name. */
const ERROR = Object.create(null, {
  name: {
    get(this: { type: string }) {
      return this.type;
    },
  },
  toString: {
    value(this: { type: string; message?: string }) {
      return `${this.type}: ${this.message ?? ""}`;
    },
  },
}) as object;

function add(copy: Record<string, unknown>, from: object, name: string, path: readonly object[]) {
  if (Object.hasOwn(copy, name) || SECRETS.has(name.toLowerCase().replaceAll(/[-_]/g, ""))) return;
  let member: unknown;
  try {
    member = (from as Record<string, unknown>)[name];
  } catch {
    member = "[unreadable]";
  }
  if (member === undefined) return;
  // Defined, not assigned: assigning to `__proto__` would replace the prototype.
  const value = copyOf(member, path);
  Object.defineProperty(copy, name, {
    value,
    enumerable: true,
    writable: true,
    configurable: true,
  });
}
