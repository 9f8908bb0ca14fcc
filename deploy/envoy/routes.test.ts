import { expect, test } from "vitest";
import { Access } from "#proto/waybill/options/v1/options.ts";
import { contract } from "../../test/support/clients.ts";
import { publicServices, routes } from "./routes.ts";

interface Route {
  match: { path?: string; prefix?: string; grpc?: object; headers?: unknown };
  route?: { cluster: string; timeout: string; retry_policy: { retry_on: string } };
  direct_response?: { status: number };
}
const all = routes(contract) as Route[];

test("the key service has no way in", () => {
  expect(publicServices(contract)).toEqual([
    "waybill.catalog.v1.CatalogService",
    "waybill.checkout.v1.CheckoutService",
    "waybill.identity.v1.IdentityService",
    "waybill.session.v1.SessionService",
    "waybill.token.v1.TokenService",
  ]);
  expect(JSON.stringify(all)).not.toContain("waybill.keys");
});

test("every public method has a route of its own, to its service's cluster", () => {
  const open = contract.methods.filter(
    ({ access }) => access === Access.ACCESS_PUBLIC || access === Access.ACCESS_AUTHENTICATED,
  );
  const served = all.filter(({ match, route }) => match.grpc && route);
  expect(served.flatMap(({ match }) => match.path ?? []).sort()).toEqual(
    open.map(({ path }) => path).sort(),
  );
  const order = all.find(({ match }) => match.path?.endsWith("/PlaceOrder"));
  expect(order?.route?.cluster).toBe("checkout");
});

test("a call is retried where it was never processed, others only where that does no harm", () => {
  for (const { match, route, direct_response } of all) {
    if (direct_response !== undefined || !match.grpc) continue;
    const retried = route!.retry_policy.retry_on.split(",");
    expect(retried.slice(0, 2)).toEqual(["refused-stream", "connect-failure"]);
    const repeatable = match.path !== undefined && contract.method(match.path).repeatable;
    expect(retried.slice(2), match.path).toEqual(repeatable ? ["unavailable"] : []);
  }
  expect(contract.methods.some(({ repeatable }) => !repeatable)).toBe(true);
});

test("only gRPC and methods with an HTTP route are served, by a prefix only health and reflection", () => {
  const prefixes = all
    .filter(({ direct_response }) => !direct_response)
    .flatMap(({ match }) => match.prefix ?? []);
  expect(prefixes.sort()).toEqual([
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
  ]);
  const plain = all.filter(({ match, route }) => route && !match.grpc);
  expect(new Set(plain.map(({ match }) => match.path))).toEqual(
    new Set(["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"]),
  );
});
