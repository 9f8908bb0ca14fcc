import { describe, expect, test } from "vitest";
import type { Call, Line, Outcome } from "./history.ts";
import { faultsOf } from "./linearizable.ts";

/** A history of one session, which has begun at 0; each call with its times. */
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

describe("a history is believed", () => {
  test("in which one of two at once wins", () => {
    expect(
      faults([
        [2, 9, advance(1, "x"), ok(2)],
        [3, 8, advance(1, "y"), stale],
      ]),
    ).toBe(0);
  });
  test("in which what is unknown happened, later than anybody waited", () => {
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
  test("in which an order is there whose placing is unknown, and in which it is not", () => {
    expect(faults([[2, 3, place(1), unknown]], 1)).toBe(0);
    expect(faults([[2, 3, place(1), unknown]], 0)).toBe(0);
  });
  test("in which a call that happened is stale when it is made again, for another went on", () => {
    const served: Outcome = { kind: "refused", reason: "WAYBILL_STALE", served: true };
    const calls: Parameters<typeof faults>[0] = [[2, 9, advance(1, "x"), served]];
    expect(faults([...calls, [4, 5, resume, ok(3, "x")]])).toBe(0);
    // Who is told that it was served is not to see it undone.
    expect(faults([...calls, [4, 5, resume, ok(2, "0")]])).toBe(1);
    // Nobody went on: it was to be answered as the first time.
    expect(faults(calls)).toBe(1);
    expect(faults([...calls, [10, 11, resume, ok(3, "x")]])).toBe(1);
  });
  test("in which a resume was made twice, because another call went on between its attempts", () => {
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

describe("a history is refuted", () => {
  test("in which two win", () => {
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
  test("in which what was refused has happened", () => {
    expect(
      faults([
        [2, 3, advance(1, "x"), stale],
        [4, 5, resume, ok(3, "x")],
      ]),
    ).toBe(1);
    expect(faults([[2, 3, advance(1, "x"), stale]])).toBe(1);
  });
  test("in which something happened before it was asked for", () => {
    expect(
      faults([
        [2, 3, resume, ok(3, "x")],
        [4, 5, advance(1, "x"), ok(2)],
      ]),
    ).toBe(1);
  });
  test("in which an acknowledged order is not there, is there twice, or was refused", () => {
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
  test("in which a resume did more than that", () => {
    expect(
      faults([
        [2, 9, resume, ok(6, "0")],
        [3, 8, resume, ok(3, "0")],
      ]),
    ).toBe(1);
    // Not once it was answered.
    expect(
      faults([
        [2, 3, resume, ok(2, "0")],
        [4, 5, resume, ok(5, "0")],
      ]),
    ).toBe(1);
  });
  test("with an answer that no promise allows for", () => {
    expect(faults([[2, 3, advance(1, "x"), { kind: "refused", reason: "INTERNAL" }]])).toBe(1);
  });
});

describe("many calls of unknown outcome, and the search still ends", () => {
  const resumes = Array.from({ length: 16 }, (_, index): [number, number, Call, Outcome] => [
    2 + index,
    3 + index,
    resume,
    unknown,
  ]);
  test("resumes, each of which may have been done twice", () => {
    // And the last one once before it was answered.
    const last = (version: number) => faults([...resumes, [20, 21, resume, ok(version, "0")]]);
    expect(last(35)).toBe(0);
    expect(last(36)).toBe(1);
  });
  test("advances, each of which may have been the one that went on", () => {
    const rivals = Array.from({ length: 12 }, (_, index): [number, number, Call, Outcome][] => [
      [2 + index, 3 + index, advance(1 + index, `x${index}`), unknown],
      [2 + index, 3 + index, advance(1 + index, `y${index}`), unknown],
    ]).flat();
    expect(faults([...rivals, [20, 21, resume, ok(14, "y11")]])).toBe(0);
    expect(faults([...rivals, ...resumes, [20, 21, resume, ok(14, "z")]])).toBe(1);
  });
});
