import { createSecretKey } from "node:crypto";
import { CompactEncrypt, compactDecrypt } from "jose";
import { Basket } from "#proto/waybill/bench/v1/bench.ts";
import { naming, newBasket, type PeerSettings, servePlainly, sessionOf } from "./peer.ts";

/** A session in a JWE (dir, A256GCM), by jose. */
export function joseSession({ key }: PeerSettings): Promise<string> {
  const secret = createSecretKey(Buffer.from(key!, "base64url"));
  const seal = (basket: Basket) =>
    new CompactEncrypt(Basket.encode(basket).finish())
      .setProtectedHeader({ alg: "dir", enc: "A256GCM", typ: "session" })
      .encrypt(secret);
  const open = async (sealed: string) => {
    const options = { keyManagementAlgorithms: ["dir"], contentEncryptionAlgorithms: ["A256GCM"] };
    return Basket.decode((await compactDecrypt(sealed, secret, options)).plaintext);
  };
  return servePlainly({
    begin: async (size) => ({
      response: { waybill: undefined, changes: 0 },
      metadata: naming(await seal(newBasket(size))),
    }),
    read: async (_request, metadata) => {
      const { changes } = await open(sessionOf(metadata));
      return { response: { waybill: undefined, changes } };
    },
    advance: async (_request, metadata) => {
      const basket = await open(sessionOf(metadata));
      basket.changes += 1;
      return {
        response: { waybill: undefined, changes: basket.changes },
        metadata: naming(await seal(basket)),
      };
    },
  });
}
