import { createReadStream, createWriteStream, type WriteStream } from "node:fs";
import { createInterface } from "node:readline";

/** What a client asked for. */
export type Call =
  /** Begins a session, and takes it to a version by itself. */
  | { readonly kind: "begin"; readonly version: number; readonly value: string }
  /** Writes a value, with the waybill of a version. */
  | { readonly kind: "advance"; readonly from: number; readonly value: string }
  /** Takes the session up where it stands. */
  | { readonly kind: "resume" }
  /** Places the session's order, with the waybill of a version. */
  | { readonly kind: "place"; readonly from: number }
  | { readonly kind: "end"; readonly from: number };

/** What it was told. Of a call that nobody answered in the end, nobody knows whether it happened. */
export type Outcome =
  | {
      readonly kind: "ok";
      readonly version?: number;
      readonly value?: string;
      readonly order?: string;
    }
  /** `served`: it is told that it was served before, and its answer is gone. */
  | { readonly kind: "refused"; readonly reason: string; readonly served?: boolean }
  | { readonly kind: "unknown" };

/** One logical call of a client, however many attempts it took: a line of a history. */
export interface Line {
  readonly client: string;
  readonly session: string;
  readonly call: Call;
  /** By one monotonic clock, in ms. */
  readonly start: number;
  readonly end: number;
  readonly outcome: Outcome;
}

/** What the database held when all was over: the last line of a history. */
export interface Final {
  /** The sessions that an order was found for, once for each order. */
  readonly orders: readonly string[];
}

export interface History {
  readonly lines: readonly Line[];
  readonly final: Final | undefined;
}

/** Writes a history to a file of JSON lines. */
export class HistoryWriter {
  readonly #file: WriteStream;

  constructor(file: string) {
    this.#file = createWriteStream(file, { mode: 0o600 });
  }

  write(line: Line | Final): void {
    this.#file.write(`${JSON.stringify(line)}\n`);
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#file.end(resolve));
  }
}

/** @throws Error naming the line that is none */
export async function readHistory(file: string): Promise<History> {
  const lines: Line[] = [];
  let final: Final | undefined;
  let number = 0;
  for await (const text of createInterface({ input: createReadStream(file) })) {
    number += 1;
    let line: Line | Final;
    try {
      line = JSON.parse(text) as Line | Final;
    } catch (cause) {
      throw new Error(`${file}:${number}: not JSON`, { cause });
    }
    if ("orders" in line) final = line;
    else lines.push(line);
  }
  return { lines, final };
}
