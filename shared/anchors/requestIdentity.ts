/** What tells a call that is made again from another one. */
export interface RequestIdentity {
  /** SHA-256 of the idempotency key; without one, the request's digest. */
  readonly idempotencyDigest: Buffer;
  /** SHA-256 of the method, the caller and the request. */
  readonly requestDigest: Buffer;
}
