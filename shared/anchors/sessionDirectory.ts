/** A session in its owner's list. */
export interface Entry {
  /** UUIDv7 in text form. */
  readonly id: string;
  readonly subject: string;
  /** Its expiry, in milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** Lists the sessions of each owner, who can find and end them. */
export interface Directory {
  /** Adds a session to its owner's list. */
  register(entry: Entry): Promise<void>;
}
