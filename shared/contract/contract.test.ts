import {
  create,
  fromBinary,
  type MessageInitShape,
  setExtension,
  toBinary,
} from "@bufbuild/protobuf";
import {
  FieldOptionsSchema,
  FileDescriptorSetSchema,
  MethodOptions_IdempotencyLevel,
  MethodOptionsSchema,
  ServiceOptionsSchema,
} from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { Access, Step } from "../../proto/gen/waybill/options/v1/options.ts";
import { contract } from "../../test/support/clients.ts";
import { MAX_MESSAGE_WAYBILL } from "../waybill/carriers.ts";
import { largestRequest, loadContract, readContract } from "./contract.ts";

type Options = Record<string, unknown>;

const SERVICE = "CatalogService";
const METHOD = "GetProduct";
const WHERE = "/waybill.catalog.v1.CatalogService/GetProduct";

/** The project's contract with changed options on one service, or on one of its methods. */
function withOptions(changes: {
  session?: Options;
  method?: Options;
  level?: MethodOptions_IdempotencyLevel;
  streams?: boolean;
  /** Declares the first field of the method's request a carrier. */
  carrier?: boolean;
}) {
  const { registry, image } = contract;
  const set = fromBinary(FileDescriptorSetSchema, image);
  const service = set.file.flatMap((file) => file.service).find(({ name }) => name === SERVICE)!;
  const method = service.method.find(({ name }) => name === METHOD)!;
  const option = (name: string, value: Options) => {
    const extension = registry.getExtension(`waybill.options.v1.${name}`)!;
    const message = extension.message!;
    return [extension, create(message, value as MessageInitShape<typeof message>)] as const;
  };
  if (changes.session !== undefined) {
    service.options ??= create(ServiceOptionsSchema);
    setExtension(service.options, ...option("session", changes.session));
  }
  if (changes.method !== undefined) {
    method.options = create(MethodOptionsSchema, {
      idempotencyLevel: changes.level ?? MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS,
    });
    setExtension(method.options, ...option("method", changes.method));
  }
  if (changes.carrier !== undefined) {
    const request = set.file
      .flatMap((file) => file.messageType)
      .find(({ name }) => name === `${METHOD}Request`)!;
    const [field] = request.field;
    field!.options ??= create(FieldOptionsSchema);
    const extension = registry.getExtension("waybill.options.v1.carrier")!;
    setExtension(field!.options, extension, changes.carrier);
  }
  method.serverStreaming = changes.streams ?? false;
  return readContract(toBinary(FileDescriptorSetSchema, set));
}

const SESSION = { audience: "catalog", state: "waybill.catalog.v1.Product", revision: 1 };
const READ = { step: 2, access: 1 };

test("reads a session's options, with default lifetimes", () => {
  const method = withOptions({ session: SESSION, method: READ }).method(WHERE);
  expect(method.session).toEqual({
    audience: "catalog",
    stateType: "waybill.catalog.v1.Product",
    revision: 1,
    mode: "carried",
    idleS: 1800,
    absoluteS: 86_400,
    checkpointEvery: 0,
    anchor: "own",
  });
  expect(method.repeatable).toBe(true);
});

test.each([
  [{ ...SESSION, audience: "" }, "audience must match"],
  [{ ...SESSION, audience: "Catalog/x" }, "audience must match"],
  [{ ...SESSION, state: "no.Such" }, "the protos have no message no.Such"],
  [{ ...SESSION, revision: 0 }, "revision starts at 1"],
  [{ ...SESSION, idle: { seconds: 1n } }, "idle must be at least 2 s"],
  [{ ...SESSION, absolute: { seconds: 60n } }, "absolute no shorter"],
])("names a service with contradictory session options: %o", (session, words) => {
  const read = () => withOptions({ session, method: READ });
  expect(read).toThrow("option session of waybill.catalog.v1.CatalogService");
  expect(read).toThrow(words);
});

test("accepts the shortest lifetimes of a session", () => {
  const seconds = { seconds: 2n };
  const session = { ...SESSION, idle: seconds, absolute: seconds, checkpointEvery: 5, anchor: 2 };
  expect(withOptions({ session, method: READ }).method(WHERE).session).toMatchObject({
    mode: "carried",
    idleS: 2,
    absoluteS: 2,
    checkpointEvery: 5,
    anchor: "session",
  });
});

test("reads carrier fields, and refuses one of another type", () => {
  const begin = contract.method("/waybill.session.v1.SessionService/BeginSession");
  expect([begin.requestCarrier, begin.responseCarrier]).toEqual(["waybill", "waybill"]);
  expect(contract.method(WHERE).requestCarrier).toBeUndefined();
  expect(withOptions({ carrier: false }).method(WHERE).requestCarrier).toBeUndefined();
  expect(() => withOptions({ carrier: true })).toThrow(
    "waybill.catalog.v1.GetProductRequest.name: a carrier is a waybill.options.v1.Waybill",
  );
});

test("names a method with contradictory options", () => {
  const name = `option method of ${WHERE}: `;
  expect(() => withOptions({ method: READ })).toThrow(`${name}has a step, but its service has no`);
  for (const step of [Step.STEP_END, Step.STEP_BIND, Step.STEP_RESUME]) {
    const method = { access: Access.ACCESS_AUTHENTICATED, step };
    expect(() => withOptions({ session: SESSION, method, streams: true })).toThrow(
      `${name}a stream may only begin, read or advance a session`,
    );
  }
  expect(withOptions({ session: SESSION, method: READ, streams: true }).method(WHERE).kind).toBe(
    "server_streaming",
  );
  const cache = { access: 1, cache: { maxAge: { seconds: 1n } } };
  expect(withOptions({ method: cache }).method(WHERE).cache?.maxAge?.seconds).toBe(1n);
  const level = MethodOptions_IdempotencyLevel.IDEMPOTENT;
  expect(() => withOptions({ method: cache, level })).toThrow(`${name}cache needs`);
});

