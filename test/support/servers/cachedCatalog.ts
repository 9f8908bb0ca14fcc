import { Metadata, type ServerUnaryCall } from "@grpc/grpc-js";
import {
  type BatchGetProductsRequest,
  CatalogServiceService,
  type GetProductRequest,
  Product,
} from "#proto/waybill/catalog/v1/catalog.ts";
import { CacheScope } from "#shared/cache/cacheScope.ts";
import { changeIn, seeChange, withChange } from "#shared/cache/changeNumbers.ts";
import type { Change, Changes } from "#shared/cache/changes.ts";
import { ResponseCache } from "#shared/cache/responseCache.ts";
import { cachedCall } from "#shared/client/cachedCall.ts";
import type { CallSettings } from "#shared/client/client.ts";
import type { MethodContract } from "#shared/contract/contract.ts";
import { caching, recordingResources } from "#shared/server/caching.ts";
import { Call, type Handler } from "#shared/server/call.ts";
import { revalidation } from "#shared/server/revalidation.ts";
import { contract } from "../clients.ts";

/** Resources of a request: one product, all products by language, or some products for one caller. */
export const METHODS = ["getProduct", "listProducts", "batchGetProducts"] as const;
export type MethodName = (typeof METHODS)[number];

/** A read: its caller and the products. */
export interface Question {
  readonly method: MethodName;
  readonly ids: readonly number[];
  readonly who: string;
  readonly lang: string;
  /** True if the caller refuses cached responses. */
  readonly isFresh: boolean;
}

const LIFE = {
  maxAge: { seconds: 60n, nanos: 0 },
  staleWhileRevalidate: { seconds: 60n, nanos: 0 },
};
export const LIFE_MS = 120_000;

function contractOf(name: MethodName): MethodContract {
  const method = contract.method(CatalogServiceService[name].path);
  const isPublic = name !== "batchGetProducts";
  const vary = name === "listProducts" ? ["lang"] : [];
  return { ...method, cache: { ...method.cache!, ...LIFE, public: isPublic, vary } };
}

/**
 * Simulates catalogs and their callers without a network. The caches are the real ones. Every step between
 * them waits at a gate until the test opens it.
 */
export class CachedCatalog {
  /** Every product after each change; the index is the number of the change. */
  readonly states: (readonly number[])[];
  readonly changes: Change[] = [];
  clock = 0;
  readonly #gates: (() => void)[] = [];
  readonly #caches: ResponseCache[] = [];
  #owns = 0;
  readonly #clocks = { wall: () => this.clock, monotonic: () => this.clock };

  constructor(products: number) {
    this.states = [Array.from({ length: products }, () => 0)];
  }

  /** Number of the newest change. */
  get head(): number {
    return this.states.length - 1;
  }

  /** Commits a change of a product. @returns its number */
  write(id: number): number {
    const number = this.states.length;
    this.states.push(this.states.at(-1)!.with(id, number));
    this.changes.push({ number: BigInt(number), resources: [`products/${id + 1}`] });
    return number;
  }

  /** The uncached response to a request, after a given change. */
  at({ method, ids, who, lang }: Question, number: number): string {
    const state = this.states[number]!;
    const all = state.map((_, id) => id);
    const asked = { getProduct: ids.slice(0, 1), listProducts: all, batchGetProducts: ids }[method];
    const director = { getProduct: "", listProducts: lang, batchGetProducts: who }[method];
    return JSON.stringify(asked.map((id) => [`products/${id + 1}`, `${state[id]}`, director]));
  }

