import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import {
  type OpenSessionResponse,
  SessionServiceService,
  SessionState,
} from "../../proto/gen/waybill/session/v1/session.ts";
import { contract } from "../../test/support/clients.ts";
import { makeRingSource } from "../../test/support/rings.ts";
import { Call } from "../server/call.ts";
import { receive, toField, toMetadataValue } from "../waybill/carriers.ts";
import type { Sealed } from "../waybill/jwe.ts";
import type { Session } from "../waybill/session.ts";
import { Sessions } from "../waybill/sessions.ts";
import { withSession } from "./engine.ts";

const IDLE_MS = 1800 * 1000;
const state = (text: string): SessionState => ({ value: { $case: "json", value: { text } } });
const refused = (reason: string) => expect.objectContaining({ reason });

function setUp() {
  const clock = { now: 1_800_000_000_000 };
  const methodOf = (name: string) => contract.method(`/waybill.session.v1.SessionService/${name}`);
  const session = { ...methodOf("OpenSession").session!, mode: "carried" as const };
  const sessions = new Sessions(session, SessionState, makeRingSource("session"), {
    now: () => clock.now,
  });
  const sealed = (subject?: string) =>
    sessions.seal(
      sessions.successor(sessions.begin(undefined, subject), sessions.encode(state("first"))),
    );

  /** Makes a call of a method, with a waybill in the metadata or in the message. */
  const call = async (
    name: string,
    carried: { metadata?: Sealed; message?: Sealed },
    handle: (session: Session<SessionState>) => void = () => {},
  ) => {
    const metadata = new Metadata();
    if (carried.metadata) metadata.set("waybill", toMetadataValue(carried.metadata));
    let sent = new Metadata();
    const sendMetadata = (initial: Metadata) => {
      sent = initial;
    };
    const grpcCall = { metadata, sendMetadata, getDeadline: () => Number.POSITIVE_INFINITY };
    const made = new Call(methodOf(name).path, grpcCall as never);
    const waybill = carried.message && toField(carried.message);
    let seen: Session<SessionState> | undefined;
    const handler = withSession<SessionState>(
      methodOf(name),
      SessionServiceService.openSession,
      async (_request, { opened }) => {
        seen = opened as Session<SessionState>;
        handle(seen);
        return { waybill: undefined };
      },
      sessions,
      {},
    );
    const response = await handler({ waybill }, made);
    made.sendReply();
    const inMetadata = sent.get("waybill");
    const inMessage = (response as OpenSessionResponse).waybill;
    const read = async (sent: { metadata: Metadata; field?: typeof inMessage }) => {
      const { sealed: successor } = receive(sent.metadata, sent.field);
      return successor && (await sessions.open(successor));
    };
    return {
      seen: seen!,
      text: inMetadata[0]?.toString(),
      metadata: inMetadata.length > 0 ? await read({ metadata: sent }) : undefined,
      message: inMessage && (await read({ metadata: new Metadata(), field: inMessage })),
    };
  };
  return { clock, session, methodOf, sessions, sealed, call };
}

const textOf = (session: { state: SessionState } | undefined) =>
  session?.state.value?.$case === "json" ? session.state.value.value?.["text"] : undefined;

test("BEGIN answers version 1 of what the handler has made of an empty state", async () => {
  const { call } = setUp();
  const begun = await call("BeginSession", {}, (session) => {
    session.state = state("begun");
  });
  expect(begun.seen.version).toBe(0);
  expect(begun.metadata).toMatchObject({ id: begun.seen.id, version: 1 });
  expect(textOf(begun.metadata)).toBe("begun");
});

test("BEGIN with an earlier waybill keeps its subject, not its session", async () => {
  const { call, sealed } = setUp();
  const begun = await call("BeginSession", { metadata: sealed("anonymous/me") });
  expect(begun.metadata).toMatchObject({ subject: "anonymous/me", version: 1 });
  expect(textOf(begun.metadata)).toBeUndefined();
});

test("BEGIN with an expired waybill begins anew, with one that is none it is refused", async () => {
  const { call, sealed, clock } = setUp();
  const metadata = sealed("anonymous/me");
  clock.now += IDLE_MS;
  const { seen } = await call("BeginSession", { metadata });
  expect(seen.subject).toBe(`anonymous/${seen.id}`);
  const bad = { ...sealed(), tag: Buffer.alloc(16) };
  await expect(call("BeginSession", { metadata: bad })).rejects.toThrow(refused("WAYBILL_INVALID"));
});

