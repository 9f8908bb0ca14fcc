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
 * Serves reflection (v1 and v1alpha) for health and the named services. It is made when somebody asks:
 * to make it takes a replica a seventh of its start.
 *
 * The files are the contract's own. Loaded through proto-loader they would lose references to
 * well-known types on the way, and grpcurl could not resolve them.
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

/** What a reflection service adds to a server, by version. */
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
