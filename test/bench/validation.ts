import { fromBinary } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { BatchGetProductsRequest } from "#proto/waybill/catalog/v1/catalog.ts";
import { AddItemRequest, SetAddressRequest } from "#proto/waybill/checkout/v1/checkout.ts";
import { validation as makeValidation } from "#shared/grpc/validation.ts";
import { contract } from "../fixtures/clients.ts";
import { ADDRESS } from "../fixtures/shopper.ts";
import type { Suite } from "./bench.ts";

const CALLS = 5000;

const REQUESTS: [name: string, bytes: Uint8Array][] = [
  [
    "checkout.v1.AddItemRequest",
    AddItemRequest.encode({ product: "products/7", quantity: 2 }).finish(),
  ],
  ["checkout.v1.SetAddressRequest", SetAddressRequest.encode({ address: ADDRESS }).finish()],
  [
    "catalog.v1.BatchGetProductsRequest",
    BatchGetProductsRequest.encode({
      names: Array.from({ length: 20 }, (_, index) => `products/${index + 1}`),
    }).finish(),
  ],
];

export const validation: Suite = {
  about:
    "What checking a request's constraints costs a call: decoding it once more, and the check, which a binding to ts-proto's objects would still need.",
  async run(bench) {
    for (const [name, bytes] of REQUESTS) {
      const message = contract.registry.getMessage(`waybill.${name}`)!;
      const whole = makeValidation(contract.registry, message)!;
      const decoded = fromBinary(message, bytes);
      const validator = createValidator({ registry: contract.registry });
      const ways = {
        "decode once more and check": () => whole(bytes),
        "decode once more": () => fromBinary(message, bytes),
        "check alone": () => validator.validate(message, decoded),
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
      bench.results.list(name, "µs", figures);
    }
  },
};
