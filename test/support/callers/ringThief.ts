import { join } from "node:path";
import { Envelope, type EnvelopeV1 } from "#proto/waybill/envelope/v1/envelope.ts";
import { loadCredentials } from "#shared/auth/credentials/credentials.ts";
import { fixedRing } from "#shared/rings/ring.ts";
import { RingWatcher } from "#shared/rings/ringWatcher.ts";
import { fromCompact } from "#shared/waybill/jwe.ts";
import { Opener } from "#shared/waybill/opener.ts";
import type { StateCodec } from "#shared/waybill/session.ts";
import { Sessions } from "#shared/waybill/sessions.ts";
import { contract } from "../clients.ts";
import type { TestCluster } from "../cluster.ts";

/** Opens and seals waybills with the stolen ring of an audience. */
export interface Stolen<State> {
  readonly sessions: Sessions<State>;
  envelopeOf(waybill: string): Promise<EnvelopeV1>;
}

/** @param path of a method of the audience's service */
export async function stealRing<State>(
  cluster: TestCluster,
  path: string,
  codec: StateCodec<State>,
): Promise<Stolen<State>> {
  const session = contract.method(path).session!;
  const { audience } = session;
  const watcher = new RingWatcher({
    target: cluster.status().replicas[0]!.address,
    service: audience,
    audience,
    credentials: loadCredentials(join(cluster.dataDir, "secrets", "credentials")),
  });
  await watcher.ready;
  const ring = fixedRing(watcher.current()!);
  await watcher.close();
  const opener = new Opener("waybill", audience, ring);
  return {
    sessions: new Sessions(session, codec, ring),
    async envelopeOf(waybill) {
      const { version } = Envelope.decode((await opener.open(fromCompact(waybill)!))!);
      return version!.value;
    },
  };
}
