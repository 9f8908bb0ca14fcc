/** The SDK: what a service or a client needs. */

export type { AnchorStore } from "./anchors/anchorStore.ts";
export { Anchors } from "./anchors/anchors.ts";
export { Answers, savedAudience } from "./anchors/answers.ts";
export { Checkpoints, type CheckpointsOptions } from "./anchors/checkpoints.ts";
export type { Directory } from "./anchors/directory.ts";
export { migrateAnchors } from "./anchors/migrate.ts";
export { Spills, type SpillsOptions } from "./anchors/spills.ts";
export type { CacheScope } from "./cache/cacheScope.ts";
export type { Change } from "./cache/changes.ts";
export { type ChangesPiece, followChanges } from "./cache/followChanges.ts";
export {
  type CacheStats,
  ResponseCache,
  type ResponseCacheOptions,
} from "./cache/responseCache.ts";
export { Assertions } from "./callers/assertions.ts";
export { TokenAuthentication, type TokenAuthenticationOptions } from "./callers/authentication.ts";
export { JwksWatcher, type JwksWatcherOptions } from "./callers/jwksWatcher.ts";
export { RemoteAnchors } from "./callers/remoteAnchors.ts";
export { RemoteDirectory } from "./callers/remoteDirectory.ts";
export { RevocationFeed, type RevocationFeedOptions } from "./callers/revocationFeed.ts";
export { ServiceTokens, type ServiceTokensOptions } from "./callers/serviceTokens.ts";
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
export type { Anchorage } from "./grpc/anchorage.ts";
export { CHANGE_KEY } from "./grpc/changeNumbers.ts";
export {
  type BoundAuthorization,
  type CallSettings,
  type ClientOptions,
  createClient,
  type ServiceClient,
  scopeName,
} from "./grpc/client.ts";
export { type Contract, loadContract, type MethodContract, readContract } from "./grpc/contract.ts";
export type { Caller, Context, Handlers } from "./grpc/handlers.ts";
export { Server, type ServerOptions } from "./grpc/server.ts";
export { Jar, type JarOptions } from "./jar/jar.ts";
export type { SignInOptions } from "./jar/signIn.ts";
export { FileStore, MemoryStore, type Store } from "./jar/stores.ts";
export { createPool, type Db, type Pool, type PoolOptions } from "./pg/pool.ts";
export { RingWatcher, type RingWatcherOptions } from "./rings/ringWatcher.ts";
export { AccessTokens } from "./token/accessTokens.ts";
export type { AccessToken, Confirmation } from "./token/claims.ts";
export { makeProof } from "./token/dpop.ts";
export { Revocations, type RevocationsOptions } from "./token/revocations.ts";
export { importKeys, type VerificationKeys } from "./token/verificationKeys.ts";
export { Cursors } from "./waybill/cursors.ts";
export type { Owner } from "./waybill/owner.ts";
export { fixedRing, type Ring, type RingKey, type RingSource } from "./waybill/ring.ts";
export type { Session } from "./waybill/session.ts";
export { letGo } from "./waybill/unknownFields.ts";
export { type Upgrade, type Upgrades, upgrade } from "./waybill/upgrades.ts";
