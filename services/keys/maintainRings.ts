import type { KeysParts } from "./parts.ts";
import { rewrapRings, rotateRing } from "./rings.ts";
import { deleteClosedKeys } from "./sql/deleteClosedKeys.ts";
import { readDueRings } from "./sql/readDueRings.ts";

/**
 * Takes over a new key-encryption key, rotates rings whose sealer has sealed for long enough, and
 * removes keys under which nothing can be alive. Any replica may do it, at any time.
 *
 * @param rotateS how long a key seals, in seconds
 */
export async function maintainRings(
  parts: Pick<KeysParts, "db" | "wrapping" | "keepS" | "versions" | "audit">,
  rotateS: number,
): Promise<void> {
  const { db, wrapping, versions, audit } = parts;
  await rewrapRings(db, wrapping);
  for (const audience of await readDueRings(db, rotateS)) {
    const record: Parameters<typeof rotateRing>[2] = (tx, { activeKeyId }) =>
      audit.writeWith(tx, {
        actor: "services/keys",
        action: "ring.rotate",
        target: `rings/${audience}`,
        details: { key: activeKeyId },
      });
    const rotated = await rotateRing(parts, audience, record, { dueS: rotateS });
    if (rotated !== undefined) versions.tell(audience, rotated.version);
  }
  await deleteClosedKeys(db);
}
