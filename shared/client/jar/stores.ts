import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Where a jar keeps its waybills, by audience and session's name (`checkout/default`), and, at
 * `sign-in/tokens`, the tokens of the signed-in user. Protect it like a password.
 */
export interface Store {
  get(key: string): string | undefined;
  set(key: string, value: string): void;
  delete(key: string): void;
}

/** Keeps waybills as long as the program runs. */
export class MemoryStore implements Store {
  readonly #waybills = new Map<string, string>();

  get(key: string): string | undefined {
    return this.#waybills.get(key);
  }

  set(key: string, waybill: string): void {
    this.#waybills.set(key, waybill);
  }

  delete(key: string): void {
    this.#waybills.delete(key);
  }
}

/**
 * Keeps waybills in a JSON file that only its owner can read, replaced as a whole with each change.
 * One program at a time: two that share a file overwrite each other's waybills.
 */
export class FileStore implements Store {
  readonly #file: string;
  readonly #waybills: Map<string, string>;

  /** @throws Error naming the file when it is there, but is not a store */
  constructor(file: string) {
    this.#file = file;
    this.#waybills = new Map(Object.entries(read(file)));
  }

  get(key: string): string | undefined {
    return this.#waybills.get(key);
  }

  set(key: string, waybill: string): void {
    this.#waybills.set(key, waybill);
    this.#write();
  }

  delete(key: string): void {
    if (this.#waybills.delete(key)) this.#write();
  }

  #write(): void {
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    const temporary = `${this.#file}.${randomUUID()}`;
    writeFileSync(temporary, JSON.stringify(Object.fromEntries(this.#waybills)), { mode: 0o600 });
    renameSync(temporary, this.#file);
  }
}

function read(file: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw error;
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new Error(`${file} is not a store of waybills: remove it to start anew`, { cause });
  }
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    throw new Error(`${file} is not a store of waybills: remove it to start anew`);
  }
  return content as Record<string, string>;
}
