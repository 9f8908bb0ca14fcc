import { describe, expect, test } from "vitest";
import type { Call, Line, Outcome } from "./history.ts";
import { faultsOf } from "./linearizable.ts";

/** A history of one session that began at 0; each call has its times. */
function faults(
  calls: [start: number, end: number, call: Call, outcome: Outcome][],
  orders?: number,
): number {
  const begin: Line = {
    client: "a",
    session: "s",
    call: { kind: "begin", version: 1, value: "0" },
    start: 0,
    end: 1,
    outcome: { kind: "ok", version: 1 },
  };
  const lines = calls.map(([start, end, call, outcome]) => ({
    client: "a",
    session: "s",
    call,
    start,
    end,
    outcome,
  }));
  const final = orders === undefined ? undefined : { orders: Array(orders).fill("s") };
  return faultsOf({ lines: [begin, ...lines], final }).length;
}
const advance = (from: number, value: string): Call => ({ kind: "advance", from, value });
const place = (from: number): Call => ({ kind: "place", from });
const resume: Call = { kind: "resume" };
const ok = (version: number, value?: string): Outcome =>
  value === undefined ? { kind: "ok", version } : { kind: "ok", version, value };
const stale: Outcome = { kind: "refused", reason: "WAYBILL_STALE" };
const ended: Outcome = { kind: "refused", reason: "WAYBILL_ENDED" };
const unknown: Outcome = { kind: "unknown" };

describe("accepts a history", () => {
  test("in which one of two concurrent calls wins", () => {
    expect(
      faults([
        [2, 9, advance(1, "x"), ok(2)],
        [3, 8, advance(1, "y"), stale],
      ]),
    ).toBe(0);
  });
  test("in which an unknown outcome happened later", () => {
    expect(
      faults([
        [2, 3, advance(1, "x"), unknown],
        [4, 5, resume, ok(2, "0")],
        [6, 7, advance(2, "y"), ok(3)],
      ]),
    ).toBe(0);
    expect(
      faults([
        [2, 3, advance(1, "x"), unknown],
        [4, 5, resume, ok(3, "x")],
      ]),
    ).toBe(0);
  });
  test("in which an order's outcome is unknown", () => {
    expect(faults([[2, 3, place(1), unknown]], 1)).toBe(0);
    expect(faults([[2, 3, place(1), unknown]], 0)).toBe(0);
  });
  test("in which a retry is stale after an advance", () => {
    const served: Outcome = { kind: "refused", reason: "WAYBILL_STALE", served: true };
    const calls: Parameters<typeof faults>[0] = [[2, 9, advance(1, "x"), served]];
    expect(faults([...calls, [4, 5, resume, ok(3, "x")]])).toBe(0);
    // A call that was told "served" must not be undone later.
    expect(faults([...calls, [4, 5, resume, ok(2, "0")]])).toBe(1);
    // No other call advanced, so the retry must get its saved response.
    expect(faults(calls)).toBe(1);
    expect(faults([...calls, [10, 11, resume, ok(3, "x")]])).toBe(1);
  });
  test("in which a resume happened twice around another call", () => {
    expect(
      faults([
        [2, 9, resume, ok(4, "0")],
        [3, 8, resume, ok(3, "0")],
      ]),
    ).toBe(0);
    expect(
      faults([
        [2, 9, resume, ok(4, "x")],
        [5, 6, advance(2, "x"), ok(3)],
      ]),
    ).toBe(0);
  });
  test("in which a session ends", () => {
    expect(
      faults(
        [
          [2, 3, { kind: "end", from: 1 }, ok(2)],
          [4, 5, place(1), ended],
        ],
        0,
      ),
    ).toBe(0);
  });
});

describe("refutes a history", () => {
  test("in which two concurrent calls win", () => {
    expect(
      faults([
        [2, 9, advance(1, "x"), ok(2)],
        [3, 8, advance(1, "y"), ok(2)],
      ]),
    ).toBe(1);
  });
  test("in which an update is lost", () => {
    expect(
      faults([
        [2, 3, advance(1, "x"), ok(2)],
        [4, 5, resume, ok(3, "0")],
      ]),
    ).toBe(1);
  });
  test("in which a refused call took effect", () => {
    expect(
      faults([
        [2, 3, advance(1, "x"), stale],
        [4, 5, resume, ok(3, "x")],
      ]),
    ).toBe(1);
    expect(faults([[2, 3, advance(1, "x"), stale]])).toBe(1);
  });
  test("in which an effect precedes its call", () => {
    expect(
      faults([
        [2, 3, resume, ok(3, "x")],
        [4, 5, advance(1, "x"), ok(2)],
      ]),
    ).toBe(1);
  });
  test("in which an order is missing or duplicate", () => {
    expect(faults([[2, 3, place(1), ok(2)]], 0)).toBe(1);
    expect(faults([[2, 3, place(1), ok(2)]], 2)).toBe(1);
    expect(
      faults(
        [
          [2, 9, advance(1, "x"), ok(2)],
          [3, 8, place(1), stale],
        ],
        1,
      ),
    ).toBe(1);
  });
  test("in which a session is written after its end", () => {
    expect(
      faults([
        [2, 3, { kind: "end", from: 1 }, ok(2)],
        [4, 5, advance(2, "x"), ok(3)],
      ]),
    ).toBe(1);
  });
  test("in which a resume changed the state", () => {
    expect(
      faults([
        [2, 9, resume, ok(6, "0")],
        [3, 8, resume, ok(3, "0")],
      ]),
    ).toBe(1);
    // Not after its response.
    expect(
      faults([
        [2, 3, resume, ok(2, "0")],
        [4, 5, resume, ok(5, "0")],
      ]),
    ).toBe(1);
  });
  test("with a response that no guarantee permits", () => {
    expect(faults([[2, 3, advance(1, "x"), { kind: "refused", reason: "INTERNAL" }]])).toBe(1);
  });
});

describe("ends its search of many unknown outcomes", () => {
  const resumes = Array.from({ length: 16 }, (_, index): [number, number, Call, Outcome] => [
    2 + index,
    3 + index,
    resume,
    unknown,
  ]);
  test("of resumes that may each have happened twice", () => {
    // The last one, too, once before its response.
    const last = (version: number) => faults([...resumes, [20, 21, resume, ok(version, "0")]]);
    expect(last(35)).toBe(0);
    expect(last(36)).toBe(1);
  });
  test("of advances that may each have won", () => {
    const rivals = Array.from({ length: 12 }, (_, index): [number, number, Call, Outcome][] => [
      [2 + index, 3 + index, advance(1 + index, `x${index}`), unknown],
      [2 + index, 3 + index, advance(1 + index, `y${index}`), unknown],
    ]).flat();
    expect(faults([...rivals, [20, 21, resume, ok(14, "y11")]])).toBe(0);
    expect(faults([...rivals, ...resumes, [20, 21, resume, ok(14, "z")]])).toBe(1);
  });
});
