import type { History, Line, Outcome } from "./history.ts";

/** A session, as one that does a call at a time would keep it. */
interface State {
  /** 0: not begun. */
  readonly version: number;
  readonly value: string;
  readonly ended: boolean;
  readonly placed: boolean;
}

const UNKNOWN: Outcome = { kind: "unknown" };
const NOTHING: State = { version: 0, value: "", ended: false, placed: false };

/** What is wrong with a history. */
export interface Fault {
  readonly session: string;
  readonly what: string;
}

/**
 * Proves that each session's calls can be put into one order that respects when they were made and
 * explains every answer (linearizability), and that each order is there exactly as often as that
 * order of calls has it. A call whose outcome is unknown may have happened at any time since, or not
 * at all.
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
 * The search of Wing and Gong, with Lowe's memory of where it has been: a call may come next when no
 * other one ended before it was made.
 *
 * Calls of unknown outcome make the search long, since each may have happened at any time or not at all. Two
 * things keep it short without losing a possible order: interchangeable resumes are tried in one order only,
 * and the memory leaves out calls that can no longer have an effect.
 *
 * @param placed whether an order was found in the end; undefined: nobody looked
 */
function isLinearizable(lines: readonly Line[], placed: boolean | undefined): boolean {
  const made = [...lines].sort((a, b) => a.start - b.start);
  // The front proxy makes a resume again whose replica died. When another call has gone on meanwhile,
  // there is no answer to give again, and it is one version more: that much a resume may do, and no
  // more, until it is answered.
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

/** A call in the search. */
interface Step extends Line {
  readonly bit: bigint;
  /** The bit of the call after which it cannot happen any more; 0: it always can. */
  readonly over: bigint;
}

const bitOf = (index: number) => 1n << BigInt(index);

function isUnknown({ outcome }: Line): boolean {
  return outcome.kind === "unknown";
}

/** It would have had to be done earlier. */
function isTooLate(state: State, { call }: Line): boolean {
  if (call.kind === "begin") return state.version > 0;
  return state.ended || ("from" in call && call.from < state.version);
}

/**
 * The calls to try next, of those that may come next. All resumes of unknown outcome have the same effect: one
 * version more. So one of those that stay possible is enough, and those that will not be possible later go first.
 */
function nextOf(possible: readonly Step[]): Step[] {
  const isSpare = (each: Step) => isUnknown(each) && each.call.kind === "resume";
  const spare = possible.filter(isSpare);
  const passing = spare.filter(({ over }) => over !== 0n);
  const tried = passing.length > 0 ? passing : spare.slice(0, 1);
  return [...possible.filter((each) => !isSpare(each)), ...tried];
}

/** The state after a call; undefined when the call could not have been answered so. */
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
 * Whether a call that was served could be told, when it was made again, that its answer is gone: only
 * once another one had gone on from what it made.
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
    // The service's own reasons, by what the waybill says: they do nothing.
    case "QUOTE_MISSING":
    case "CHECKOUT_PLACED":
      return true;
    // It met another call, and does nothing.
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
