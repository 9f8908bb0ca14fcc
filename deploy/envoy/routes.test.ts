import { expect, test } from "vitest";
import { Access } from "#proto/waybill/options/v1/options.ts";
import { contract } from "../../test/fixtures/clients.ts";
import { publicServices, routes } from "./routes.ts";

interface Route {
  match: { path?: string; prefix?: string; headers?: unknown };
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
  expect(all.flatMap(({ match }) => match.path ?? []).sort()).toEqual(
    open.map(({ path }) => path).sort(),
  );
  const order = all.find(({ match }) => match.path?.endsWith("/PlaceOrder"));
  expect(order?.route?.cluster).toBe("checkout");
});

test("what was never processed is repeated on every route, the rest only where it does no harm", () => {
  for (const { match, route, direct_response } of all) {
    if (direct_response !== undefined) continue;
    const retried = route!.retry_policy.retry_on.split(",");
    expect(retried.slice(0, 2)).toEqual(["refused-stream", "connect-failure"]);
    const repeatable = match.path !== undefined && contract.method(match.path).repeatable;
    expect(retried.slice(2), match.path).toEqual(repeatable ? ["unavailable"] : []);
  }
  expect(contract.methods.some(({ repeatable }) => !repeatable)).toBe(true);
});

test("nothing but gRPC is let in, and nothing by a prefix but health and reflection", () => {
  const prefixes = all
    .filter(({ direct_response }) => !direct_response)
    .flatMap(({ match }) => match.prefix ?? []);
  expect(prefixes.sort()).toEqual([
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
  ]);
  for (const { match, direct_response } of all) {
    if (!direct_response) expect(match).toHaveProperty("grpc");
  }
});
