import { create, fromBinary, getOption, hasOption, toBinary } from "@bufbuild/protobuf";
import {
  DescriptorProtoSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  type MethodDescriptorProto,
  MethodDescriptorProtoSchema,
  MethodOptionsSchema,
  ServiceDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import type { Contract, MethodContract } from "#shared/contract/contract.ts";

export const TRANSCODER = "envoy.filters.http.grpc_json_transcoder";
/** Field number of the option `google.api.http`. */
const HTTP = 72295728;
/** The response message: its bytes are the HTTP body. */
const RESPONSE = "google.api.HttpBody";
const RESPONSE_FILE = "google/api/httpbody.proto";
/** A path without variables. */
const FIXED_PATH = /^(\/[A-Za-z0-9._~-]+)+$/;

/** A method that plain HTTP can call. */
export interface HttpMethod {
  readonly method: MethodContract;
  readonly path: string;
}

/**
 * Returns the methods with an HTTP route (`google.api.http`).
 *
 * @throws Error naming a method with another rule than GET of a fixed path, or another response than
 *   google.api.HttpBody
 */
export function httpMethods({ registry, methods }: Contract): HttpMethod[] {
  const extension = registry.getExtension("google.api.http");
  if (extension === undefined) return [];
  return methods.flatMap((method) => {
    const service = registry.getService(method.service);
    const desc = service?.methods.find(({ name }) => method.path.endsWith(`/${name}`));
    if (desc === undefined || !hasOption(desc, extension)) return [];
    const { pattern } = getOption(desc, extension) as {
      pattern?: { case?: string; value?: unknown };
    };
    const path = pattern?.case === "get" ? `${pattern.value}` : "";
    if (!FIXED_PATH.test(path) || desc.output.typeName !== RESPONSE) {
      throw new Error(
        `option google.api.http of ${method.path}: must be GET of a fixed path, with a response ${RESPONSE}`,
      );
    }
    return [{ method, path }];
  });
}

/** The filter that transcodes plain HTTP requests for these methods into gRPC. Routes enable it. */
export function transcoder(contract: Contract): object {
  const { file } = fromBinary(FileDescriptorSetSchema, contract.image);
  const files = file.filter((each) => each.service.some(({ method }) => method.some(isForHttp)));
  const needed = new Map<string, FileDescriptorProto>();
  const add = (name: string) => {
    const found = file.find((each) => each.name === name);
    if (found === undefined || needed.has(name)) return;
    for (const dependency of found.dependency) add(dependency);
    const { sourceCodeInfo: _comments, ...rest } = found;
    needed.set(name, rest);
  };
  add(RESPONSE_FILE);
  const descriptors = toBinary(FileDescriptorSetSchema, {
    $typeName: "google.protobuf.FileDescriptorSet",
    file: [...needed.values(), ...files.map(onlyForHttp)],
  });
  return {
    name: TRANSCODER,
    disabled: true,
    typed_config: {
      "@type":
        "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
      proto_descriptor_bin: Buffer.from(descriptors).toString("base64"),
      services: files.flatMap((each) =>
        each.service
          .filter(({ method }) => method.some(isForHttp))
          .map(({ name }) => `${each.package}.${name}`),
      ),
      // The HTTP path's route stays the request's, with its response headers.
      match_incoming_request_route: true,
      ignore_unknown_query_parameters: true,
    },
  };
}

function isForHttp({ options }: MethodDescriptorProto): boolean {
  return options?.$unknown?.some(({ no }) => no === HTTP) ?? false;
}

/** Reduces a file to those methods, their requests and that option, which is built into Envoy. */
function onlyForHttp(file: FileDescriptorProto): FileDescriptorProto {
  const service = file.service
    .map(({ name, method }) =>
      create(ServiceDescriptorProtoSchema, { name, method: method.filter(isForHttp).map(bare) }),
    )
    .filter(({ method }) => method.length > 0);
  const used = new Set(service.flatMap(({ method }) => method.map(({ inputType }) => inputType)));
  const { name, syntax, package: packageName } = file;
  return create(FileDescriptorProtoSchema, {
    ...{ name, syntax, package: packageName, dependency: [RESPONSE_FILE], service },
    messageType: file.messageType
      .filter((message) => used.has(`.${packageName}.${message.name}`))
      .map((message) => create(DescriptorProtoSchema, { name: message.name })),
  });
}

function bare({ name, inputType, outputType, options }: MethodDescriptorProto) {
  const reduced = create(MethodOptionsSchema);
  reduced.$unknown = options?.$unknown?.filter(({ no }) => no === HTTP) ?? [];
  return create(MethodDescriptorProtoSchema, { name, inputType, outputType, options: reduced });
}
