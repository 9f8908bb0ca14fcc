import {
  InterceptingCall,
  type InterceptingListener,
  type Interceptor,
  Metadata,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { Step, type Waybill } from "../../../proto/gen/waybill/options/v1/options.ts";
import { type Contract, checkContract, type MethodContract } from "../../contract/contract.ts";
import { readError } from "../../errors.ts";
import { KeyedQueue } from "../../runtime/keyedQueue.ts";
import { fieldToMetadataValue, SESSION_KEY, WAYBILL_KEY } from "../../waybill/carriers.ts";
import { setSecret } from "../../waybill/metadata.ts";
import { retrying } from "../retry.ts";
import type { AttemptOptions } from "../retryPlan.ts";
import { authorizing, SignIn, type SignInOptions } from "./signIn.ts";
import { MemoryStore, type Store } from "./stores.ts";

/** After these errors the waybill that was sent cannot be used again. */
const SPENT = new Set(["WAYBILL_INVALID", "WAYBILL_EXPIRED", "WAYBILL_ENDED", "WAYBILL_REVOKED"]);

export interface JarOptions {
  contract: Contract;
  /** Default: memory. */
  store?: Store;
  /** Where people sign in. Default: `signIn` is an error. */
  signIn?: SignInOptions;
}

/**
 * Keeps waybills for a client and sends them along: one place for all audiences and sessions.
 *
 * Calls that write a session (begin, advance, end) are made one at a time, in the order in which they
 * were started; reads go in parallel, with the newest waybill there is.
 *
 *     const jar = new Jar({ contract });
 *     const client = createClient(CheckoutServiceService, target, {
 *       interceptors: [jar.interceptor()],
 *     });
 */
export class Jar {
  readonly #contract: Contract;
  readonly #store: Store;
  readonly #turns = new KeyedQueue();
  readonly #signIn: SignIn | undefined;

  /** @throws Error naming the option that breaks a rule */
  constructor(options: JarOptions) {
    checkContract("Jar: contract", options?.contract);
    const { contract, store = new MemoryStore(), signIn } = options;
    for (const method of ["get", "set", "delete"] as const) {
      if (typeof store?.[method] !== "function") {
        throw new Error(`Jar: store must have the method ${method}`);
      }
    }
    this.#contract = contract;
    this.#store = store;
    this.#signIn = signIn && new SignIn(store, signIn);
  }

  /**
   * Signs a person in: from now on the calls of this jar's clients carry their access token, which the jar
   * renews. A session that was begun before can be bound to them by a method with STEP_BIND.
   *
   * @param device names this sign-in in the person's list of sign-ins
   * @throws Error when the jar has no option `signIn`; rejects with the service's error
   */
  signIn(username: string, secret: string, device?: string): Promise<void> {
    return this.#signedIn().signIn(username, secret, device);
  }

  /** Ends the sign-in, everywhere, and forgets all sessions. */
  async signOut(): Promise<void> {
    const signIn = this.#signedIn();
    for (const { session } of this.#contract.methods) {
      if (session !== undefined) this.forget(session.audience);
    }
    await signIn.signOut();
  }

  get isSignedIn(): boolean {
    return this.#signIn?.isSignedIn ?? false;
  }

  /** Closes the jar's own connections. */
  close(): void {
    this.#signIn?.close();
  }

  /**
   * The interceptor of one session of each audience.
   *
   * @param session tells several sessions of one audience apart
   */
  interceptor(session = "default"): Interceptor {
    const parts = [
      this.#taking(session),
      retrying(this.#contract, {
        newestWaybill: (audience) => this.peek(audience, session),
        isSignedIn: () => this.isSignedIn,
        renewToken: async (refused) => this.#signedIn().replace(refused),
      }),
      this.#waybills(session),
      ...(this.#signIn === undefined ? [] : [authorizing(this.#contract, this.#signIn)]),
    ];
    return parts.reduceRight((inner, outer) => (options, nextCall) => {
      return outer(options, (passed) => inner({ ...options, ...passed }, nextCall));
    });
  }

  #signedIn(): SignIn {
    if (this.#signIn !== undefined) return this.#signIn;
    throw new Error("this jar has no option signIn, which names the token service");
  }

  #waybills(session: string): Interceptor {
    return (options: AttemptOptions, nextCall) => {
      const method = this.#contract.find(options.method_definition.path);
      const call = nextCall(options);
      if (method?.session === undefined) return new InterceptingCall(call);
      const key = `${method.session.audience}/${session}`;
      return this.#intercept(call, method, key, options.attempt?.freshWaybill ?? true);
    };
  }

  /** A call that writes a session keeps its turn through all its attempts. */
  #taking(session: string): Interceptor {
    return (options, nextCall) => {
      const method = this.#contract.find(options.method_definition.path);
      const call = nextCall(options);
      if (method?.session === undefined || method.step === Step.STEP_READ) {
        return new InterceptingCall(call);
      }
      return this.#inTurn(call, `${method.session.audience}/${session}`, options.deadline);
    };
  }

  /** Returns a session's newest waybill, to pass it on by other means. */
  peek(audience: string, session = "default"): string | undefined {
    return this.#store.get(`${audience}/${session}`);
  }

  /** Stores a waybill that was received by other means. */
  put(audience: string, waybill: string, session = "default"): void {
    this.#store.set(`${audience}/${session}`, waybill);
  }

  /** Forgets a session's waybill without telling the service. */
  forget(audience: string, session = "default"): void {
    this.#store.delete(`${audience}/${session}`);
  }

  #intercept(
    call: ConstructorParameters<typeof InterceptingCall>[0],
    method: MethodContract,
    key: string,
    isFresh: boolean,
  ): InterceptingCall {
    const isStream = method.kind !== "unary";
    return new InterceptingCall(call, {
      start: (metadata, _listener, next) => {
        // With another waybill a repeated call could advance the session a second time.
        const repeated = isFresh ? undefined : lastOf(metadata);
        const sent = repeated ?? this.#store.get(key);
        let received: string | undefined;
        metadata.remove(WAYBILL_KEY);
        // A call that names its session advances from its current version, not from this waybill.
        const isNamed = metadata.get(SESSION_KEY).length > 0;
        if (sent !== undefined && !isNamed) setSecret(metadata, WAYBILL_KEY, sent);
        next(metadata, {
          onReceiveMetadata: (reply, nextMetadata) => {
            received = lastOf(reply);
            // A stream that breaks resumes from the last waybill that it brought.
            if (isStream) this.#keep(method, key, sent, received);
            nextMetadata(reply);
          },
          onReceiveMessage: (message, nextMessage) => {
            if (isStream) {
              received = waybillOf(method, message) ?? received;
              this.#keep(method, key, sent, received);
            }
            nextMessage(message);
          },
          onReceiveStatus: (result, nextStatus) => {
            received = lastOf(result.metadata) ?? received;
            if (result.code === status.OK) this.#keep(method, key, sent, received);
            // The error of a call that names its session says nothing about the stored waybill.
            else if (!isNamed && method.step !== Step.STEP_RESUME) {
              this.#dropIfSpent(key, sent, result);
            }
            nextStatus(result);
          },
        });
      },
    });
  }

  #inTurn(
    call: ConstructorParameters<typeof InterceptingCall>[0],
    key: string,
    deadline: Date | number | undefined,
  ): InterceptingCall {
    let leave = () => {};
    // Ends a call that still waits for its turn: nothing below has been started yet.
    let endWaiting: ((status: StatusObject) => void) | undefined;
    return new InterceptingCall(call, {
      start: (metadata, listener, next) => {
        const start = () =>
          next(metadata, {
            onReceiveStatus: (result, nextStatus) => {
              leave();
              nextStatus(result);
            },
          });
        leave = this.#waitForTurn(key, listener, deadline, start, (end) => {
          endWaiting = end;
        });
      },
      cancel: (next) => {
        if (endWaiting === undefined) next();
        else endWaiting(ended(status.CANCELLED, "Cancelled while another call wrote the session."));
      },
    });
  }

  #waitForTurn(
    key: string,
    listener: InterceptingListener | Partial<InterceptingListener>,
    deadline: Date | number | undefined,
    start: () => void,
    whileWaiting: (end: ((status: StatusObject) => void) | undefined) => void,
  ): () => void {
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const begin = () => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      whileWaiting(undefined);
      start();
    };
    const end = (result: StatusObject) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      leave();
      listener.onReceiveStatus?.(result);
    };
    whileWaiting(end);
    const leave = this.#turns.take(key, begin);
    const leftMs =
      deadline === undefined ? Number.POSITIVE_INFINITY : Number(deadline) - Date.now();
    if (!over && leftMs < 2 ** 31) {
      timer = setTimeout(
        () =>
          end(
            ended(status.DEADLINE_EXCEEDED, "Another call wrote the session until the deadline."),
          ),
        leftMs,
      );
    }
    return leave;
  }

  #keep(method: MethodContract, key: string, sent: string | undefined, received?: string): void {
    if (received === undefined) return;
    // The response of a read may come after that of a later advance, with an older waybill.
    if (method.step === Step.STEP_READ && this.#store.get(key) !== sent) return;
    if (received === "") this.#store.delete(key);
    else this.#store.set(key, received);
  }

  #dropIfSpent(key: string, sent: string | undefined, result: StatusObject): void {
    const { reason, domain } = readError(result);
    if (domain !== "waybill" || !SPENT.has(reason)) return;
    if (this.#store.get(key) === sent) this.#store.delete(key);
  }
}

/** The waybill in a stream's message. */
function waybillOf({ responseCarrier }: MethodContract, message: unknown): string | undefined {
  if (responseCarrier === undefined) return undefined;
  const field = (message as Record<string, Waybill | undefined>)[responseCarrier];
  return fieldToMetadataValue(field);
}

function lastOf(metadata: Metadata): string | undefined {
  return metadata.get(WAYBILL_KEY).at(-1)?.toString();
}

function ended(code: status, details: string): StatusObject {
  return { code, details, metadata: new Metadata() };
}
