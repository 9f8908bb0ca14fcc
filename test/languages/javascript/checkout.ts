/**
 * Completes a checkout without the SDK and without generated code: loads the protos at start, and sends the
 * newest waybill in the metadata.
 *
 * Usage: checkout.ts TARGET PROTO_FOLDER…
 * Prints the order's name.
 */
import { credentials, loadPackageDefinition, Metadata, type ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const [target, ...includeDirs] = process.argv.slice(2);
const definition = loadSync("waybill/checkout/v1/checkout.proto", {
  includeDirs,
  enums: String,
  defaults: true,
});
// biome-ignore lint/suspicious/noExplicitAny: the client is built at run time.
const { waybill: packages } = loadPackageDefinition(definition) as any;
const client = new packages.checkout.v1.CheckoutService(target, credentials.createInsecure());

let waybill: string | undefined;

/** Calls a method with the newest waybill and stores the next one. */
function call(method: string, request: object = {}): Promise<{ name: string }> {
  const metadata = new Metadata();
  if (waybill) metadata.set("waybill", waybill);
  const options = { deadline: Date.now() + 10_000 };
  return new Promise((resolve, reject) => {
    client[method](request, metadata, options, (error: ServiceError | null, answer: never) =>
      error ? reject(error) : resolve(answer),
    ).on("metadata", (answered: Metadata) => {
      waybill = answered.get("waybill")[0]?.toString() ?? waybill;
    });
  });
}

await call("BeginCheckout");
await call("AddItem", { product: "products/31", quantity: 2 });
await call("AddItem", { product: "products/32" });
await call("RemoveItem", { product: "products/32" });
await call("SetAddress", {
  address: { regionCode: "NZ", locality: "Wellington", addressLines: ["1 Molesworth Street"] },
});
await call("ChooseDelivery", { deliverySpeed: "DELIVERY_SPEED_STANDARD" });
await call("QuoteCheckout");
const { name } = await call("PlaceOrder");
if ((await call("GetOrder", { name })).name !== name) throw new Error("another order was answered");
console.log(name);
client.close();
