/** Longest text in a log line, in characters; and of an error's stack. */
const MAX_TEXT = 4096;
/** Most members of an object or list, and levels of nesting, that are written. */
const MAX_MEMBERS = 50;
const MAX_DEPTH = 10;

/** Members that may have a token, a key, a state or a person's data. Compared without case, `-` and `_`. */
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
  // Postgres repeats a row's values there; a query builder the statement's.
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
 * A copy of what is to be logged, of plain objects, lists and texts: without members and texts that may be
 * secret, wherever they stand, and bounded in size. Errors are written with their stack, their own members, their
 * causes and, of an AggregateError, its errors. Never throws: what cannot be read is said to be so.
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
  // Before it is searched, too: a text may be of any length.
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

/** The prototype of errors' copies. Without a constructor, so that pino's own serializer asks for the name. */
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
  // Not assigned: `__proto__` is a name like any other.
  const value = copyOf(member, path);
  Object.defineProperty(copy, name, {
    value,
    enumerable: true,
    writable: true,
    configurable: true,
  });
}
