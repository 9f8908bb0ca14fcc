/** The SDK: what a service or a client needs. */
export { assertService, serviceAuthentication } from "./credentials/assertion.ts";
export { type Credentials, loadCredentials } from "./credentials/credentials.ts";
export {
  type ErrorDetails,
  type ErrorReport,
  Errors,
  readError,
  StatusError,
  vocabulary,
} from "./errors/errors.ts";
export {
  type CallSettings,
  type ClientOptions,
  createClient,
  type ServiceClient,
} from "./grpc/client.ts";
export { type Contract, loadContract, type MethodContract, readContract } from "./grpc/contract.ts";
export type { Caller, Context, Handlers } from "./grpc/handlers.ts";
export { Server, type ServerOptions } from "./grpc/server.ts";
export { Jar, type JarOptions } from "./jar/jar.ts";
export { FileStore, MemoryStore, type Store } from "./jar/stores.ts";
export { RingWatcher, type RingWatcherOptions } from "./rings/ringWatcher.ts";
export { Cursors } from "./waybill/cursors.ts";
export { fixedRing, type Ring, type RingKey, type RingSource } from "./waybill/ring.ts";
export type { Session } from "./waybill/sessions.ts";
