import type { EnvelopeV1 } from "../../proto/gen/waybill/envelope/v1/envelope.ts";
import { uuidToBytes } from "../runtime/uuid.ts";

/** Who holds a session, as his access token says. */
export interface Owner {
  readonly subject: string;
  readonly client: string;
  readonly epoch: number;
  /** UUID of his sign-in. */
  readonly family?: string | undefined;
  /** SHA-256, in base64url, of the key or certificate that he proves with each call. */
  readonly thumbprint?: string | undefined;
}

/** What the subject of a session begins with that nobody in particular owns. */
export const ANONYMOUS = "anonymous/";

/** Whether nobody in particular owns a session: whoever holds its waybill may use it. */
export function isAnonymous(subject: string): boolean {
  return subject.startsWith(ANONYMOUS);
}

/** What a waybill says of its owner. */
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

/** Bound to its subject and client, and to the key that its owner proved, if he did. */
export function isHeldBy(envelope: EnvelopeV1, holder: Owner | undefined): boolean {
  const { subject, client, confirmation } = envelope;
  const proven = Buffer.from(holder?.thumbprint ?? "", "base64url");
  if (confirmation.length > 0 && !proven.equals(confirmation)) return false;
  return isAnonymous(subject) || (holder?.subject === subject && holder.client === client);
}
