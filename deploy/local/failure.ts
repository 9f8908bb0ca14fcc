/** What went wrong and the way out, for a person: printed without a stack. */
export class Failure extends Error {
  readonly exitCode: 1 | 2 | 3;

  /** @param exitCode 2 when the command's own words are off */
  constructor(message: string, exitCode: 1 | 2 | 3 = 1) {
    super(message);
    this.name = "Failure";
    this.exitCode = exitCode;
  }
}
