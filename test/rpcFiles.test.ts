import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { loadContract } from "#shared/contract/contract.ts";
import { rpcFileFaults } from "./rpcFiles.ts";

const IMAGE = join(import.meta.dirname, "../proto/gen/image.binpb");

test("names each RPC whose file is missing or misplaced", () => {
  const services = mkdtempSync(join(tmpdir(), "waybill-rpc-files-"));
  onTestFinished(() => rmSync(services, { recursive: true }));
  const methods = loadContract(IMAGE).methods.filter(({ path }) => path.includes(".catalog."));
  const write = (folder: string, name: string, text: string) => {
    mkdirSync(join(services, folder), { recursive: true });
    writeFileSync(join(services, folder, name), text);
  };
  write("catalog", "getProduct.ts", "export const getProduct = 1;\n");
  write("catalog/products", "listProducts.ts", "export async function listProducts() {}\n");
  write("catalog", "batchGetProducts.ts", "export const batchGet = 1;\n");
  write("checkout", "updateProduct.ts", "export const updateProduct = 1;\n");
  expect(rpcFileFaults({ methods }, services)).toEqual(
    ["BatchGetProducts", "UpdateProduct", "WatchChanges"].map((rpc) => {
      const name = `${rpc.charAt(0).toLowerCase()}${rpc.slice(1)}`;
      const path = `/waybill.catalog.v1.CatalogService/${rpc}`;
      return `${path}: no ${name}.ts in services/catalog exports ${name}`;
    }),
  );
});