test("reads cache options, and names a method with contradictory ones", () => {
  const read =
    (cache: Options, more: Options = {}, session?: Options) =>
    () =>
      withOptions({ method: { access: 1, cache, ...more }, ...(session && { session }) }).method(
        WHERE,
      );
  const vary = ["accept-language"];
  expect(read({ vary, resource: "name" })()).toMatchObject({ cache: { vary }, resource: "name" });
  expect(read({})().resource).toBeUndefined();
  const batch = contract.method("/waybill.catalog.v1.CatalogService/BatchGetProducts");
  expect(batch.resource).toBe("names");
  const name = `option method of ${WHERE}: `;
  for (const field of ["title", "Name"]) {
    expect(read({ resource: field })).toThrow(
      `${name}resource: waybill.catalog.v1.GetProductRequest has no field ${field} of strings`,
    );
  }
  for (const key of ["", "Accept", "x_y", "waybill", "authorization", "dpop", "x-forwarded-for"]) {
    expect(read({ vary: [key] })).toThrow(
      `${name}vary: responses cannot vary by the metadata key "${key}"`,
    );
  }
  const writes = `${name}cache needs a method that writes no session`;
  expect(read({}, { step: Step.STEP_ADVANCE }, SESSION)).toThrow(writes);
  expect(read({}, READ, SESSION)().cache).toMatchObject({ public: false });
  const closed = `${name}a public cache needs ACCESS_PUBLIC and no session`;
  expect(read({ public: true }, READ, SESSION)).toThrow(closed);
  expect(read({ public: true }, { access: Access.ACCESS_SERVICE })).toThrow(closed);
  expect(read({ maxAge: { seconds: -1n } })).toThrow(`${name}max_age and stale_while_revalidate`);
  const streams = { method: { access: 1, cache: {} }, streams: true };
  expect(() => withOptions(streams)).toThrow(`${name}cache needs a unary method`);
});

test("STEP_RESUME needs an authenticated caller and a session_name field", () => {
  const name = `option method of ${WHERE}: `;
  const RESUME = { step: 6, access: 3 };
  const anchored = { ...SESSION, mode: 2 };
  const read = (session: Options, method: Options) => () => withOptions({ session, method });
  expect(read(anchored, RESUME)).toThrow(`${name}STEP_RESUME needs a field with session_name`);
  const resume = contract.method("/waybill.checkout.v1.CheckoutService/ResumeCheckout");
  expect(resume).toMatchObject({ sessionName: "name", advancesAnchor: true, repeatable: true });
});

test("a client may retry an advance of an anchored session only", () => {
  const level = MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN;
  const advance = { step: 3, access: 1 };
  for (const [mode, isSafe] of [
    [1, false],
    [2, true],
    [3, true],
  ] as const) {
    const method = withOptions({ session: { ...SESSION, mode }, method: advance, level }).method(
      WHERE,
    );
    expect(method).toMatchObject({ repeatable: isSafe, advancesAnchor: isSafe, idempotent: false });
  }
});

test("a client may retry idempotent methods and methods that begin sessions", () => {
  const repeatable = (level: MethodOptions_IdempotencyLevel, step = 3) =>
    withOptions({ session: SESSION, method: { step, access: 1 }, level }).method(WHERE).repeatable;
  expect(repeatable(MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN)).toBe(false);
  expect(repeatable(MethodOptions_IdempotencyLevel.IDEMPOTENT)).toBe(true);
  expect(repeatable(MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS)).toBe(true);
  // The session that the first attempt began stays unused.
  expect(repeatable(MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN, 1)).toBe(true);
});

test("names a method that the protos lack", () => {
  expect(() => contract.method("/a.B/C")).toThrow("/a.B/C is not in the descriptor set");
  expect(contract.find("/a.B/C")).toBeUndefined();
});

test("a method's request limit is its own or the server's default", () => {
  const stated = withOptions({ method: { access: 1, maxRequestBytes: 5000 } }).method(WHERE);
  expect(largestRequest(stated, 1000)).toBe(5000);
  expect(largestRequest(contract.method(WHERE), 1000)).toBe(1000);
  // The message may also carry a waybill.
  const open = contract.method("/waybill.session.v1.SessionService/OpenSession");
  expect(largestRequest(open, 1000)).toBe(1000 + MAX_MESSAGE_WAYBILL);
  expect(() => withOptions({ method: { access: 1, maxRequestBytes: 2 ** 24 + 1 } })).toThrow(
    `option method of ${WHERE}: max_request_bytes is at most 16777216`,
  );
});

test.each<[string, unknown]>([
  ["nothing", Buffer.alloc(0)],
  ["text", Buffer.from('syntax = "proto3";')],
  ["JSON", Buffer.from('{"file": []}')],
  ["random bytes", Buffer.from("8f2b00ff19", "hex")],
  ["a message of another type", Buffer.from("0a0b0a09736f6d657468696e67", "hex")],
  ["an array", [10, 0]],
  ["a string", "image.binpb"],
  ["undefined", undefined],
])("refuses %s in place of a descriptor set", (_name, image) => {
  expect(() => readContract(contract.image)).not.toThrow();
  expect(() => readContract(image as Uint8Array)).toThrow(
    /^the contract must (be a descriptor set|have a service)/,
  );
});

test("names a file that is not a descriptor set", () => {
  expect(() => loadContract(import.meta.filename)).toThrow(
    `${import.meta.filename} must be a descriptor set`,
  );
});
