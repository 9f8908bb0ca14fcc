import { Errors } from "waybill";

/** A filter as SQL: conditions over numbered values, joined by AND. */
export interface Filter {
  readonly conditions: readonly string[];
  readonly values: readonly (string | number)[];
}

type Type = "text" | "number";

/** Filterable fields: the proto's field path and its column. */
const FIELDS = new Map<string, { column: string; type: Type }>([
  ["title", { column: "title", type: "text" }],
  ["genre", { column: "genre", type: "text" }],
  ["rating", { column: "rating", type: "text" }],
  ["director", { column: "director", type: "text" }],
  ["distributor", { column: "distributor", type: "text" }],
  ["release_date.year", { column: "extract(year FROM release_date)", type: "number" }],
  ["running_time_minutes", { column: "running_time_minutes", type: "number" }],
  ["imdb_rating_tenths", { column: "imdb_rating_tenths", type: "number" }],
]);

const OPERATORS: Record<Type, readonly string[]> = {
  text: ["=", "!=", ":"],
  number: ["=", "!=", "<", "<=", ">", ">="],
};

const MAX_COMPARISONS = 10;

const SPACE = /\s*/y;
const FIELD = /[a-z][a-z_.]*/y;
const OPERATOR = /<=|>=|!=|[=<>:]/y;
const QUOTED = /"(?:[^"\\]|\\["\\])*"|'(?:[^'\\]|\\['\\])*'/y;
const BARE = /[^\s"'()]+/y;
const AND = /AND(?=\s)/y;

/**
 * Parses a filter (AIP-160): comparisons of a field with a text or a number, joined by AND.
 * `title:"moon"` matches titles that contain it, ignoring case.
 *
 * @throws StatusError INVALID_FIELD with the column of the syntax error
 */
export function parseFilter(filter: string): Filter {
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(filter);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match[0];
  };
  const refuse = (expected: string, column = at) =>
    Errors.INVALID_FIELD({
      violations: [
        {
          field: "filter",
          description: `expected ${expected} at column ${column + 1}`,
        },
      ],
    });

  const conditions: string[] = [];
  const values: (string | number)[] = [];
  take(SPACE);
  if (at === filter.length) return { conditions, values };
  for (;;) {
    if (conditions.length === MAX_COMPARISONS)
      throw refuse(`at most ${MAX_COMPARISONS} comparisons`);
    const start = at;
    const field = FIELDS.get(take(FIELD) ?? "");
    if (field === undefined) throw refuse(`one of ${[...FIELDS.keys()].join(", ")}`, start);
    take(SPACE);
    const operatorAt = at;
    const operator = take(OPERATOR);
    if (operator === undefined || !OPERATORS[field.type].includes(operator)) {
      throw refuse(`one of ${OPERATORS[field.type].join(" ")}`, operatorAt);
    }
    take(SPACE);
    const valueAt = at;
    const quoted = take(QUOTED);
    const literal = quoted?.slice(1, -1).replace(/\\(.)/g, "$1") ?? take(BARE);
    if (literal === undefined || literal.includes("\0")) throw refuse("a value", valueAt);
    if (field.type === "number" && (quoted !== undefined || !/^-?\d{1,9}$/.test(literal))) {
      throw refuse("a whole number", valueAt);
    }
    values.push(
      field.type === "number" ? Number(literal) : operator === ":" ? like(literal) : literal,
    );
    conditions.push(condition(field.column, field.type, operator, values.length));
    take(SPACE);
    if (at === filter.length) return { conditions, values };
    if (take(AND) === undefined) throw refuse("AND or the end");
    take(SPACE);
  }
}

function condition(column: string, type: Type, operator: string, value: number): string {
  if (operator === ":") return `${column} ILIKE $${value}::text`;
  const cast = type === "number" ? "integer" : "text";
  if (operator === "!=") return `${column} IS DISTINCT FROM $${value}::${cast}`;
  return `${column} ${operator} $${value}::${cast}`;
}

function like(text: string): string {
  return `%${text.replace(/[\\%_]/g, "\\$&")}%`;
}
