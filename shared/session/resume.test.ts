import { beforeEach, expect, test } from "vitest";
import { SessionState } from "../../proto/gen/waybill/session/v1/session.ts";
import { contract } from "../../test/support/clients.ts";
import { makeRingSource } from "../../test/support/rings.ts";
import type { Call } from "../server/call.ts";
import { Sessions } from "../waybill/sessions.ts";
import { MethodSessions } from "./methodSessions.ts";
import { continueFrom } from "./resume.ts";

const RESUME = contract.method("/waybill.session.v1.SessionService/ResumeSession");
const START = Date.UTC(2026, 0, 1);
const ADA = { subject: "users/ada", client: "app", epoch: 1 };
const calledBy = (token: typeof ADA) => ({ caller: { token } }) as unknown as Call;

let now: number;
const sessions = new Sessions(RESUME.session!, SessionState, makeRingSource("session"), {
  now: () => now,
});
const calls = new MethodSessions(RESUME, sessions, {});
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

test("continues a checkpoint as a new session that ends no later than the old one", async () => {
  const kept = checkpoint();
  // Long after it has idled out: nothing records when the session was last used.
  now = START + 3 * 3600_000;
  const { session } = await continueFrom(calls, kept, calledBy({ ...ADA, client: "another" }));
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

test("refuses a checkpoint of an expired session", async () => {
  const kept = checkpoint();
  const end = Number(kept.expiresAt) * 1000;
  now = end - 5000;
  const { session } = await continueFrom(calls, kept, calledBy(ADA));
  expect([session.idleExpiresAt, session.expiresAt]).toEqual([end, end]);
  now = end;
  await expect(continueFrom(calls, kept, calledBy(ADA))).rejects.toMatchObject({
    reason: "WAYBILL_EXPIRED",
  });
});

test("does not find the checkpoint of another subject", async () => {
  const stranger = calledBy({ ...ADA, subject: "users/eve" });
  await expect(continueFrom(calls, checkpoint(), stranger)).rejects.toMatchObject({
    reason: "SESSION_NOT_FOUND",
  });
});