test.each(["OpenSession", "AdvanceSession", "EndSession"])(
  "%s without a waybill, or with an expired one, is refused before its handler",
  async (name) => {
    const { call, sealed, clock } = setUp();
    const metadata = sealed();
    const fail = () => expect.unreachable();
    await expect(call(name, {}, fail)).rejects.toThrow(refused("WAYBILL_MISSING"));
    clock.now += IDLE_MS;
    await expect(call(name, { metadata }, fail)).rejects.toThrow(refused("WAYBILL_EXPIRED"));
  },
);

test("READ answers no waybill, whatever its handler does to the state", async () => {
  const { call, sealed } = setUp();
  const read = await call("OpenSession", { metadata: sealed() }, (session) => {
    session.state = state("changed");
  });
  expect(read.text).toBeUndefined();
});

test("READ of an aging waybill answers the same version anew, as it was sealed", async () => {
  const { call, sealed, clock } = setUp();
  const metadata = sealed();
  clock.now += IDLE_MS / 2 + 1000;
  const read = await call("OpenSession", { metadata }, (session) => {
    session.state = state("changed");
  });
  expect(read.metadata).toMatchObject({ version: 1, idleExpiresAt: clock.now + IDLE_MS });
  expect(textOf(read.metadata)).toBe("first");
});

test("ADVANCE answers the next version of a changed state, and nothing for an unchanged one", async () => {
  const { call, sealed } = setUp();
  const metadata = sealed();
  const put = await call("AdvanceSession", { metadata }, (session) => {
    session.state = state("second");
  });
  expect(put.metadata).toMatchObject({ id: put.seen.id, version: 2 });
  expect(textOf(put.metadata)).toBe("second");
  const edited = await call("AdvanceSession", { metadata }, (session) => {
    if (session.state.value?.$case === "json") session.state.value.value = { text: "in place" };
  });
  expect(edited.metadata?.version).toBe(2);
  expect(textOf(edited.metadata)).toBe("in place");
  expect((await call("AdvanceSession", { metadata })).text).toBeUndefined();
});

test("ADVANCE of an aging waybill that changes nothing answers the same version anew", async () => {
  const { call, sealed, clock } = setUp();
  const metadata = sealed();
  clock.now += IDLE_MS / 2 + 1000;
  const { metadata: renewed } = await call("AdvanceSession", { metadata });
  expect(renewed).toMatchObject({ version: 1, idleExpiresAt: clock.now + IDLE_MS });
  expect(textOf(renewed)).toBe("first");
});

test("END tells the caller to drop its waybill", async () => {
  const { call, sealed } = setUp();
  const metadata = sealed();
  const change = (session: Session<SessionState>) => {
    session.state = state("changed");
  };
  expect((await call("EndSession", { metadata }, change)).text).toBe("");
});

test("a waybill that came in the message is answered there, one in the metadata there", async () => {
  const { call, sealed } = setUp();
  const change = (session: Session<SessionState>) => {
    session.state = state("second");
  };
  const byMessage = await call("AdvanceSession", { message: sealed() }, change);
  expect(byMessage.message?.version).toBe(2);
  expect(byMessage.text).toBeUndefined();
  const byMetadata = await call("AdvanceSession", { metadata: sealed() }, change);
  expect(byMetadata.metadata?.version).toBe(2);
  expect(byMetadata.message).toBeUndefined();
});

test("a handler that fails leaves no waybill behind", async () => {
  const { call, sealed } = setUp();
  const fail = () => {
    throw new Error("failed");
  };
  await expect(call("AdvanceSession", { metadata: sealed() }, fail)).rejects.toThrow("failed");
});

test.each([
  ["OpenSession", { mode: "anchored" }, "its sessions are anchored: give an anchorage"],
  ["OpenSession", { checkpointEvery: 3 }, "its sessions can be resumed: give checkpoints"],
  ["ResumeSession", {}, "its sessions can be resumed: give checkpoints"],
] as const)("%s with %o is refused at the start without its parts", (name, changes, words) => {
  const { methodOf, session } = setUp();
  const sessions = new Sessions(
    { ...session, ...changes },
    SessionState,
    makeRingSource("session"),
  );
  const { openSession } = SessionServiceService;
  const start = () => withSession(methodOf(name), openSession, async () => ({}), sessions, {});
  expect(start).toThrow(`/waybill.session.v1.SessionService/${name}: ${words}`);
});
