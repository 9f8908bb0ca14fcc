const LUA = "envoy.filters.http.lua";
const LUA_TYPE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3";

/**
 * Makes the transcoder's responses conform to RFC 9110. A replica says in metadata that the caller's
 * ETag is the current one, and sends an empty message: as 200, a cache would store the empty body.
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
 * Gives a refusal its HTTP status. To a caller that sends gRPC's content-type Envoy says 200, and the
 * reason in headers alone. Over HTTP/1.1 a person reads it in the body.
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
 * Not ready with a secret that Envoy could not write into a header: it would answer every call with 503. The
 * services drop a line break at the end of it, Envoy does not.
 */
const READY = `
function envoy_on_request(handle)
  local secret = os.getenv("WAYBILL_FRONT_PROXY_SECRET") or ""
  if #secret >= 32 and secret:find("^[!-~]+$") then return end
  handle:logErr("WAYBILL_FRONT_PROXY_SECRET must be 32 or more visible ASCII characters, without a line break at the end: this front proxy is not ready")
  handle:respond({ [":status"] = "503" }, "")
end
`;

/** The filter that runs these. Off, but on routes that name one. */
export function programs(): object {
  return {
    name: LUA,
    disabled: true,
    typed_config: {
      "@type": `${LUA_TYPE}.Lua`,
      // The route decides which program handles the response: HEAD stays HEAD to it.
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

/** KeyedQueue on a program of this file for a route. */
export function runs(name: string, context?: Record<string, string>): object {
  return {
    [LUA]: {
      "@type": `${LUA_TYPE}.LuaPerRoute`,
      name,
      ...(context && { filter_context: context }),
    },
  };
}
