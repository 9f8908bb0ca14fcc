/**
 * Checks that each RPC of the protos has a file named after it in its service's folder, and that the
 * file exports the handler: `CreateUser` of `waybill.identity.v1` is `createUser` in a `createUser.ts`
 * under `services/identity`. Prints a line for each RPC without one.
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join, sep } from "node:path";
import { type Contract, loadContract } from "#shared/contract/contract.ts";

/** The folder of RPCs that several services share, by the package of their request. */
const SHARED = new Map([["waybill.audit.v1", "auditLog"]]);

/** @param services path of the folder that contains a folder for each service */
export function rpcFileFaults({ methods }: Pick<Contract, "methods">, services: string): string[] {
  const files = readdirSync(services, { recursive: true, encoding: "utf8" });
  const faults: string[] = [];
  for (const { path, request } of methods) {
    const [, folder, rpc] = /^\/waybill\.(\w+)\..*\/(\w+)$/.exec(path) ?? [];
    // The SDK implements the others, such as health checks.
    if (folder === undefined || rpc === undefined) continue;
    const name = `${rpc.charAt(0).toLowerCase()}${rpc.slice(1)}`;
    const folders = [folder, SHARED.get(request.file.proto.package) ?? folder];
    const handler = new RegExp(`^export (const|async function) ${name}\\b`, "m");
    const isFound = files.some(
      (file) =>
        folders.includes(file.split(sep)[0] ?? "") &&
        basename(file) === `${name}.ts` &&
        handler.test(readFileSync(join(services, file), "utf8")),
    );
    if (!isFound) faults.push(`${path}: no ${name}.ts in services/${folder} exports ${name}`);
  }
  return faults;
}

if (import.meta.main) {
  const project = join(import.meta.dirname, "..");
  const contract = loadContract(join(project, "proto/gen/image.binpb"));
  const faults = rpcFileFaults(contract, join(project, "services"));
  for (const fault of faults) console.log(fault);
  process.exit(faults.length === 0 ? 0 : 1);
}
