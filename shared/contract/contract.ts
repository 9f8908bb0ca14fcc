import { readFileSync } from "node:fs";
import { types } from "node:util";
import {
  type create,
  createFileRegistry,
  type DescExtension,
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescService,
  type FileRegistry,
  fromBinary,
  getOption,
  hasOption,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import {
  Access,
  Anchor,
  type Cache,
  Method as MethodOptions,
  Mode,
  Session as SessionOptions,
  Step,
} from "../../proto/gen/waybill/options/v1/options.ts";
import { AUDIENCE } from "../rings/ring.ts";
import { MAX_MESSAGE_WAYBILL } from "../waybill/carriers.ts";
import type { SessionContract } from "../waybill/session.ts";

const DEFAULT_IDLE_S = 30 * 60;
const DEFAULT_ABSOLUTE_S = 24 * 60 * 60;

/** Steps that advance an anchored session. A retry of such a call gets the saved response. */
const WRITES: ReadonlySet<Step> = new Set([
  Step.STEP_ADVANCE,
  Step.STEP_END,
  Step.STEP_BIND,
  Step.STEP_RESUME,
]);

const MODES: Readonly<Partial<Record<Mode, SessionContract["mode"]>>> = {
  [Mode.MODE_ANCHORED]: "anchored",
  [Mode.MODE_EITHER]: "either",
};

/** Steps that begin a new session with each call. */
const BEGINS: ReadonlySet<Step> = new Set([Step.STEP_BEGIN, Step.STEP_RESUME]);

/** Steps that a stream may have. */
const STREAMED: ReadonlySet<Step> = new Set([Step.STEP_BEGIN, Step.STEP_READ, Step.STEP_ADVANCE]);

/** Steps that write no session, so that responses may be cached. */
const READS: ReadonlySet<Step> = new Set([Step.STEP_UNSPECIFIED, Step.STEP_READ]);

/** No underscore: by default nginx and other proxies drop such keys. */
const VARY = /^[a-z][a-z0-9.-]{0,62}$/;
/** Keys that identify the caller or control caches and calls. They do not select a representation. */
const NO_VARY =
  /^(waybill|authorization|dpop|cookie|idempotency-key|if-none-match|cache-control|change|traceparent|tracestate|grpc-.*|x-waybill-.*|x-envoy-.*|x-forwarded-.*|content-type|te|user-agent|host)$/;

/** Highest `max_request_bytes`. */
const MAX_REQUEST_BYTES = 16 * 1024 * 1024;

/** The options and types of one method in the protos. */
export interface MethodContract {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly kind: DescMethod["methodKind"];
  /** Full name of the service. */
  readonly service: string;
  readonly step: Step;
  readonly access: Access;
  /** The required `aud` of access tokens; undefined if the service accepts none. */
  readonly audience: string | undefined;
  /** The required scopes of the access token: all of them. */
  readonly scopes: readonly string[];
  /** A DPoP proof is valid for one call only. */
  readonly singleUseProof: boolean;
  readonly cache: Cache | undefined;
  /** TypeScript name of the request field that names the resources in a cacheable response. */
  readonly resource: string | undefined;
  /** Undefined if the method has no step. */
  readonly session: SessionContract | undefined;
  /** TypeScript names of the message fields that carry the waybill. */
  readonly requestCarrier: string | undefined;
  readonly responseCarrier: string | undefined;
  /** TypeScript name of the request field that names the session to resume, for STEP_RESUME. */
  readonly sessionName: string | undefined;
  /** The method may advance an anchored session. Clients send an idempotency key. */
  readonly advancesAnchor: boolean;
  /** The proto declares the method idempotent or free of side effects. */
  readonly idempotent: boolean;
  /**
   * A client may retry the call. A retry that begins a second session leaves the first one unused. A retry
   * that advances an anchored session gets the saved response.
   */
  readonly repeatable: boolean;
  readonly request: DescMessage;
  /** Largest request in bytes; undefined if the proto does not set it. */
  readonly maxRequestBytes: number | undefined;
}

interface ServiceContract {
  readonly session: SessionContract | undefined;
  readonly audience: string | undefined;
}

/** The contract in a set of protos, for the SDK, the front proxy and the tools. */
export interface Contract {
  readonly registry: FileRegistry;
  /** The encoded descriptor set. */
  readonly image: Uint8Array;
  /** Returns undefined if the protos lack the method. @param path `/package.Service/Method` */
  find(path: string): MethodContract | undefined;
  /** @throws Error naming the method if the protos lack it */
  method(path: string): MethodContract;
  readonly methods: readonly MethodContract[];
}

/**
 * Reads the contract from a file with a descriptor set. Make the file with
 * `buf build --as-file-descriptor-set -o image.binpb`.
 *
 * @throws Error naming the file if it is not a descriptor set or has no method, or naming the service or
 *   method with contradictory options
 */
export function loadContract(file: string | URL): Contract {
  return readContract(readFileSync(file), String(file));
}

/** Reads the contract from a descriptor set. @param name of the set, for errors */
export function readContract(image: Uint8Array, name = "the contract"): Contract {
  let registry: FileRegistry;
  try {
    if (!types.isUint8Array(image)) throw new TypeError("not a Uint8Array");
    registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
  } catch (cause) {
    throw new Error(
      `${name} must be a descriptor set with imports, as \`buf build --as-file-descriptor-set\` makes it`,
      { cause },
    );
  }
  const methods = new Map<string, MethodContract>();
  for (const type of registry) {
    if (type.kind !== "service") continue;
    const service = serviceContract(registry, type);
    for (const method of type.methods) {
      const read = methodContract(registry, type, method, service);
      methods.set(read.path, read);
    }
  }
  // Without methods a server would enforce no rules, and a client would neither retry nor send waybills.
  if (methods.size === 0) throw new Error(`${name} must have a service with a method`);
  return {
    registry,
    image,
    methods: [...methods.values()],
    find: (path) => methods.get(path),
    method(path) {
      const found = methods.get(path);
      if (found === undefined) throw new Error(`${path} is not in the descriptor set`);
      return found;
    },
  };
}

/** Returns a method's largest request, in bytes. @param unstated the limit if the proto sets none */
export function largestRequest(method: MethodContract, unstated: number): number {
  if (method.maxRequestBytes !== undefined) return method.maxRequestBytes;
  return unstated + (method.requestCarrier === undefined ? 0 : MAX_MESSAGE_WAYBILL);
}

/** @throws Error naming the argument if it is not a contract */
export function checkContract(name: string, contract: Contract | undefined): void {
  if (typeof contract?.method === "function" && typeof contract.find === "function") return;
  throw new Error(`${name} must be what loadContract or readContract returns`);
}

function serviceContract(registry: FileRegistry, service: DescService): ServiceContract {
  const session = sessionContract(registry, service);
  const extension = registry.getExtension("waybill.options.v1.audience");
  const named =
    extension && hasOption(service, extension) ? String(getOption(service, extension)) : undefined;
  if (named !== undefined && !AUDIENCE.test(named)) {
    throw new Error(`option audience of ${service.typeName}: must match ${AUDIENCE}`);
  }
  return { session, audience: named ?? session?.audience };
}

function sessionContract(
  registry: FileRegistry,
  service: DescService,
): SessionContract | undefined {
  const bytes = option(registry, service, "waybill.options.v1.session");
  if (bytes === undefined) return undefined;
  const { audience, state, revision, mode, idle, absolute, checkpointEvery, anchor } =
    SessionOptions.decode(bytes);
  const contract = {
    audience,
    stateType: state,
    revision,
    mode: MODES[mode] ?? "carried",
    idleS: idle ? Number(idle.seconds) : DEFAULT_IDLE_S,
    absoluteS: absolute ? Number(absolute.seconds) : DEFAULT_ABSOLUTE_S,
    checkpointEvery,
    anchor: anchor === Anchor.ANCHOR_SESSION ? ("session" as const) : ("own" as const),
  };
  const wrong = (what: string) => new Error(`option session of ${service.typeName}: ${what}`);
  if (!AUDIENCE.test(audience)) throw wrong(`audience must match ${AUDIENCE}`);
  if (registry.getMessage(state) === undefined) throw wrong(`the protos have no message ${state}`);
  if (revision < 1) throw wrong("revision starts at 1");
  if (contract.idleS < 2 || contract.absoluteS < contract.idleS) {
    throw wrong("idle must be at least 2 s, and absolute no shorter");
  }
  return contract;
}

function methodContract(
  registry: FileRegistry,
  service: DescService,
  method: DescMethod,
  { session, audience }: ServiceContract,
): MethodContract {
  const bytes = option(registry, method, "waybill.options.v1.method") ?? new Uint8Array();
  const { step, access, cache, scopes, singleUseProof, maxRequestBytes } =
    MethodOptions.decode(bytes);
  const path = `/${service.typeName}/${method.name}`;
  const wrong = (what: string) => new Error(`option method of ${path}: ${what}`);
  const { methodKind: kind, idempotency } = method;
  const isSafe = idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
  const idempotent = isSafe || idempotency === MethodOptions_IdempotencyLevel.IDEMPOTENT;
  const advancesAnchor = session !== undefined && session.mode !== "carried" && WRITES.has(step);
  const contract: MethodContract = {
    path,
    kind,
    service: service.typeName,
    step,
    access,
    audience,
    scopes,
    singleUseProof,
    cache,
    resource: cache?.resource ? resourceField(method.input, cache.resource, wrong) : undefined,
    session: step === Step.STEP_UNSPECIFIED ? undefined : session,
    requestCarrier: carrier(registry, method.input),
    responseCarrier: carrier(registry, method.output),
    sessionName: marked(registry, method.input, "waybill.options.v1.session_name")?.localName,
    advancesAnchor,
    idempotent,
    // The client cannot know which messages of a request stream the server received.
    repeatable: !streamsRequests(kind) && (idempotent || advancesAnchor || BEGINS.has(step)),
    request: method.input,
    maxRequestBytes: maxRequestBytes === 0 ? undefined : maxRequestBytes,
  };
  checkStep(contract, wrong);
  checkAccess(contract, wrong);
  if (maxRequestBytes > MAX_REQUEST_BYTES) {
    throw wrong(`max_request_bytes is at most ${MAX_REQUEST_BYTES}`);
  }
  if (cache !== undefined && !isSafe) throw wrong("cache needs idempotency_level NO_SIDE_EFFECTS");
  if (cache !== undefined) checkCache(cache, contract, wrong);
  return contract;
}

function streamsRequests(kind: MethodContract["kind"]): boolean {
  return kind === "client_streaming" || kind === "bidi_streaming";
}

function checkStep(
  { step, kind, session, sessionName, requestCarrier }: MethodContract,
  wrong: (what: string) => Error,
): void {
  if (streamsRequests(kind) && requestCarrier !== undefined) {
    throw wrong("a request stream sends its waybill in the metadata, not in a carrier field");
  }
  if (step === Step.STEP_UNSPECIFIED) return;
  if (session === undefined) throw wrong("has a step, but its service has no option session");
  if (kind !== "unary" && !STREAMED.has(step)) {
    throw wrong("a stream may only begin, read or advance a session");
  }
  if (step === Step.STEP_RESUME && sessionName === undefined) {
    throw wrong("STEP_RESUME needs a field with session_name");
  }
}

function checkAccess(
  { step, access, audience, scopes }: MethodContract,
  wrong: (what: string) => Error,
): void {
  if (access === Access.ACCESS_AUTHENTICATED) {
    if (audience === undefined) {
      throw wrong("takes access tokens, but its service has no option audience");
    }
    return;
  }
  if (scopes.length > 0) throw wrong("scopes need ACCESS_AUTHENTICATED");
  if (step === Step.STEP_BIND || step === Step.STEP_RESUME) {
    throw wrong("STEP_BIND and STEP_RESUME need ACCESS_AUTHENTICATED");
  }
}

function checkCache(
  { maxAge, staleWhileRevalidate, public: isPublic, vary }: Cache,
  { kind, step, access }: MethodContract,
  wrong: (what: string) => Error,
): void {
  if (kind !== "unary") throw wrong("cache needs a unary method");
  if (!READS.has(step)) throw wrong("cache needs a method that writes no session");
  if ((maxAge?.seconds ?? 0n) < 0n || (staleWhileRevalidate?.seconds ?? 0n) < 0n) {
    throw wrong("max_age and stale_while_revalidate must not be negative");
  }
  if (isPublic && (access !== Access.ACCESS_PUBLIC || step !== Step.STEP_UNSPECIFIED)) {
    throw wrong(
      "a public cache needs ACCESS_PUBLIC and no session: other responses belong to one caller",
    );
  }
  const bad = vary.find((key) => !VARY.test(key) || NO_VARY.test(key));
  if (bad !== undefined) throw wrong(`vary: responses cannot vary by the metadata key "${bad}"`);
}

/** @throws Error if the request has no such field, or the field holds no strings */
function resourceField(request: DescMessage, name: string, wrong: (what: string) => Error): string {
  const field = request.fields.find((each) => each.name === name);
  const isText =
    (field?.fieldKind === "scalar" ||
      (field?.fieldKind === "list" && field.listKind === "scalar")) &&
    field.scalar === ScalarType.STRING;
  if (field === undefined || !isText) {
    throw wrong(`resource: ${request.typeName} has no field ${name} of strings`);
  }
  return field.localName;
}

function carrier(registry: FileRegistry, message: DescMessage): string | undefined {
  const field = marked(registry, message, "waybill.options.v1.carrier");
  if (field !== undefined && field.message?.typeName !== "waybill.options.v1.Waybill") {
    throw new Error(`${message.typeName}.${field.name}: a carrier is a waybill.options.v1.Waybill`);
  }
  return field?.localName;
}

/** Finds the field of a message with a boolean option set to true. */
function marked(
  registry: FileRegistry,
  message: DescMessage,
  option: string,
): DescField | undefined {
  const extension = registry.getExtension(option);
  if (extension === undefined) return undefined;
  return message.fields.find(
    (field) => hasOption(field, extension) && getOption(field, extension) === true,
  );
}

/** Returns a message-typed option, encoded for the generated code. */
function option(
  registry: FileRegistry,
  desc: DescService | DescMethod,
  name: string,
): Uint8Array | undefined {
  const extension: DescExtension | undefined = registry.getExtension(name);
  if (extension?.message === undefined || !hasOption(desc, extension)) return undefined;
  const value = getOption(desc, extension) as ReturnType<typeof create>;
  return toBinary(extension.message, value);
}
