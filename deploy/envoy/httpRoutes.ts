import type { Contract } from "#shared/contract/contract.ts";
import { runs } from "./programs.ts";
import { header, refuses, responds } from "./refusals.ts";
import { httpMethods, TRANSCODER } from "./transcoder.ts";

/** Time for which browsers cache a preflight response, in seconds. */
const PREFLIGHT_MAX_AGE_S = 86_400;

/**
 * Makes the routes of methods that plain HTTP can call.
 *
 * @param toMethod makes the route action of a method
 */
export function httpRoutes(contract: Contract, toMethod: (path: string) => object): object[] {
  return httpMethods(contract).flatMap(({ method, path }) => {
    const isPublic = method.cache?.public === true;
    const anyOrigin = () => (isPublic ? [header("access-control-allow-origin", "*")] : []);
    const methods = ["GET", "HEAD", ...(isPublic ? ["OPTIONS"] : [])].join(", ");
    const served = (httpMethod: string, program: string) => ({
      match: { path, headers: [isMethod(httpMethod)] },
      route: toMethod(method.path),
      response_headers_to_add: anyOrigin(),
      typed_per_filter_config: {
        [TRANSCODER]: on(),
        ...runs(program),
      },
    });
    const preflight = {
      match: { path, headers: [isMethod("OPTIONS")] },
      ...responds(204),
      response_headers_to_add: [
        ...anyOrigin(),
        header("access-control-allow-methods", "GET, HEAD"),
        header("access-control-allow-headers", "*"),
        header("access-control-max-age", `${PREFLIGHT_MAX_AGE_S}`),
        header("allow", methods),
      ],
    };
    return [
      served("GET", "get"),
      served("HEAD", "head"),
      ...(isPublic ? [preflight] : []),
      {
        match: { path },
        ...refuses(405),
        response_headers_to_add: [...anyOrigin(), header("allow", methods)],
      },
    ];
  });
}

function on(): object {
  return { "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", config: {} };
}

/** Matches requests of one HTTP method. */
export function isMethod(name: string): object {
  return { name: ":method", string_match: { exact: name } };
}
