import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { httpMethods } from "../../deploy/envoy/transcoder.ts";
import { contract } from "../support/clients.ts";
import { startTestCluster, type TestCluster } from "../support/cluster.ts";
import { http1, http2, type PlainRequest, type PlainResponse } from "../support/wire/plainHttp.ts";

/** Tests methods with an HTTP route, called as browsers, caches and curl do. */
let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startTestCluster();
});
afterAll(() => cluster?.remove());

const PATHS = httpMethods(contract).map(({ path }) => path);
const VERSIONS = [
  ["HTTP/1.1", http1],
  ["HTTP/2", http2],
] as const;
/** Headers of the 200 that a 304 repeats (RFC 9110 section 15.4.5). */
const REPEATED = ["etag", "cache-control", "vary", "access-control-allow-origin"];

const pick = ({ headers }: PlainResponse, names: readonly string[]) =>
  names.map((name) => headers[name]);

test("methods have HTTP routes", () => {
  expect(PATHS).toEqual(["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"]);
});

describe.for(VERSIONS)("over %s", ([, send]) => {
  const ask = (request: PlainRequest) => send(cluster.target, request);

  test.for(PATHS)("a conditional GET of %s gets 304", async (path) => {
    const whole = await ask({ path });
    expect(whole.status).toBe(200);
    expect(JSON.parse(whole.body)).toBeInstanceOf(Object);
    expect(whole.headers["cache-control"]).toMatch(/^public, max-age=\d+$/);
    const etag = `${whole.headers["etag"]}`;
    for (const names of [
      etag,
      `W/${etag}`,
      "*",
      `"other", ${etag}`,
      `"other" ,W/${etag},"third"`,
    ]) {
      const same = await ask({ path, headers: { "if-none-match": names } });
      expect({ status: same.status, body: same.body }, names).toEqual({ status: 304, body: "" });
      expect(pick(same, REPEATED)).toEqual(pick(whole, REPEATED));
      // These headers would describe the omitted body.
      expect(pick(same, ["content-type", "content-length", "not-modified"])).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
    }
    for (const names of [
      '"other"',
      'W/"other", "third"',
      etag.slice(1, -1),
      `"x${etag.slice(1)}`,
    ]) {
      const changed = await ask({ path, headers: { "if-none-match": names } });
      expect({ status: changed.status, body: changed.body }, names).toEqual({
        status: 200,
        body: whole.body,
      });
    }
  });

  test.for(PATHS)("HEAD of %s equals GET without the body", async (path) => {
    const whole = await ask({ path });
    const head = await ask({ method: "HEAD", path });
    expect({ status: head.status, body: head.body }).toEqual({ status: 200, body: "" });
    const names = [...REPEATED, "content-type", "content-length"];
    expect(pick(head, names)).toEqual(pick(whole, names));
    expect(head.headers["content-length"]).toBe(`${Buffer.byteLength(whole.body)}`);
    const headers = { "if-none-match": `${whole.headers["etag"]}` };
    const same = await ask({ method: "HEAD", path, headers });
    expect(same.status).toBe(304);
    expect(pick(same, REPEATED)).toEqual(pick(whole, REPEATED));
  });

  test.for(PATHS)("a query string of %s is ignored", async (path) => {
    const whole = await ask({ path });
    for (const query of ["?", "?x=1", "?x=1&x=2", "?name.deeper=%00&$alt=json", "?%ff"]) {
      const same = await ask({ path: `${path}${query}` });
      expect({ status: same.status, body: same.body }, query).toEqual({
        status: 200,
        body: whole.body,
      });
      const headers = { "if-none-match": `${whole.headers["etag"]}` };
      expect((await ask({ path: `${path}${query}`, headers })).status).toBe(304);
    }
  });

  test.for(PATHS)("pages of any origin may read %s", async (path) => {
    const origin = "https://shop.example";
    const whole = await ask({ path, headers: { origin } });
    expect(whole.headers["access-control-allow-origin"]).toBe("*");
    const preflight = await ask({
      method: "OPTIONS",
      path,
      headers: {
        origin,
        "access-control-request-method": "GET",
        "access-control-request-headers": "if-none-match",
      },
    });
    expect(preflight).toMatchObject({
      status: 204,
      body: "",
      headers: {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, HEAD",
        "access-control-allow-headers": "*",
      },
    });
  });

  test.for(PATHS)("%s refuses other HTTP methods", async (path) => {
    expect((await ask({ path })).status).toBe(200);
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "TRACE"]) {
      expect(await ask({ method, path }), method).toMatchObject({
        status: 405,
        headers: { allow: "GET, HEAD, OPTIONS" },
      });
    }
  });
});

test("a cache stores the whole document after a 304", async () => {
  const url = `http://${cluster.target}/.well-known/jwks.json`;
  const first = await fetch(url);
  const { keys } = (await first.json()) as { keys: unknown[] };
  expect(keys.length).toBeGreaterThan(0);
  const again = await fetch(url, { headers: { "if-none-match": first.headers.get("etag")! } });
  expect([again.status, await again.text()]).toEqual([304, ""]);
});
