import {
  create,
  type DescField,
  type DescMessage,
  equals,
  type Message,
  type Registry,
  toBinary,
} from "@bufbuild/protobuf";
import { Errors } from "../errors.ts";
import { type Decoded, decodedView, type View } from "./decodedView.ts";
import { hasRules, mostChecked } from "./ruleOptions.ts";
import { rulesOf } from "./rules.ts";
import { sampleMessages, sampleOf } from "./samples.ts";
import { strictScan } from "./strictScan.ts";
import { wireTable } from "./wireTable.ts";

/** Generated code that makes an object of an encoded message. */
export type Decode = (bytes: Buffer) => unknown;

const PROTO_KEY = "__proto__";

/**
 * Makes the one reading of a request type: bytes that parsers could read differently are refused,
 * the rest is decoded once, by the generated code of the handler, and the object that the handler
 * gets is checked against the constraints in its proto. The generated code is tried with samples
 * here, once.
 *
 * @param namesMatter the SDK itself reads fields of the decoded object
 * @returns decodes a message; throws StatusError INVALID_FIELD naming the fields at fault
 * @throws Error when the SDK has to look into decoded messages, and the generated code does not name
 *   their fields as the descriptor does
 */
export function requestReader(
  registry: Registry,
  message: DescMessage,
  decode: Decode,
  namesMatter = false,
): Decode {
  const table = wireTable(message);
  const isConstrained = hasRules(message);
  const { view, holdsAllKeys } = tryOut(message, decode);
  if (view === undefined && (isConstrained || namesMatter)) {
    throw new Error(
      `${message.typeName}: what its generated code decodes differs from the descriptor in ${faultyField(message, decode)}. Generate it with ts-proto, from the protos of the contract`,
    );
  }
  const check = isConstrained ? rulesOf(registry, message, view!) : undefined;
  const most = mostChecked(message);
  return (bytes) => {
    const elements = strictScan(table, bytes, most, holdsAllKeys);
    const decoded = decodeWith(decode, bytes, message);
    check?.(decoded, elements);
    return decoded;
  };
}

function decodeWith(decode: Decode, bytes: Buffer, message: DescMessage): unknown {
  try {
    return decode(bytes);
  } catch (cause) {
    throw Errors.INVALID_FIELD({
      cause,
      violations: [{ field: "", description: `is not a ${message.typeName}` }],
    });
  }
}

/** How the objects of generated code are to be seen; without a view: they are not as the descriptor says. */
interface Trial {
  readonly view: View | undefined;
  /** The map key `__proto__` is data to it. */
  readonly holdsAllKeys: boolean;
}

function tryOut(message: DescMessage, decode: Decode): Trial {
  for (const holdsAllKeys of [true, false]) {
    const samples = sampleMessages(message, holdsAllKeys ? ["k", PROTO_KEY] : ["k"]);
    const view = viewThatShows(message, decode, samples);
    if (view !== undefined) return { view, holdsAllKeys };
  }
  return { view: undefined, holdsAllKeys: false };
}

/** @returns undefined if the decoded message differs from the samples */
function viewThatShows(
  message: DescMessage,
  decode: Decode,
  samples: readonly Message[],
): View | undefined {
  const { view, shown } = show(message, decode, samples);
  const isSame = samples.every((sample, at) => shown[at] && equals(message, shown[at], sample));
  return isSame ? view : undefined;
}

/** The samples as the view shows them: undefined where it cannot. */
function show(message: DescMessage, decode: Decode, samples: readonly Message[]) {
  try {
    const decoded = samples.map(
      (sample) => decode(Buffer.from(toBinary(message, sample))) as Decoded,
    );
    const view = decodedView(message, decoded);
    return { view, shown: decoded.map((each) => view(each) as Message | undefined) };
  } catch {
    // It is not of this message, or it has a form that the view does not know.
    return { view: undefined, shown: [] };
  }
}

/** The first field that is decoded wrongly. */
function faultyField(message: DescMessage, decode: Decode): string {
  const faulty = message.fields.find((field) => {
    const samples = [create(message), sampleOf(field)];
    const { shown } = show(message, decode, samples);
    return samples.some((sample, at) => {
      return !shown[at] || !equals(message, alone(field, shown[at]), alone(field, sample));
    });
  });
  return faulty === undefined ? "several fields" : `\`${faulty.name}\``;
}

/** A message with one field of another, or its oneof. */
function alone(field: DescField, of: Message): Message {
  const { localName } = field.oneof ?? field;
  return create(field.parent, { [localName]: (of as Message & Decoded)[localName] });
}
