import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { Server } from "@grpc/grpc-js";
import type { PackageDefinition } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import type { Contract } from "./contract.ts";

/**
 * Serves reflection (v1 and v1alpha) for health and the named services.
 *
 * The files are the contract's own. Loaded through proto-loader they would lose references to
 * well-known types on the way, and grpcurl could not resolve them.
 */
export function addReflection(server: Server, contract: Contract, services: string[]): void {
  const files = fromBinary(FileDescriptorSetSchema, contract.image).file;
  const own = {
    format: "Protocol Buffer 3 DescriptorProto",
    type: {},
    fileDescriptorProtos: files.map((file) =>
      Buffer.from(toBinary(FileDescriptorProtoSchema, file)),
    ),
  };
  new ReflectionService({ contract: own } as PackageDefinition, {
    services: ["grpc.health.v1.Health", ...services],
  }).addToServer(server);
}
