import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "vitest";
import { parseAllDocuments } from "yaml";
import { PROJECT } from "../../deploy/local/paths.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { KUBERNETES_VERSION } from "./schemas.ts";

export const CHART = join(PROJECT, "deploy", "kubernetes");

/** The fields of a manifest that tests check. */
export interface Manifest {
  kind: string;
  metadata: { name: string };
  spec?: { template: { spec: Pod } };
  data?: Record<string, string>;
}

export interface Pod {
  automountServiceAccountToken: boolean;
  securityContext: { runAsNonRoot: boolean };
  containers: Container[];
  volumes?: {
    name: string;
    secret?: { secretName: string };
    configMap?: { name: string };
    projected?: {
      sources: { secret: { name: string; items: { key: string; path: string }[] } }[];
    };
  }[];
}

export interface Container {
  args?: string[];
  env?: {
    name: string;
    value?: string;
    valueFrom?: { secretKeyRef: { name: string; key: string } };
  }[];
  volumeMounts?: { name: string; mountPath: string }[];
  ports?: { name: string; containerPort: number }[];
  readinessProbe?: {
    grpc?: { port: number };
    httpGet?: { path: string; port: string; scheme: string };
  };
  securityContext: { readOnlyRootFilesystem: boolean; capabilities: object };
}

/** Runs a command that must succeed and print no error. */
export function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  expect(`${stderr}${status === 0 ? "" : stdout}`).toBe("");
  return stdout;
}

/** Renders the chart's manifests as text, for a release named `release`. */
export function renderText(...flags: string[]): string {
  const helm = toolPath("helm")!;
  return run(helm, "template", "release", CHART, "--kube-version", KUBERNETES_VERSION, ...flags);
}

export function render(...flags: string[]): Manifest[] {
  return parseAllDocuments(renderText(...flags)).map((document) => document.toJS() as Manifest);
}
