import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A replica as the front proxy sees it. */
export interface Endpoint {
  /** Host and port. */
  readonly address: string;
  /** The clusters that it serves. */
  readonly clusters: readonly string[];
}

/**
 * The files that the front proxy reads its replicas from (EDS) and follows: one for each cluster,
 * because Envoy takes a file with exactly one.
 */
export class Endpoints {
  readonly folder: string;
  readonly #clusters: readonly string[];

  constructor(folder: string, clusters: readonly string[]) {
    this.folder = folder;
    this.#clusters = clusters;
  }

  /** The file of a cluster. */
  file(cluster: string): string {
    return join(this.folder, `${cluster}.json`);
  }

  /** Puts these replicas in the place of all others. */
  write(endpoints: readonly Endpoint[]): void {
    for (const cluster of this.#clusters) {
      const assignment = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name: cluster,
        endpoints: [
          {
            lb_endpoints: endpoints
              .filter((endpoint) => endpoint.clusters.includes(cluster))
              .map(({ address }) => ({ endpoint: { address: socketAddress(address) } })),
          },
        ],
      };
      // Moved into its place as a whole: the front proxy never reads half a file.
      const temporary = `${this.file(cluster)}.new`;
      writeFileSync(temporary, JSON.stringify({ resources: [assignment] }));
      renameSync(temporary, this.file(cluster));
    }
  }
}

function socketAddress(address: string): object {
  const colon = address.lastIndexOf(":");
  return {
    socket_address: {
      address: address.slice(0, colon),
      port_value: Number(address.slice(colon + 1)),
    },
  };
}
