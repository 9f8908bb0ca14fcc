import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parse } from "yaml";
import { envoyBinary } from "../../deploy/local/envoy/envoyBinary.ts";
import { makeCertificates } from "../../deploy/local/secrets/authority.ts";
import { toolPath } from "../../deploy/local/tools.ts";
import { CHART, render, renderText, run } from "./render.ts";
import { kubernetesSchemas } from "./schemas.ts";

const helm = toolPath("helm");
const kubeconform = toolPath("kubeconform");
const folder = mkdtempSync(join(tmpdir(), "waybill-chart-"));
afterAll(() => rmSync(folder, { recursive: true }));

test.skipIf(!helm)("the chart passes helm lint (needs helm)", () => {
  expect(run(helm!, "lint", "--strict", CHART)).toContain("0 chart(s) failed");
});

test.skipIf(!helm || !kubeconform)(
  "rendered resources match the Kubernetes schemas (needs helm and kubeconform)",
  () => {
    const file = join(folder, "manifests.yaml");
    writeFileSync(file, renderText("--set", "frontProxy.service.plaintextPort=8080"));
    const location = join(kubernetesSchemas(), "{{ .ResourceKind }}{{ .KindSuffix }}.json");
    const args = ["-strict", "-summary", "-schema-location", location];
    expect(run(kubeconform!, ...args, file)).toContain("Invalid: 0, Errors: 0, Skipped: 0");
    // The check detects a fault.
    const bad = join(folder, "bad.yaml");
    writeFileSync(
      bad,
      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replica: 1}\n",
    );
    expect(spawnSync(kubeconform!, [...args, bad]).status).toBe(1);
  },
);

test.skipIf(!helm)("every pod runs unprivileged on a read-only root (needs helm)", () => {
  const pods = render().flatMap(({ spec }) => (spec?.template ? [spec.template.spec] : []));
  expect(pods).toHaveLength(8);
  for (const pod of pods) {
    expect(pod.securityContext.runAsNonRoot).toBe(true);
    expect(pod.automountServiceAccountToken).toBe(false);
    for (const { securityContext } of pod.containers) {
      expect(securityContext.readOnlyRootFilesystem).toBe(true);
      expect(securityContext.capabilities).toEqual({ drop: ["ALL"] });
    }
  }
});

test.skipIf(!helm)("the migration imports the demo data, unless disabled (needs helm)", () => {
  const demo = (...args: string[]) =>
    render(...args)
      .find(({ kind }) => kind === "Job")
      ?.spec?.template?.spec.containers[0]?.env?.find(({ name }) => name === "WAYBILL_DEMO_DATA")
      ?.value;
  expect(demo()).toBe("on");
  expect(demo("--set", "migration.demoData=off")).toBe("off");
});

/**
 * `kubectl apply` copies each object into an annotation, and annotations are limited to 262,144 bytes. etcd
 * limits an object to 1.5 MB.
 */
const MAX_OBJECT_BYTES = 200_000;

test.skipIf(!helm)("every object is small enough for kubectl apply (needs helm)", () => {
  const sizes = render("--set", "frontProxy.service.plaintextPort=8080").map((object) => ({
    name: `${object.kind} ${object.metadata.name}`,
    bytes: Buffer.byteLength(JSON.stringify(object)),
  }));
  expect(sizes.length).toBeGreaterThan(20);
  expect(sizes.filter(({ bytes }) => bytes > MAX_OBJECT_BYTES)).toEqual([]);
});

test.skipIf(!helm)(
  "a real Envoy accepts the front proxy's configuration (needs helm)",
  async () => {
    const config = render().find(({ kind, data }) => kind === "ConfigMap" && data?.["envoy.yaml"]);
    const text = config!.data!["envoy.yaml"]!;
    const hosts = [...text.matchAll(/address: '?(release-[a-z]+)/g)].map(([, host]) => host);
    expect(new Set(hosts)).toEqual(
      new Set(
        ["catalog", "checkout", "identity", "session", "token"].map((role) => `release-${role}`),
      ),
    );
    expect(parse(text).admin.address.socket_address.address).toBe("127.0.0.1");
    // Envoy reads the certificates, too: here stand the local cluster's in the place of the secrets.
    const tlsDir = await makeCertificates(folder);
    const file = join(folder, "envoy.yaml");
    writeFileSync(file, text.replaceAll(/\/etc\/waybill\/(front-proxy-)?tls/g, tlsDir));
    const binary = envoyBinary(() => {});
    const { status, stdout, stderr } = spawnSync(binary, ["--mode", "validate", "-c", file], {
      encoding: "utf8",
    });
    expect(`${stdout}${stderr}`).toContain("OK");
    expect(stderr).not.toContain("Deprecated");
    expect(status).toBe(0);
  },
);
