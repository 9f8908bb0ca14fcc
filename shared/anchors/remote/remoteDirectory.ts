import { DirectoryServiceService } from "../../../proto/gen/waybill/session/v1/directory.ts";
import type { Assertions } from "../../auth/assertions.ts";
import { type ClientOptions, createClient, type ServiceClient } from "../../client/client.ts";
import { uuidToBytes } from "../../runtime/uuid.ts";
import type { Directory, Entry } from "../sessionDirectory.ts";
import { sessionsUnavailable } from "./sessionsUnavailable.ts";

/** The directory of sessions, where the session service keeps it. */
export class RemoteDirectory implements Directory {
  readonly #client: ServiceClient<typeof DirectoryServiceService>;
  readonly #assertions: Assertions;

  /** @param target gRPC target of the session service */
  constructor(target: string, client: ClientOptions, assertions: Assertions) {
    this.#client = createClient(DirectoryServiceService, target, client);
    this.#assertions = assertions;
  }

  /** @throws StatusError SESSIONS_UNAVAILABLE */
  async register({ id, subject, expiresAt }: Entry): Promise<void> {
    const metadata = await this.#assertions.to(DirectoryServiceService.registerSession);
    const entry = { sessionId: uuidToBytes(id), subject, expireTime: new Date(expiresAt) };
    await this.#client.registerSession(entry, { metadata }).catch((error) => {
      throw sessionsUnavailable(error);
    });
  }

  close(): void {
    this.#client.close();
  }
}
