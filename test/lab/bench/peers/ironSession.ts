import { defaults, seal, unseal } from "@hapi/iron";
import { naming, newBasket, type PeerSettings, servePlainly, sessionOf } from "./peer.ts";

interface Stored {
  lines: string;
  changes: number;
}

/** A session sealed with @hapi/iron by a password, as iron-session does it: JSON, a day's life. */
export function ironSession({ key: password }: PeerSettings): Promise<string> {
  const options = { ...defaults, ttl: 24 * 60 * 60 * 1000 };
  const load = async (sealed: string) => (await unseal(sealed, password!, options)) as Stored;
  return servePlainly({
    begin: async (size) => {
      const { lines, changes } = newBasket(size);
      const state: Stored = { lines: lines.toString("base64url"), changes };
      return {
        response: { waybill: undefined, changes },
        metadata: naming(await seal(state, password!, options)),
      };
    },
    read: async (_request, metadata) => {
      const { changes } = await load(sessionOf(metadata));
      return { response: { waybill: undefined, changes } };
    },
    advance: async (_request, metadata) => {
      const state = await load(sessionOf(metadata));
      state.changes += 1;
      return {
        response: { waybill: undefined, changes: state.changes },
        metadata: naming(await seal(state, password!, options)),
      };
    },
  });
}
