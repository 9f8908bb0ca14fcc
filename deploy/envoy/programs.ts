const LUA = "envoy.filters.http.lua";
const LUA_TYPE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3";

/**
 * Makes the transcoder's responses conform to RFC 9110. When the caller's ETag is current, a replica says
 * `not-modified` in metadata and sends an empty message: with status 200 a cache would store the empty body.
 */
const GET = `
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get("not-modified") == nil then return end
  headers:remove("not-modified")
  if headers:get(":status") ~= "200" then return end
  headers:replace(":status", "304")
  headers:remove("content-type")
  headers:remove("content-length")
end
`;

/** HEAD is GET without the body: `setBytes` changes `content-length`, which stays that of GET. */
const HEAD = `
function envoy_on_request(handle)
  handle:headers():replace(":method", "GET")
end
${GET.replace("envoy_on_response", "not_modified")}
function envoy_on_response(handle)
  not_modified(handle)
  local length = handle:headers():get("content-length")
  local body = handle:body()
  if body == nil then return end
  body:setBytes("")
  local headers = handle:headers()
  if length == nil then headers:remove("content-length") else headers:replace("content-length", length) end
end
`;

/**
 * Sets the HTTP status of a refusal. Envoy responds 200 to gRPC's content-type, with the error in headers only.
 * Over HTTP/1.1 the error is in the body, too, for people.
 */
const REFUSE = `
function envoy_on_response(handle)
  local headers = handle:headers()
  headers:replace(":status", handle:filterContext():get("status"))
  if handle:streamInfo():protocol() == "HTTP/2" then return end
  local text = headers:get("grpc-message")
  if text == nil then return end
  headers:replace("content-type", "text/plain")
  headers:replace("content-length", handle:body(true):setBytes(text))
end
`;

/**
 * Reports not ready when Envoy cannot send the secret in a header: every call would fail with 503. Services remove a
 * line break at its end, Envoy does not.
 */
const READY = `
function envoy_on_request(handle)
  local secret = os.getenv("WAYBILL_FRONT_PROXY_SECRET") or ""
  if #secret >= 32 and secret:find("^[!-~]+$") then return end
  handle:logErr("WAYBILL_FRONT_PROXY_SECRET must be 32 or more visible ASCII characters, without a line break at the end: this front proxy is not ready")
  handle:respond({ [":status"] = "503" }, "")
end
`;

/** The Lua filter that runs these programs. Routes enable it. */
export function programs(): object {
  return {
    name: LUA,
    disabled: true,
    typed_config: {
      "@type": `${LUA_TYPE}.Lua`,
      // The request's first route also handles the response: HEAD stays HEAD.
      clear_route_cache: false,
      source_codes: {
        get: { inline_string: GET },
        head: { inline_string: HEAD },
        ready: { inline_string: READY },
        refuse: { inline_string: REFUSE },
      },
    },
  };
}

/** Enables a program of this file for a route. */
export function runs(name: string, context?: Record<string, string>): object {
  return {
    [LUA]: {
      "@type": `${LUA_TYPE}.LuaPerRoute`,
      name,
      ...(context && { filter_context: context }),
    },
  };
}
