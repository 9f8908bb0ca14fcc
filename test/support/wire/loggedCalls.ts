/**
 * Makes calls with a secret in their metadata, in both directions, legally and illegally, and says "done".
 *
 * Usage: node test/support/wire/loggedCalls.ts SECRET SETUP   of the server and its program, see below
 */
import { once } from "node:events";
import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { Metadata, setLogger } from "@grpc/grpc-js";
import { Checkout, CheckoutServiceService } from "#proto/waybill/checkout/v1/checkout.ts";
import { createClient } from "#shared/client/client.ts";
import { createLog } from "#shared/runtime/log.ts";
import { carriedCheckout, carriedWaybill, KINDS, requestOf } from "../servers/carriedCheckout.ts";
import { type Field, rawCall } from "./rawCall.ts";

const [secret = "", setup] = process.argv.slice(2);
const illegal = `${secret}\u00e9`;
if (setup === "own logger") {
  const write = (...parts: unknown[]) => console.log("OWN", ...parts);
  setLogger({ error: write, info: write, debug: write });
}

// Returns invalid metadata, in headers and trailers or in trailers alone.
const peer = createServer().listen(0, "127.0.0.1");
await once(peer, "listening");
peer.on("stream", (stream: ServerHttp2Stream, headers) => {
  const own = { "x-odd": illegal, "x-even": secret };
  const trailers = { ...own, "grpc-status": 9, "grpc-message": secret };
  const head = { ":status": 200, "content-type": "application/grpc", ...own };
  if (headers["x-short"]) stream.respond({ ...head, ...trailers }, { endStream: true });
  else {
    stream.respond(head, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.end();
  }
});
const { port } = peer.address() as AddressInfo;
const client = createClient(CheckoutServiceService, `127.0.0.1:${port}`);
for (const short of ["", "yes"]) {
  const metadata = new Metadata();
  metadata.set("x-even", secret);
  metadata.set("x-short", short);
  await client.getCheckout({}, { metadata }).catch(() => {});
}
client.close();
peer.close();

if (setup !== "client alone") {
  const options = setup === "log" ? { log: createLog("trace") } : {};
  const server = carriedCheckout(options, {
    getCheckout: async (_request, { metadata, reply }) => {
      // Handlers that read metadata get all headers.
      for (const value of metadata.get("x-even")) reply.set("x-even", value);
      return Checkout.create();
    },
  });
  const target = `127.0.0.1:${await server.listen("127.0.0.1:0")}`;
  for (const [, path] of KINDS) {
    for (const key of ["x-odd", "authorization"]) {
      const fields: Field[] = [
        [key, illegal],
        ["x-even", secret],
        ["waybill", carriedWaybill()],
      ];
      await rawCall(target, path, { fields, body: requestOf(path) });
    }
  }
  await server.drain();
}
console.log("done");
