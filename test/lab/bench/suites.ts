import { anchors } from "./anchors.ts";
import type { Suite } from "./bench.ts";
import { cache } from "./cache.ts";
import { call } from "./call.ts";
import { calls } from "./calls.ts";
import { latency } from "./latency.ts";
import { memory } from "./memory.ts";
import { revocation } from "./revocation.ts";
import { scale } from "./scale.ts";
import { sessions } from "./sessions.ts";
import { size } from "./size.ts";
import { start } from "./start.ts";
import { tokens } from "./tokens.ts";
import { transfer } from "./transfer.ts";
import { validation } from "./validation.ts";

/** All suites, in the order in which they run and are reported. */
export const SUITES: Readonly<Record<string, Suite>> = {
  call,
  latency,
  size,
  scale,
  memory,
  cache,
  start,
  transfer,
  validation,
  anchors,
  sessions,
  calls,
  tokens,
  revocation,
};
