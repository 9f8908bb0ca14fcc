import {
  Server as GrpcServer,
  Metadata,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import {
  type Basket,
  type BasketRequest,
  type BasketResponse,
  CarriedServiceService,
} from "#proto/waybill/bench/v1/bench.ts";

/** A peer's settings. */
export interface PeerSettings {
  /** URL of Redis or Postgres. */
  readonly store?: string;
  /** Redis: auto-pipelining of the commands of one tick. Default: off, as in ioredis. */
  readonly isPipelined?: boolean;
  /** The ring key of all peers that seal, in base64url. */
  readonly key?: string;
  /** The session service that anchors sessions elsewhere. */
  readonly sessionService?: string;
  readonly credentialsDir?: string;
}

/** Starts a peer's server. @returns its address */
export type Serve = (settings: PeerSettings) => Promise<string>;

export async function serveJoinedBy(serve: Serve, settings: PeerSettings): Promise<void> {
  const address = await serve(settings);
  process.once("disconnect", () => process.exit());
  process.send?.(address);
}

export interface Answer {
  response: BasketResponse;
  /** Initial metadata. */
  metadata?: Metadata;
}

/** A peer's handler. */
export interface Way {
  begin(size: number): Answer | Promise<Answer>;
  read(request: BasketRequest, metadata: Metadata): Answer | Promise<Answer>;
  advance(request: BasketRequest, metadata: Metadata): Answer | Promise<Answer>;
}

/** A plain grpc-js server. */
export function servePlainly(way: Way): Promise<string> {
  const server = new GrpcServer();
  const serving =
    (answer: (request: BasketRequest, metadata: Metadata) => Answer | Promise<Answer>) =>
    (
      call: ServerUnaryCall<BasketRequest, BasketResponse>,
      callback: sendUnaryData<BasketResponse>,
    ) => {
      const send = ({ metadata, response }: Answer) => {
        if (metadata !== undefined) call.sendMetadata(metadata);
        callback(null, response);
      };
      try {
        const answered = answer(call.request, call.metadata);
        if (answered instanceof Promise) answered.then(send, callback);
        else send(answered);
      } catch (error) {
        callback(error as Error);
      }
    };
  // The front proxy's health check.
  new HealthImplementation({ "": "SERVING" }).addToServer(server);
  server.addService(CarriedServiceService, {
    begin: serving(({ size }) => way.begin(size)),
    read: serving((request, metadata) => way.read(request, metadata)),
    advance: serving((request, metadata) => way.advance(request, metadata)),
  });
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(error);
      else resolve(`127.0.0.1:${port}`);
    });
  });
}

/** Creates a session's state. */
export function newBasket(size: number): Basket {
  // Random, so that nothing compresses.
  return { lines: crypto.getRandomValues(Buffer.alloc(size)), changes: 0 };
}

export const SESSION_KEY = "session";

/** Reads the single value of a session's key from the metadata. */
export function sessionOf(metadata: Metadata): string {
  const [value] = metadata.get(SESSION_KEY);
  if (typeof value !== "string") throw new Error("the call names no session");
  return value;
}

export function naming(session: string): Metadata {
  const metadata = new Metadata();
  metadata.set(SESSION_KEY, session);
  return metadata;
}
