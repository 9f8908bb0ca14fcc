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

/** What a peer is told. */
export interface PeerSettings {
  /** Of Redis or Postgres. */
  readonly store?: string;
  /** Redis: commands of one tick go out together. Default: one by one, as ioredis does by default. */
  readonly isPipelined?: boolean;
  /** The ring key of all peers that seal, in base64url. */
  readonly key?: string;
  /** Where anchored sessions stand that stand elsewhere. */
  readonly sessionService?: string;
  readonly credentialsDir?: string;
}

/** Starts a peer's server, and gives its address. */
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

/** What a peer does with a call. */
export interface Way {
  begin(size: number): Answer | Promise<Answer>;
  read(request: BasketRequest, metadata: Metadata): Answer | Promise<Answer>;
  advance(request: BasketRequest, metadata: Metadata): Answer | Promise<Answer>;
}

/** A plain grpc-js server, with nothing around its calls. */
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
  // A front proxy asks for it.
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

/** A new session's state. */
export function newBasket(size: number): Basket {
  // Bytes of a session do not repeat.
  return { lines: crypto.getRandomValues(Buffer.alloc(size)), changes: 0 };
}

export const SESSION_KEY = "session";

/** The one value of a session's key in a call's metadata. */
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
