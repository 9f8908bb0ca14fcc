/** What a list says of a session. */
export interface Entry {
  /** UUIDv7 in text form. */
  readonly id: string;
  readonly subject: string;
  /** When it ends at the latest: milliseconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** Where an owner's sessions are listed, so that he can find them and end them. */
export interface Directory {
  /** Settles when the session is in the list. */
  register(entry: Entry): Promise<void>;
}
