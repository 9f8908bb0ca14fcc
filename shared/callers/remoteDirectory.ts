import { DirectoryServiceService } from "../../proto/gen/waybill/session/v1/directory.ts";
import type { Directory, Entry } from "../anchors/directory.ts";
import { type ClientOptions, createClient, type ServiceClient } from "../grpc/client.ts";
import { uuidToBytes } from "../waybill/uuid.ts";
import type { Assertions } from "./assertions.ts";

/** The directory of sessions, where the session service keeps it. */
export class RemoteDirectory implements Directory {
  readonly #client: ServiceClient<typeof DirectoryServiceService>;
  readonly #assertions: Assertions;

  /** @param target gRPC target of the session service */
  constructor(target: string, client: ClientOptions, assertions: Assertions) {
    this.#client = createClient(DirectoryServiceService, target, client);
    this.#assertions = assertions;
  }

  async register({ id, subject, expiresAt }: Entry): Promise<void> {
    const metadata = await this.#assertions.to(DirectoryServiceService.registerSession);
    await this.#client.registerSession(
      { sessionId: uuidToBytes(id), subject, expireTime: new Date(expiresAt) },
      { metadata },
    );
  }

  close(): void {
    this.#client.close();
  }
}
