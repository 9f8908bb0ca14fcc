import { type Logger, pino, stdSerializers } from "pino";

/**
 * A structured log, one JSON object a line, on stderr. Errors are written with their causes; what
 * could carry a token, a key or a state is cut out wherever it stands.
 */
export function createLog(level: string, bindings: Record<string, unknown> = {}): Logger {
  const secrets = [
    "waybill",
    "authorization",
    "key",
    "state",
    "jwe",
    "password",
    "metadata",
    "payload",
    // Postgres repeats a row's values there.
    "detail",
    "where",
  ];
  return pino(
    {
      level,
      base: { pid: process.pid, ...bindings },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: stdSerializers.errWithCause },
      redact: {
        paths: secrets.flatMap((name) => [
          name,
          `err.${name}`,
          `err.cause.${name}`,
          `err.cause.cause.${name}`,
          `err.details.cause.${name}`,
        ]),
        remove: true,
      },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
