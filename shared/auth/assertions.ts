import { Metadata } from "@grpc/grpc-js";
import { assertService } from "./credentials/assertion.ts";
import type { Credentials } from "./credentials/credentials.ts";

/** An assertion is valid for a minute, and reused for half of it. */
const REUSE_MS = 30_000;

/** Authenticates a service to service-only methods, with a cached assertion for each method. */
export class Assertions {
  readonly #credentials: Credentials;
  readonly #service: string;
  readonly #made = new Map<string, { value: Promise<string>; at: number }>();

  constructor(credentials: Credentials, service: string) {
    this.#credentials = credentials;
    this.#service = service;
  }

  /** Makes the metadata of a call. @param path `/package.Service/Method` */
  async to({ path }: { path: string }): Promise<Metadata> {
    let made = this.#made.get(path);
    if (made === undefined || performance.now() - made.at > REUSE_MS) {
      const value = assertService(this.#credentials, this.#service, path);
      made = { value, at: performance.now() };
      this.#made.set(path, made);
    }
    const metadata = new Metadata();
    metadata.set("authorization", await made.value);
    return metadata;
  }
}
