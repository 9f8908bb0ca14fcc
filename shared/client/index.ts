/** `waybill/client`: for programs that call services. It loads neither Postgres nor a server. */

export { CHANGE_KEY } from "../cache/changeNumbers.ts";
export { followChanges } from "../cache/followChanges.ts";
export { ResponseCache } from "../cache/responseCache.ts";
export { type Contract, loadContract } from "../contract/contract.ts";
export { type ErrorReport, readError } from "../errors.ts";
export {
  type CallSettings,
  type ClientOptions,
  createClient,
  type ServiceClient,
  scopeName,
} from "./client.ts";
export { Jar } from "./jar/jar.ts";

export { FileStore, MemoryStore, type Store } from "./jar/stores.ts";