  gate(): Promise<void> {
    return new Promise((resolve) => this.#gates.push(resolve));
  }

  /** Opens the gate for one waiting step. @returns whether one was waiting */
  async release(which: number): Promise<boolean> {
    // Work before the next gate finishes first.
    await new Promise(setImmediate);
    const [go] = this.#gates.splice(which % Math.max(1, this.#gates.length), 1);
    go?.();
    return go !== undefined;
  }

  cache(): ResponseCache {
    const cache = new ResponseCache({ maxBytes: 1_000_000, clocks: this.#clocks });
    this.#caches.push(cache);
    return cache;
  }

  /** Number of cached responses. */
  get hits(): number {
    return this.#caches.reduce((sum, { stats }) => sum + stats.hits + stats.stale, 0);
  }

  /** Next batch of a feed follower. */
  deliver(scope: CacheScope, most: number): void {
    const from = Number(scope.position);
    const upTo = Math.min(this.head, from + most);
    scope.apply(BigInt(upTo), this.changes.slice(from, upTo));
  }

  /** A replica: its handler for each method. @param scope undefined: it has no cache */
  server(scope: CacheScope | undefined): Record<MethodName, Handler> {
    const of = (name: MethodName): Handler => {
      const method = contractOf(name);
      const definition = CatalogServiceService[name];
      const encode = definition.responseSerialize as (response: unknown) => Buffer;
      const user: Handler = async (request, call) => {
        await this.gate();
        const { head } = this;
        await this.gate();
        const director = {
          getProduct: () => this.#own(head, call),
          listProducts: () => `${call.metadata.get("lang")[0]}`,
          batchGetProducts: () => call.caller.jwt ?? "",
        }[name]();
        const products = this.#products(name, request, director, head);
        return name === "getProduct" ? products[0] : { products, nextPageToken: "" };
      };
      const asked = recordingResources(
        method,
        revalidation(method, user, encode, () => definition.responseDeserialize(Buffer.alloc(0))),
      );
      const decoding: Handler = async (bytes, call) => {
        const response = await asked(definition.requestDeserialize(bytes as Buffer), call);
        return Buffer.isBuffer(response) ? response : encode(response);
      };
      return scope ? caching(method, decoding, encode, scope, () => () => {}) : decoding;
    };
    return {
      getProduct: of("getProduct"),
      listProducts: of("listProducts"),
      batchGetProducts: of("batchGetProducts"),
    };
  }

  /**
   * A caller's path to the replicas.
   *
   * @param known the caller's cache, or the changes that it remembers and sends
   * @param pick selects the next replica
   */
  client(known: CacheScope | Changes, pick: () => Record<MethodName, Handler>) {
    const scope = known instanceof CacheScope ? known : undefined;
    const send = (name: MethodName) => async (request: unknown, settings: CallSettings) => {
      const definition = CatalogServiceService[name];
      const bytes = (definition.requestSerialize as (message: unknown) => Buffer)(request);
      await this.gate();
      const metadata = withChange(settings.metadata ?? new Metadata(), known);
      const grpcCall = {
        metadata,
        cancelled: false,
        getDeadline: () => Number.POSITIVE_INFINITY,
        getPeer: () => "",
        once: () => {},
      };
      const call = new Call(
        definition.path,
        grpcCall as unknown as ServerUnaryCall<unknown, unknown>,
      );
      call.caller = { jwt: `${metadata.get("authorization")[0] ?? ""}` };
      const answer = (await pick()[name](bytes, call)) as Buffer;
      await this.gate();
      seeChange(known, call.reply);
      settings.onMetadata?.(call.reply);
      return definition.responseDeserialize(answer);
    };
    const methods = Object.fromEntries(
      METHODS.map((name) => [
        name,
        scope
          ? cachedCall(contractOf(name), CatalogServiceService[name], {
              scope,
              send: send(name),
              plain: send(name),
              timeoutMs: Number.POSITIVE_INFINITY,
              identity: async ({ metadata }) => `1 ${metadata?.get("authorization")[0]}`,
            })
          : send(name),
      ]),
    );
    return async ({ method, ids, who, lang, isFresh }: Question) => {
      const metadata = new Metadata();
      metadata.set("authorization", who);
      metadata.set("lang", lang);
      if (isFresh) metadata.set("cache-control", "no-cache");
      let claimed = 0;
      const onMetadata = (reply: Metadata) => {
        claimed = Number(changeIn(reply));
      };
      const names = ids.map((id) => `products/${id + 1}`);
      const request = {
        name: names[0],
        names,
        pageSize: 0,
        pageToken: "",
        filter: "",
        orderBy: "",
      };
      const answer = await methods[method]!(request, { metadata, onMetadata });
      const products =
        method === "getProduct" ? [answer] : (answer as { products: unknown }).products;
      return {
        claimed,
        text: JSON.stringify(
          (products as Product[]).map(({ name, title, director }) => [name, title, director]),
        ),
      };
    };
  }

  /** After every fourth change, responses to GetProduct are private to their caller, and no two are equal. */
  #own(head: number, call: Pick<Call, "reply">): string {
    if (head % 4 !== 3) return "";
    this.#owns += 1;
    call.reply.set("x-own", `${this.#owns}`);
    return `own ${this.#owns}`;
  }

  #products(name: MethodName, request: unknown, director: string, number: number): Product[] {
    const state = this.states[number]!;
    const names = {
      getProduct: () => [(request as GetProductRequest).name],
      listProducts: () => state.map((_, id) => `products/${id + 1}`),
      batchGetProducts: () => (request as BatchGetProductsRequest).names,
    }[name]();
    return names.map((each) => {
      const title = `${state[Number(each.slice("products/".length)) - 1]}`;
      return Product.create({ name: each, title, director });
    });
  }
}
