/** The SDK: what a service or a client needs. */

export type { AnchorStore } from "./anchors/anchorStore.ts";
export { Anchors } from "./anchors/anchors.ts";
export { Checkpoints, type CheckpointsOptions } from "./anchors/checkpoints.ts";
export { migrateAnchors } from "./anchors/migrate.ts";
export { RemoteAnchors } from "./anchors/remote/remoteAnchors.ts";
export { RemoteDirectory } from "./anchors/remote/remoteDirectory.ts";
export { SavedResponses, savedAudience } from "./anchors/savedResponses.ts";
export type { Directory } from "./anchors/sessionDirectory.ts";
export { Spills, type SpillsOptions } from "./anchors/spills.ts";
export { Assertions } from "./auth/assertions.ts";
export { TokenAuthentication, type TokenAuthenticationOptions } from "./auth/authentication.ts";
export { assertService, serviceAuthentication } from "./auth/credentials/assertion.ts";
export { type Credentials, loadCredentials } from "./auth/credentials/credentials.ts";
export { JwksWatcher, type JwksWatcherOptions } from "./auth/jwksWatcher.ts";
export { RevocationFeed, type RevocationFeedOptions } from "./auth/revocationFeed.ts";
export { ServiceTokens, type ServiceTokensOptions } from "./auth/serviceTokens.ts";
export { AccessTokens } from "./auth/tokens/accessTokens.ts";
export type { AccessToken, Confirmation } from "./auth/tokens/claims.ts";
export { makeProof } from "./auth/tokens/dpop.ts";
export { Revocations, type RevocationsOptions } from "./auth/tokens/revocations.ts";
export { importKeys, type VerificationKeys } from "./auth/tokens/verificationKeys.ts";
export type { CacheScope } from "./cache/cacheScope.ts";
export { CHANGE_KEY } from "./cache/changeNumbers.ts";
export type { Change } from "./cache/changes.ts";
export { type ChangesPiece, followChanges } from "./cache/followChanges.ts";
export {
  type CacheStats,
  ResponseCache,
  type ResponseCacheOptions,
} from "./cache/responseCache.ts";
export {
  type BoundAuthorization,
  type CallSettings,
  type ClientOptions,
  createClient,
  type ServiceClient,
  scopeName,
} from "./client/client.ts";
export { Jar, type JarOptions } from "./client/jar/jar.ts";
export type { SignInOptions } from "./client/jar/signIn.ts";
export { FileStore, MemoryStore, type Store } from "./client/jar/stores.ts";
export {
  type Contract,
  loadContract,
  type MethodContract,
  readContract,
} from "./contract/contract.ts";
export type { Caller, Context, Handlers } from "./contract/handlers.ts";
export {
  type ErrorDetails,
  type ErrorReport,
  Errors,
  readError,
  StatusError,
  vocabulary,
} from "./errors.ts";
export { createPool, type Db, type Pool, type PoolOptions } from "./pg/pool.ts";
export { fixedRing, type Ring, type RingKey, type RingSource } from "./rings/ring.ts";
export { RingWatcher, type RingWatcherOptions } from "./rings/ringWatcher.ts";
export { Server, type ServerOptions } from "./server/server.ts";
export type { Anchorage } from "./session/options.ts";
export { Cursors } from "./waybill/cursors.ts";
export type { Owner } from "./waybill/owner.ts";
export type { Session } from "./waybill/session.ts";
export { letGo } from "./waybill/state/unknownFields.ts";
export { type Upgrade, type Upgrades, upgrade } from "./waybill/state/upgrades.ts";
