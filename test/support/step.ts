import { Metadata } from "@grpc/grpc-js";
import type { CallSettings } from "#shared/client/client.ts";

/** The response of a step. */
export interface Stepped<Response> {
  readonly response: Response;
  /** The waybill in the response metadata, if any. */
  readonly waybill: string | undefined;
}

/** Makes one call with an explicit waybill and idempotency key. */
export async function step<Request, Response>(
  method: (request: Request, settings?: CallSettings) => Promise<Response>,
  request: Request,
  {
    waybill,
    key,
    token,
  }: { waybill?: string | undefined; key?: string; token?: string | undefined } = {},
): Promise<Stepped<Response>> {
  const metadata = new Metadata();
  if (waybill !== undefined) metadata.set("waybill", waybill);
  if (key !== undefined) metadata.set("idempotency-key", key);
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  let received: string | undefined;
  const onMetadata = (reply: Metadata) => {
    received = reply.get("waybill").at(-1)?.toString();
  };
  return { response: await method(request, { metadata, onMetadata }), waybill: received };
}
