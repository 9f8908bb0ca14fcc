const NAME = /^sessions\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

/** The id in a session's resource name, `sessions/{uuid}`. Undefined: it is none. */
export function sessionIdOf(name: string): string | undefined {
  return NAME.exec(name)?.[1];
}
