import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type {
  handleBidiStreamingCall,
  Server,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { PackageDefinition } from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import type { Contract } from "../contract/contract.ts";

type Handle = handleBidiStreamingCall<unknown, unknown>;

/**
 * Serves reflection (v1 and v1alpha) for health and the named services. Builds the reflection service at the
 * first call: it would take a seventh of a replica's start.
 *
 * Serves the contract's own files. proto-loader would drop references to well-known types, which grpcurl
 * then could not resolve.
 */
export function addReflection(server: Server, contract: Contract, services: string[]): void {
  let made: Added[] | undefined;
  const make = () => addedBy(packageOf(contract), ["grpc.health.v1.Health", ...services]);
  for (const [index, { definition, handlers }] of addedBy({}, []).entries()) {
    const late = Object.keys(handlers).map((name) => {
      const handle: Handle = (call) => {
        made ??= make();
        (made[index]!.handlers[name] as Handle)(call);
      };
      return [name, handle];
    });
    server.addService(definition, Object.fromEntries(late));
  }
}

/** The definition and handlers of one version of reflection. */
interface Added {
  readonly definition: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
}

function addedBy(files: PackageDefinition, services: string[]): Added[] {
  const added: Added[] = [];
  const recorder: Pick<Server, "addService"> = {
    addService: (definition, handlers) => added.push({ definition, handlers }),
  };
  new ReflectionService(files, { services }).addToServer(recorder as Server);
  return added;
}

function packageOf({ image }: Contract): PackageDefinition {
  const own = {
    format: "Protocol Buffer 3 DescriptorProto",
    type: {},
    fileDescriptorProtos: fromBinary(FileDescriptorSetSchema, image).file.map((file) =>
      Buffer.from(toBinary(FileDescriptorProtoSchema, file)),
    ),
  };
  return { contract: own } as PackageDefinition;
}
