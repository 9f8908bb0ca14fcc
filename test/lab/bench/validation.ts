import { fromBinary } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { BatchGetProductsRequest } from "#proto/waybill/catalog/v1/catalog.ts";
import { AddItemRequest, SetAddressRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import { BeginSessionRequest } from "#proto/waybill/session/v1/session.ts";
import { requestReader } from "#shared/validation/requestReader.ts";
import { strictScan } from "#shared/validation/strictScan.ts";
import { wireTable } from "#shared/validation/wireTable.ts";
import { ADDRESS } from "../../support/callers/shopper.ts";
import { contract } from "../../support/clients.ts";
import type { Suite } from "./bench.ts";

const CALLS = 5000;

const JSON_STATE = {
  user: "users/1",
  items: Array.from({ length: 12 }, (_, index) => ({
    id: `products/${index}`,
    quantity: index,
    price: 19.5,
    title: `Film ${index}`,
  })),
};

const REQUESTS = [
  {
    name: "checkout.v1.AddItemRequest",
    codec: AddItemRequest,
    request: AddItemRequest.create({ product: "products/7", quantity: 2 }),
  },
  {
    name: "checkout.v1.SetAddressRequest",
    codec: SetAddressRequest,
    request: SetAddressRequest.create({ address: ADDRESS }),
  },
  {
    name: "catalog.v1.BatchGetProductsRequest",
    codec: BatchGetProductsRequest,
    request: BatchGetProductsRequest.create({
      names: Array.from({ length: 20 }, (_, index) => `products/${index + 1}`),
    }),
  },
  {
    name: "session.v1.BeginSessionRequest",
    codec: BeginSessionRequest,
    request: BeginSessionRequest.create({ state: { value: { $case: "json", value: JSON_STATE } } }),
  },
];

export const validation: Suite = {
  about:
    "Cost of reading a request: the scan that refuses ambiguous bytes, decoding, and field constraints; compared with decoding twice, once with protobuf-es for the constraints.",
  async run(bench) {
    const { registry } = contract;
    const validator = createValidator({ registry });
    for (const { name, codec, request } of REQUESTS) {
      const message = registry.getMessage(`waybill.${name}`)!;
      const decode = (bytes: Buffer): unknown => codec.decode(bytes);
      const bytes = Buffer.from(codec.encode(request as never).finish());
      const read = requestReader(registry, message, decode);
      const table = wireTable(message);
      const ways = {
        "scan, decode and check": () => read(bytes),
        "decode twice and check": () => {
          decode(bytes);
          validator.validate(message, fromBinary(message, bytes));
        },
        "scan alone": () => strictScan(table, bytes),
        "decode alone": () => decode(bytes),
      };
      const figures: Record<string, number[]> = {};
      for (let round = 0; round <= bench.rounds; round += 1) {
        for (const [way, run] of Object.entries(ways)) {
          const before = performance.now();
          for (let call = 0; call < CALLS; call += 1) run();
          // The first round warms up.
          if (round === 0) continue;
          const us = ((performance.now() - before) * 1000) / CALLS;
          figures[way] = [...(figures[way] ?? []), us];
        }
      }
      bench.results.list(name, "\u00b5s", figures);
    }
  },
};
