import type { Metadata } from "@grpc/grpc-js";
import { createClient } from "waybill/client";
import { WAYBILL_KEY } from "waybill/testing";
import {
  AnchoredServiceService,
  BasketRequest,
  CarriedServiceService,
} from "#proto/waybill/bench/v1/bench.ts";
import { SESSION_KEY } from "./peer.ts";

const IN_FLIGHT = 64;
/** Requests the waybill in the message. */
const EMPTY = {
  protected: Buffer.alloc(0),
  iv: Buffer.alloc(0),
  ciphertext: Buffer.alloc(0),
  tag: Buffer.alloc(0),
};

/** The session in a call: a waybill or another token in the metadata, or a waybill in the message. */
export type Carrier = "waybill" | "session" | "message";

export const SERVICES = {
  CarriedService: CarriedServiceService,
  AnchoredService: AnchoredServiceService,
};

/** Session data of calls, used in rotation. */
export interface Sent {
  readonly metadata?: readonly Record<string, string>[];
  readonly messages?: readonly Uint8Array[];
}

/** The sessions to begin, and their carrier. */
export interface Wanted {
  readonly service: keyof typeof SERVICES;
  readonly carrier: Carrier;
  /** Size of the state, in bytes. */
  readonly size: number;
  readonly count: number;
}

/** Begins sessions at a peer. @returns the session data of their calls */
export async function beginSessions(address: string, wanted: Wanted): Promise<Sent> {
  const { service, carrier, size, count } = wanted;
  // Both services have the same methods.
  const client = createClient(SERVICES[service] as typeof CarriedServiceService, address, {
    channel: { "grpc.use_local_subchannel_pool": 1 },
  });
  const metadata: Record<string, string>[] = [];
  const messages: Uint8Array[] = [];
  const key = carrier === "waybill" ? WAYBILL_KEY : SESSION_KEY;
  const begin = async () => {
    const waybill = carrier === "message" ? EMPTY : undefined;
    let answered: Metadata | undefined;
    const onMetadata = (received: Metadata) => {
      answered = received;
    };
    const response = await client.begin({ waybill, size }, { onMetadata, timeoutMs: 30_000 });
    if (carrier === "message") {
      messages.push(BasketRequest.encode({ waybill: response.waybill, size: 0 }).finish());
    } else metadata.push({ [key]: answered!.get(key)[0] as string });
  };
  try {
    let left = count;
    const worker = async () => {
      while (left-- > 0) await begin();
    };
    await Promise.all(Array.from({ length: Math.min(IN_FLIGHT, count) }, worker));
  } finally {
    client.close();
  }
  return carrier === "message" ? { messages } : { metadata };
}
