import type { History, Line, Outcome } from "./history.ts";

/** The state of a session under sequential calls. */
interface State {
  /** 0: not begun. */
  readonly version: number;
  readonly value: string;
  readonly ended: boolean;
  readonly placed: boolean;
}

const UNKNOWN: Outcome = { kind: "unknown" };
const NOTHING: State = { version: 0, value: "", ended: false, placed: false };

/** A fault in a history. */
export interface Fault {
  readonly session: string;
  readonly what: string;
}

/**
 * Checks linearizability: finds, for each session, one order of its calls that respects their times and
 * explains every response, and checks that each order exists exactly as often as in that sequence. A call
 * with an unknown outcome may have happened at any later time, or not at all.
 */
export function faultsOf({ lines, final }: History): Fault[] {
  const sessions = Map.groupBy(lines, ({ session }) => session);
  return [...sessions].flatMap(([session, own]) => {
    const orders = final?.orders.filter((id) => id === session).length;
    if (orders !== undefined && orders > 1) return [{ session, what: `${orders} orders` }];
    if (isLinearizable(own, orders === undefined ? undefined : orders === 1)) return [];
    return [{ session, what: explain(own, orders) }];
  });
}

/**
 * Wing and Gong's search with Lowe's memoization: a call may come next if no other call ended before it
 * started.
 *
 * Calls with unknown outcomes make the search long, because each may have happened at any time or not at
 * all. Two rules shorten it without losing a possible sequence: interchangeable resumes are tried in one
 * sequence only, and the memo omits calls that can no longer have an effect.
 *
 * @param placed whether an order was found at the end; undefined: not checked
 */
function isLinearizable(lines: readonly Line[], placed: boolean | undefined): boolean {
  const made = [...lines].sort((a, b) => a.start - b.start);
  // The front proxy retries a resume whose replica died. If another call advanced meanwhile, there is no
  // saved response, and the retry adds one version. Until its response, a resume may do that and no more.
  const repeated = made.filter(({ call }) => call.kind === "resume");
  const calls: readonly Step[] = [
    ...made.map((line) => ({ ...line, bit: 0n, over: 0n })),
    ...repeated.map((resume) => {
      const isAnswered = resume.outcome.kind !== "unknown";
      return { ...resume, outcome: UNKNOWN, over: isAnswered ? bitOf(made.indexOf(resume)) : 0n };
    }),
  ].map((call, index) => ({ ...call, bit: bitOf(index) }));
  const endOf = ({ outcome, end }: Line) =>
    outcome.kind === "unknown" ? Number.POSITIVE_INFINITY : end;
  const visited = new Set<string>();

  const search = (done: bigint, state: State): boolean => {
    const open = calls.filter(({ bit, over }) => !(done & bit) && !(done & over));
    const useless = open.filter((call) => isUnknown(call) && isTooLate(state, call));
    const left = open.filter((call) => !useless.includes(call));
    const key = `${left.map(({ bit }) => bit.toString(36))} ${JSON.stringify(state)}`;
    if (visited.has(key)) return false;
    visited.add(key);
    const isOver = left.every(isUnknown);
    if (isOver && (placed === undefined || placed === state.placed)) return true;
    const firstEnd = Math.min(...left.map(endOf));
    return nextOf(left.filter(({ start }) => start <= firstEnd)).some((call) => {
      const next = apply(state, call, calls);
      return next !== undefined && search(done | call.bit, next);
    });
  };
  return search(0n, NOTHING);
}

interface Step extends Line {
  readonly bit: bigint;
  /** The bit of the call after which this one cannot happen any more. 0: it always can. */
  readonly over: bigint;
}

const bitOf = (index: number) => 1n << BigInt(index);

function isUnknown({ outcome }: Line): boolean {
  return outcome.kind === "unknown";
}

/** It should have happened earlier. */
function isTooLate(state: State, { call }: Line): boolean {
  if (call.kind === "begin") return state.version > 0;
  return state.ended || ("from" in call && call.from < state.version);
}

/**
 * Selects the calls to try next. Resumes with unknown outcomes all have the same effect, one more version.
 * Of those that stay possible one is enough; those that expire go first.
 */
function nextOf(possible: readonly Step[]): Step[] {
  const isSpare = (each: Step) => isUnknown(each) && each.call.kind === "resume";
  const spare = possible.filter(isSpare);
  const passing = spare.filter(({ over }) => over !== 0n);
  const tried = passing.length > 0 ? passing : spare.slice(0, 1);
  return [...possible.filter((each) => !isSpare(each)), ...tried];
}

/** The state after a call, or undefined if the call could not have that response. */
function apply(state: State, line: Line, all: readonly Line[]): State | undefined {
  const { call, outcome } = line;
  if (outcome.kind === "refused") {
    if (!outcome.served) return mayRefuse(state, call, outcome.reason) ? state : undefined;
    return wasOvertaken(line, all) ? succeed(state, call) : undefined;
  }
  const next = succeed(state, call);
  if (next === undefined || outcome.kind === "unknown") return next;
  if (outcome.version !== undefined && outcome.version !== next.version) return undefined;
  if (outcome.value !== undefined && outcome.value !== next.value) return undefined;
  return next;
}

function succeed(state: State, call: Line["call"]): State | undefined {
  const version = state.version + 1;
  if (call.kind === "begin") {
    return state.version === 0 ? { ...state, version: call.version, value: call.value } : undefined;
  }
  if (state.version === 0 || state.ended) return undefined;
  if (call.kind === "resume") return { ...state, version };
  if (call.from !== state.version) return undefined;
  if (call.kind === "advance") return { ...state, version, value: call.value };
  if (call.kind === "place") return { ...state, version, placed: true };
  return { ...state, version, ended: true };
}

/**
 * Reports whether a retry of a served call may be told that its response is gone: only after another call advanced
 * from its version.
 */
function wasOvertaken({ call, outcome, end }: Line, all: readonly Line[]): boolean {
  if (!("from" in call) || outcome.kind !== "refused") return false;
  const from = call.from + 1;
  return all.some(
    (other) =>
      other.outcome.kind !== "refused" &&
      other.start < end &&
      (other.call.kind === "resume" || ("from" in other.call && other.call.from === from)),
  );
}

function mayRefuse(state: State, call: Line["call"], reason: string): boolean {
  switch (reason) {
    case "WAYBILL_STALE":
      return "from" in call && state.version > call.from && !state.ended;
    case "WAYBILL_ENDED":
    case "SESSION_NOT_FOUND":
      return state.ended;
    // Errors that depend on the waybill alone; they have no effect.
    case "QUOTE_MISSING":
    case "CHECKOUT_PLACED":
      return true;
    // A conflict with another call; no effect.
    case "CONFLICT":
      return call.kind === "resume";
    default:
      return false;
  }
}

function explain(lines: readonly Line[], orders: number | undefined): string {
  const told = [...lines]
    .sort((a, b) => a.start - b.start)
    .map(({ client, call, outcome, start, end }) => {
      const times = `${start.toFixed(1)}–${end.toFixed(1)}`;
      return `  ${client} ${times} ${JSON.stringify(call)} → ${JSON.stringify(outcome)}`;
    });
  return `no order of these calls explains their answers (${orders ?? "?"} orders found):\n${told.join("\n")}`;
}
