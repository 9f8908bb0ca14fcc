import { beforeEach, expect, test } from "vitest";
import { SessionState } from "../../proto/gen/waybill/session/v1/session.ts";
import { contract } from "../../test/support/clients.ts";
import { makeRingSource } from "../../test/support/rings.ts";
import type { Call } from "../server/call.ts";
import { Sessions } from "../waybill/sessions.ts";
import { SessionCalls } from "./sessionCalls.ts";

const RESUME = contract.method("/waybill.session.v1.SessionService/ResumeSession");
const START = Date.UTC(2026, 0, 1);
const ADA = { subject: "users/ada", client: "app", epoch: 1 };
const calledBy = (token: typeof ADA) => ({ caller: { token } }) as unknown as Call;

let now: number;
const sessions = new Sessions(RESUME.session!, SessionState, makeRingSource("session"), {
  now: () => now,
});
const calls = new SessionCalls(RESUME, sessions, {});
beforeEach(() => {
  now = START;
});

/** A checkpoint of a session that began at the start. */
function checkpoint() {
  const session = sessions.begin(ADA);
  session.checkpointEvery = 3;
  session.state = { value: { $case: "json", value: { at: 1 } } };
  return sessions.successor(session, sessions.encode(session.state));
}

test("a checkpoint goes on as a new session of the caller's, for as long as the old one would have", async () => {
  const kept = checkpoint();
  // Long after it has idled out: nobody knows when the session was used last.
  now = START + 3 * 3600_000;
  const { session } = await calls.continueFrom(kept, calledBy({ ...ADA, client: "another" }));
  expect(session).toMatchObject({
    version: 0,
    anchored: false,
    checkpointEvery: 3,
    state: { value: { value: { at: 1 } } },
    expiresAt: Number(kept.expiresAt) * 1000,
    idleExpiresAt: now + RESUME.session!.idleS * 1000,
    envelope: { subject: "users/ada", client: "another" },
  });
  expect(session.envelope.sessionId).not.toEqual(kept.sessionId);
});

test("it idles out no later than it ends, and after that nothing goes on", async () => {
  const kept = checkpoint();
  const end = Number(kept.expiresAt) * 1000;
  now = end - 5000;
  const { session } = await calls.continueFrom(kept, calledBy(ADA));
  expect([session.idleExpiresAt, session.expiresAt]).toEqual([end, end]);
  now = end;
  await expect(calls.continueFrom(kept, calledBy(ADA))).rejects.toMatchObject({
    reason: "WAYBILL_EXPIRED",
  });
});

test("another subject's is not found", async () => {
  const stranger = calledBy({ ...ADA, subject: "users/eve" });
  await expect(calls.continueFrom(checkpoint(), stranger)).rejects.toMatchObject({
    reason: "SESSION_NOT_FOUND",
  });
});
