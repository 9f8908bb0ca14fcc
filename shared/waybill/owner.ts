import type { EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { uuidToBytes } from "../runtime/uuid.ts";

/** The holder of a session, as named by an access token. */
export interface Owner {
  readonly subject: string;
  readonly client: string;
  readonly epoch: number;
  /** UUID of his sign-in. */
  readonly family?: string | undefined;
  /** SHA-256, in base64url, of the key or certificate that the holder proves with each call. */
  readonly thumbprint?: string | undefined;
}

/** Prefix of the subject of an anonymous session. */
export const ANONYMOUS = "anonymous/";

/** Reports whether a session is anonymous: any holder of its waybill may use it. */
export function isAnonymous(subject: string): boolean {
  return subject.startsWith(ANONYMOUS);
}

/** The owner in a waybill. */
export function ownership(
  owner: Owner,
): Pick<EnvelopeV1, "subject" | "client" | "subjectEpoch" | "familyId" | "confirmation"> {
  return {
    subject: owner.subject,
    client: owner.client,
    subjectEpoch: owner.epoch,
    familyId: owner.family === undefined ? Buffer.alloc(0) : uuidToBytes(owner.family),
    confirmation: Buffer.from(owner.thumbprint ?? "", "base64url"),
  };
}

/** Binds a session to its subject and client, and to the owner's proven key, if any. */
export function isHeldBy(envelope: EnvelopeV1, holder: Owner | undefined): boolean {
  const { subject, client, confirmation } = envelope;
  const proven = Buffer.from(holder?.thumbprint ?? "", "base64url");
  if (confirmation.length > 0 && !proven.equals(confirmation)) return false;
  return isAnonymous(subject) || (holder?.subject === subject && holder.client === client);
}
