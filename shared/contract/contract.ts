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

/** What an anchored session advances by. A call that is made again is answered as it was. */
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

/** What begins a session with each call. */
const BEGINS: ReadonlySet<Step> = new Set([Step.STEP_BEGIN, Step.STEP_RESUME]);

/** What a stream may do with its session. */
const STREAMED: ReadonlySet<Step> = new Set([Step.STEP_BEGIN, Step.STEP_READ, Step.STEP_ADVANCE]);

/** What a session may be read by: a cache that repeats its answer changes nothing. */
const READS: ReadonlySet<Step> = new Set([Step.STEP_UNSPECIFIED, Step.STEP_READ]);

/** No underscore: other proxies on the way, such as nginx, drop such keys unless told otherwise. */
const VARY = /^[a-z][a-z0-9.-]{0,62}$/;
/** Keys that say who calls, or how caches and calls are handled, not what is asked for. */
const NO_VARY =
  /^(waybill|authorization|dpop|cookie|idempotency-key|if-none-match|cache-control|change|traceparent|tracestate|grpc-.*|x-waybill-.*|x-envoy-.*|x-forwarded-.*|content-type|te|user-agent|host)$/;

/** Largest request that a method may state, in bytes. */
const MAX_REQUEST_BYTES = 16 * 1024 * 1024;

/** What the protos say of one method. */
export interface MethodContract {
  /** `/package.Service/Method`. */
  readonly path: string;
  readonly kind: DescMethod["methodKind"];
  /** Full name of the service. */
  readonly service: string;
  readonly step: Step;
  readonly access: Access;
  /** What an access token must name in `aud`; undefined where the service takes none. */
  readonly audience: string | undefined;
  /** What it must allow: all of these. */
  readonly scopes: readonly string[];
  /** A DPoP proof is good for one call alone. */
  readonly singleUseProof: boolean;
  readonly cache: Cache | undefined;
  /** Name, as in TypeScript, of the field that names the resources which a cacheable answer shows. */
  readonly resource: string | undefined;
  /** Undefined where the service has no sessions. */
  readonly session: SessionContract | undefined;
  /** Names, as in TypeScript, of the fields that carry the waybill in a message. */
  readonly requestCarrier: string | undefined;
  readonly responseCarrier: string | undefined;
  /** Name of the field that names the session to resume, for STEP_RESUME. */
  readonly sessionName: string | undefined;
  /** It may advance an anchored session: to be called with an idempotency key. */
  readonly advancesAnchor: boolean;
  /** Its proto says that asking twice does no more than asking once, whatever happened between. */
  readonly idempotent: boolean;
  /**
   * Asking twice does no more than asking once. A session begun twice is one too many that nobody
   * holds; a call of an anchored session that is made again is answered as it was before.
   */
  readonly repeatable: boolean;
  readonly request: DescMessage;
  /** Largest request in bytes, where the proto states one. */
  readonly maxRequestBytes: number | undefined;
}

/** What the protos say of one service. */
interface ServiceContract {
  readonly session: SessionContract | undefined;
  readonly audience: string | undefined;
}

/** What a set of protos says: the one place where SDK, front proxy and tools learn it. */
export interface Contract {
  readonly registry: FileRegistry;
  /** The descriptor set that it was read from. */
  readonly image: Uint8Array;
  /** Undefined when the protos do not have it. @param path `/package.Service/Method` */
  find(path: string): MethodContract | undefined;
  /** @throws Error naming the method when the protos do not have it */
  method(path: string): MethodContract;
  readonly methods: readonly MethodContract[];
}

/**
 * Reads the contract from a descriptor set, as
 * `buf build --as-file-descriptor-set -o image.binpb` makes it.
 *
 * @throws Error naming the file when it is no descriptor set or has no service, or the service or method
 *   whose options contradict themselves
 */
export function loadContract(file: string | URL): Contract {
  return readContract(readFileSync(file), String(file));
}

