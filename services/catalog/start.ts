import { CatalogServiceService } from "#proto/waybill/catalog/v1/catalog.ts";
import { Cursors } from "#shared/waybill/cursors.ts";
import type { ReplicaParts } from "../replicaParts.ts";
import { catalogHandlers } from "./index.ts";

export function startCatalog({ server, ringOf, database }: ReplicaParts): void {
  const cursors = new Cursors("catalog", ringOf("catalog"));
  server.add(CatalogServiceService, catalogHandlers({ db: database("catalog"), cursors }));
}
