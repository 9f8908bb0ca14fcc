import { createReadStream, createWriteStream, type WriteStream } from "node:fs";
import { createInterface } from "node:readline";

/** A client's request. */
export type Call =
  /** Begins a session and advances it to a version. */
  | { readonly kind: "begin"; readonly version: number; readonly value: string }
  /** Writes a value, with the waybill of a version. */
  | { readonly kind: "advance"; readonly from: number; readonly value: string }
  /** Resumes the session at its current version. */
  | { readonly kind: "resume" }
  /** Places the session's order, with the waybill of a version. */
  | { readonly kind: "place"; readonly from: number }
  | { readonly kind: "end"; readonly from: number };

/** The outcome of a call. "unknown": no attempt got a response, so the call may have happened or not. */
export type Outcome =
  | {
      readonly kind: "ok";
      readonly version?: number;
      readonly value?: string;
      readonly order?: string;
    }
  /** `served`: the error says that the call was served before and its response is gone. */
  | { readonly kind: "refused"; readonly reason: string; readonly served?: boolean }
  | { readonly kind: "unknown" };

/** One logical call of a client, including its retries: one line of a history. */
export interface Line {
  readonly client: string;
  readonly session: string;
  readonly call: Call;
  /** In ms, by one monotonic clock. */
  readonly start: number;
  readonly end: number;
  readonly outcome: Outcome;
}

/** The content of the database after the run: the last line of a history. */
export interface Final {
  /** The session of each order found. */
  readonly orders: readonly string[];
}

export interface History {
  readonly lines: readonly Line[];
  readonly final: Final | undefined;
}

/** Writes a history as JSON lines. */
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

/** @throws Error that names the invalid line */
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