/** The same, from the descriptor set itself. @param name of it, for errors */
export function readContract(image: Uint8Array, name = "the contract"): Contract {
  let registry: FileRegistry;
  try {
    if (!types.isUint8Array(image)) throw new TypeError("it is no Uint8Array");
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
  // Without methods a server would have no rules, and a client would neither retry nor send waybills.
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

/** The largest request of a method, in bytes. @param unstated that of methods which state none */
export function largestRequest(method: MethodContract, unstated: number): number {
  if (method.maxRequestBytes !== undefined) return method.maxRequestBytes;
  return unstated + (method.requestCarrier === undefined ? 0 : MAX_MESSAGE_WAYBILL);
}

/** @throws Error naming the argument that is no contract */
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
  if (registry.getMessage(state) === undefined) throw wrong(`there is no message ${state}`);
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
  const kind = method.methodKind;
  const hasManyRequests = kind === "client_streaming" || kind === "bidi_streaming";
  if (step !== Step.STEP_UNSPECIFIED) {
    if (session === undefined) throw wrong("has a step, but its service has no option session");
    if (kind !== "unary" && !STREAMED.has(step)) {
      throw wrong("a stream may begin, read or advance a session, and nothing else");
    }
  }
  if (access === Access.ACCESS_AUTHENTICATED && audience === undefined) {
    throw wrong("takes access tokens, but its service has no option audience");
  }
  if (scopes.length > 0 && access !== Access.ACCESS_AUTHENTICATED) {
    throw wrong("scopes need ACCESS_AUTHENTICATED");
  }
  if (maxRequestBytes > MAX_REQUEST_BYTES) {
    throw wrong(`max_request_bytes is at most ${MAX_REQUEST_BYTES}`);
  }
  const sessionName = marked(registry, method.input, "waybill.options.v1.session_name")?.localName;
  if (step === Step.STEP_RESUME) {
    if (sessionName === undefined) throw wrong("STEP_RESUME needs a field with session_name");
  }
  if (
    (step === Step.STEP_BIND || step === Step.STEP_RESUME) &&
    access !== Access.ACCESS_AUTHENTICATED
  ) {
    throw wrong("STEP_BIND and STEP_RESUME need ACCESS_AUTHENTICATED");
  }
  const requestCarrier = carrier(registry, method.input);
  if (hasManyRequests && requestCarrier !== undefined) {
    throw wrong("a stream of requests brings its waybill in the metadata, not in a carrier field");
  }
  const level = method.idempotency;
  const safe = level === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
  const advancesAnchor = session !== undefined && session.mode !== "carried" && WRITES.has(step);
  const idempotent = safe || level === MethodOptions_IdempotencyLevel.IDEMPOTENT;
  if (cache !== undefined && !safe) throw wrong("cache needs idempotency_level NO_SIDE_EFFECTS");
  if (cache !== undefined) checkCache(cache, { kind, step, access }, wrong);
  return {
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
    requestCarrier,
    responseCarrier: carrier(registry, method.output),
    sessionName,
    advancesAnchor,
    idempotent,
    // Of many requests nobody between here and the caller knows which were heard.
    repeatable: !hasManyRequests && (idempotent || advancesAnchor || BEGINS.has(step)),
    request: method.input,
    maxRequestBytes: maxRequestBytes === 0 ? undefined : maxRequestBytes,
  };
}

function checkCache(
  { maxAge, staleWhileRevalidate, public: isPublic, vary }: Cache,
  { kind, step, access }: Pick<MethodContract, "kind" | "step" | "access">,
  wrong: (what: string) => Error,
): void {
  if (kind !== "unary") throw wrong("cache needs one request and one answer");
  if (!READS.has(step)) throw wrong("cache needs a method that writes no session");
  if ((maxAge?.seconds ?? 0n) < 0n || (staleWhileRevalidate?.seconds ?? 0n) < 0n) {
    throw wrong("max_age and stale_while_revalidate are not below 0");
  }
  if (isPublic && (access !== Access.ACCESS_PUBLIC || step !== Step.STEP_UNSPECIFIED)) {
    throw wrong(
      "a public cache needs ACCESS_PUBLIC and no session: else answers are the caller's own",
    );
  }
  const bad = vary.find((key) => !VARY.test(key) || NO_VARY.test(key));
  if (bad !== undefined) throw wrong(`vary: ${bad} is no metadata key that an answer varies by`);
}

/** @throws Error where the request has no such field, or it holds no strings */
function resourceField(request: DescMessage, name: string, wrong: (what: string) => Error): string {
  const field = request.fields.find((each) => each.name === name);
  const isText =
    (field?.fieldKind === "scalar" ||
      (field?.fieldKind === "list" && field.listKind === "scalar")) &&
    field.scalar === ScalarType.STRING;
  if (field === undefined || !isText) {
    throw wrong(`resource: ${request.typeName} has no string or strings ${name}`);
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

/** The field of a message that an option is true for. */
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

/** A message-typed option, encoded, so that the generated code can read it. */
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
