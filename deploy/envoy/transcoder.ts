import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { Contract } from "#shared/grpc/contract.ts";

/** The service that has methods for plain HTTP (`google.api.http`). */
const SERVICE = "waybill.token.v1.TokenService";
const FILE = "waybill/token/v1/token.proto";

/** Turns plain HTTP requests for such methods into gRPC. Everything else passes through it. */
export function transcoder(contract: Contract): object {
  return {
    name: "envoy.filters.http.grpc_json_transcoder",
    typed_config: {
      "@type":
        "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
      proto_descriptor_bin: Buffer.from(descriptors(contract)).toString("base64"),
      services: [SERVICE],
    },
  };
}

/** The service's file and those it imports: a fraction of the whole image, without comments. */
function descriptors(contract: Contract): Uint8Array {
  const { file } = fromBinary(FileDescriptorSetSchema, contract.image);
  const byName = new Map(file.map((each) => [each.name, each]));
  const needed = new Map<string, FileDescriptorProto>();
  const add = (name: string) => {
    const found = byName.get(name);
    if (found === undefined || needed.has(name)) return;
    for (const dependency of found.dependency) add(dependency);
    const { sourceCodeInfo: _comments, ...rest } = found;
    needed.set(name, rest);
  };
  add(FILE);
  return toBinary(FileDescriptorSetSchema, {
    $typeName: "google.protobuf.FileDescriptorSet",
    file: [...needed.values()],
  });
}
