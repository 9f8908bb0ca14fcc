import { type Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { AnchorServiceService, Outcome } from "../../../proto/gen/waybill/session/v1/anchors.ts";
import type { Assertions } from "../../auth/assertions.ts";
import { type ClientOptions, createClient, type ServiceClient } from "../../client/client.ts";
import { Errors, StatusError } from "../../errors.ts";
import { GroupCommit } from "../../pg/groupCommit.ts";
import { uuidToBytes } from "../../runtime/uuid.ts";
import type {
  AnchorStore,
  FirstVersion,
  NextVersion,
  RequestIdentity,
  Version,
} from "../anchorStore.ts";
import { beginningOf, callOf, moveOf } from "../rows.ts";
import type { Move } from "../sql/advanceAnchors.ts";
import type { Beginning } from "../sql/insertAnchors.ts";
import type { AnchorRow } from "../sql/readAnchor.ts";
import type { SavedResponseRow } from "../sql/readSavedResponses.ts";
import { sessionsUnavailable } from "./sessionsUnavailable.ts";

/** Most sessions in one message: with their saved responses they stay below the limit of a message. */
const MAX_GROUP = 32;

type Client = ServiceClient<typeof AnchorServiceService>;

/**
 * The anchors of a service without a Postgres of its own, which the session service stores (ANCHOR_SESSION).
 * It groups the advances of many sessions in one call; the session service puts those of all replicas in one
 * group commit.
 */
export class RemoteAnchors implements AnchorStore {
  readonly #client: Client;
  readonly #assertions: Assertions;
  readonly #beginnings: GroupCommit<Beginning & { expireTime: Date }, Outcome>;
  readonly #moves: GroupCommit<Move, Outcome>;

  /**
   * @param target gRPC target of the session service
   * @param assertions of the sessions' service
   * @param replica name of this replica, recorded with each advance
   */
  constructor(target: string, client: ClientOptions, assertions: Assertions, replica: string) {
    this.#client = createClient(AnchorServiceService, target, client);
    this.#assertions = assertions;
    this.#beginnings = new GroupCommit(
      async (rows) => {
        const beginnings = rows.map((row) => ({ ...row, sessionId: uuidToBytes(row.sessionId) }));
        return (await this.#call("beginAnchors", { replica, beginnings })).outcomes;
      },
      MAX_GROUP,
      isForAll,
    );
    this.#moves = new GroupCommit(
      async (rows) => {
        const moves = rows.map(({ isSaved, ...row }) => ({
          ...row,
          kept: isSaved,
          sessionId: uuidToBytes(row.sessionId),
        }));
        return (await this.#call("advanceAnchors", { replica, moves })).outcomes;
      },
      MAX_GROUP,
      isForAll,
    );
  }

  /** @throws StatusError SESSIONS_UNAVAILABLE, as every method */
  async create(first: FirstVersion): Promise<void> {
    const expireTime = new Date(first.expiresAt);
    assertKnown(await this.#beginnings.add({ ...beginningOf(first), expireTime }));
  }

  async advance(from: Version, next: NextVersion): Promise<boolean> {
    const outcome = await this.#moves.add(moveOf(from, next));
    assertKnown(outcome);
    return outcome === Outcome.OUTCOME_DONE;
  }

  async read(sessionId: string): Promise<AnchorRow | undefined> {
    const request = { sessionId: uuidToBytes(sessionId) };
    return (await this.#call("getAnchor", request)).anchor;
  }

  /** Never called: this store has no transactions. */
  lock(): Promise<AnchorRow | undefined> {
    return Promise.reject(new Error("the session service does not lock anchors"));
  }

  async wasServed(from: Version, identity: RequestIdentity): Promise<boolean> {
    const request = { sessionId: uuidToBytes(from.sessionId), version: from.version + 1 };
    return (await this.#call("getAdvance", request)).call.equals(callOf(from, identity));
  }

  async savedAfter(sessionId: string, version: number, limit: number): Promise<SavedResponseRow[]> {
    const request = { sessionId: uuidToBytes(sessionId), version, limit };
    return (await this.#call("listSavedResponses", request)).answers;
  }

  close(): void {
    this.#client.close();
  }

  async #call<Name extends keyof typeof AnchorServiceService>(
    name: Name,
    request: Parameters<Client[Name]>[0],
  ): Promise<Awaited<ReturnType<Client[Name]>>> {
    const metadata = await this.#assertions.to(AnchorServiceService[name]);
    const method = this.#client[name] as (
      request: unknown,
      settings: { metadata: Metadata },
    ) => ReturnType<Client[Name]>;
    try {
      return await method(request, { metadata });
    } catch (error) {
      throw sessionsUnavailable(error);
    }
  }
}

/** Returns whether an error applies to each item of a group: a group that was too large is split. */
function isForAll(error: unknown): boolean {
  if (!(error instanceof StatusError)) return false;
  return (error.details.cause as ServiceError).code !== status.RESOURCE_EXHAUSTED;
}

function assertKnown(outcome: Outcome): void {
  if (outcome === Outcome.OUTCOME_DONE || outcome === Outcome.OUTCOME_ELSEWHERE) return;
  throw Errors.SESSIONS_UNAVAILABLE({
    cause: "the session service does not know whether the session advanced",
    retryAfterMs: 200,
  });
}
