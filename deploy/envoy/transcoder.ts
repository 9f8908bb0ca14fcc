import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
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
import type { Contract } from "#shared/grpc/contract.ts";

/** The number of the option `google.api.http`. */
const HTTP = 72295728;
const HTTP_FILES = ["google/api/annotations.proto", "google/api/httpbody.proto"];

/** Turns plain HTTP requests for methods that say so (`google.api.http`) into gRPC. */
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
  for (const name of HTTP_FILES) add(name);
  const descriptors = toBinary(FileDescriptorSetSchema, {
    $typeName: "google.protobuf.FileDescriptorSet",
    file: [...needed.values(), ...files.map(onlyForHttp)],
  });
  return {
    name: "envoy.filters.http.grpc_json_transcoder",
    typed_config: {
      "@type":
        "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
      proto_descriptor_bin: Buffer.from(descriptors).toString("base64"),
      services: files.flatMap((each) =>
        each.service
          .filter(({ method }) => method.some(isForHttp))
          .map(({ name }) => `${each.package}.${name}`),
      ),
    },
  };
}

function isForHttp({ options }: MethodDescriptorProto): boolean {
  return options?.$unknown?.some(({ no }) => no === HTTP) ?? false;
}

/** A file with nothing in it but those methods, their requests, and that option. */
function onlyForHttp(file: FileDescriptorProto): FileDescriptorProto {
  const service = file.service
    .map(({ name, method }) =>
      create(ServiceDescriptorProtoSchema, { name, method: method.filter(isForHttp).map(bare) }),
    )
    .filter(({ method }) => method.length > 0);
  const used = new Set(service.flatMap(({ method }) => method.map(({ inputType }) => inputType)));
  const { name, syntax, package: packageName } = file;
  return create(FileDescriptorProtoSchema, {
    ...{ name, syntax, package: packageName, dependency: HTTP_FILES, service },
    messageType: file.messageType
      .filter((message) => used.has(`.${packageName}.${message.name}`))
      .map((message) => create(DescriptorProtoSchema, { name: message.name })),
  });
}

function bare({ name, inputType, outputType, options }: MethodDescriptorProto) {
  const kept = create(MethodOptionsSchema);
  kept.$unknown = options?.$unknown?.filter(({ no }) => no === HTTP) ?? [];
  return create(MethodDescriptorProtoSchema, { name, inputType, outputType, options: kept });
}
