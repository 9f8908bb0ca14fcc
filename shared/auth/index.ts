/** `waybill/auth`: access tokens, calling services and their credentials, revocations. */

export { Assertions } from "./assertions.ts";
export { TokenAuthentication } from "./authentication.ts";
export { serviceAuthentication } from "./credentials/assertion.ts";
export { type Credentials, loadCredentials } from "./credentials/credentials.ts";
export { loadTls } from "./credentials/tls.ts";
export { JwksWatcher } from "./jwksWatcher.ts";
export { RevocationFeed } from "./revocationFeed.ts";
export { ServiceTokens } from "./serviceTokens.ts";
export { AccessTokens } from "./tokens/accessTokens.ts";
export type { AccessToken } from "./tokens/claims.ts";
export { makeProof } from "./tokens/dpop.ts";
export { Revocations } from "./tokens/revocations.ts";
