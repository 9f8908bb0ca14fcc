import type { SessionOptions } from "#shared/session/options.ts";
import type { SessionContract, StateCodec } from "#shared/waybill/session.ts";
import { checkout, type Replica, type State, serveProgram } from "./program.ts";
import { compile } from "./protos.ts";

/** The state fields that each program knows, each program more than the previous one. */
export const OLD = `
message State { string old = 1; Part part = 2; oneof choice { string a = 10; int32 b = 11; } }
message Part { string old = 1; }`;
const CURRENT = `
message State { string old = 1; Part part = 2; oneof choice { string a = 10; int32 b = 11; }
  string current = 3; repeated string list = 4; }
message Part { string old = 1; string current = 2; }`;
const NEXT = `
message State { string old = 1; Part part = 2; oneof choice { string a = 10; int32 b = 11; }
  string current = 3; repeated string list = 4; int64 next = 5; oneof more { string c = 12; Part d = 13; } }
message Part { string old = 1; string current = 2; bytes next = 3; }`;

export const PROGRAMS = ["old", "current", "next"] as const;
export type Program = (typeof PROGRAMS)[number];
export type Codecs = Record<Program, StateCodec<State>>;

/** Branches of `choice`, by the quantity that selects one. The last may be a new branch. */
export const BRANCHES = ["", "a", "b", "e"] as const;
export type Branch = (typeof BRANCHES)[number];

/** @param grown adds the branch `e` to the next program's `choice`, which needs another revision */
export async function compilePrograms({ grown = false } = {}): Promise<Codecs> {
  const next = grown ? NEXT.replace("int32 b = 11;", "int32 b = 11; string e = 14;") : NEXT;
  const [a, b, c] = await Promise.all([OLD, CURRENT, next].map((each) => compile<State>(each)));
  return { old: a!.codec, current: b!.codec, next: c!.codec };
}

/** Start options of a program. */
export interface Started extends Omit<SessionOptions<State>, "state"> {
  readonly revision?: number;
  readonly mode?: SessionContract["mode"];
  /** Called with the branch that each AddItem selects. */
  readonly asked?: (branch: Branch) => void;
}

/**
 * A replica of a program. AddItem sets each field that the program knows to the product's name, and the
 * oneof branch that the quantity selects, if known. Each response names the program.
 */
export function serve(
  program: Program,
  codecs: Codecs,
  { revision = 1, mode = "carried", asked, ...parts }: Started,
): Promise<Replica> {
  const codec = codecs[program];
  const answer = () => checkout(program);
  return serveProgram(
    { revision, mode },
    {
      async beginCheckout(_request, { session }) {
        const begun = { ...codecs.old.create(), part: { old: "begun" } };
        session.state = codec.decode(codecs.old.encode(begun).finish());
        return answer();
      },
      getCheckout: async () => answer(),
      async addItem({ product, quantity = 0 }, { session }) {
        const { part } = session.state;
        // The old program assigns a new object, as handlers may.
        if (program === "old") session.state = { ...codec.create(), ...known(session.state) };
        if (program === "next") session.state["next"] = BigInt(product.slice("products/".length));
        else session.state[program] = product;
        part![program] = program === "next" ? Buffer.from(product) : product;
        session.state.part = part;
        const branch = BRANCHES[quantity]!;
        asked?.(branch);
        if (knows(program, branch)) session.state["choice"] = choiceOf(branch, product);
        return answer();
      },
    },
    { state: codec, ...parts },
  );
}

/** Returns whether a program knows a branch. */
export const knows = (program: Program, branch: Branch) =>
  branch !== "" && (branch !== "e" || program === "next");

/** Makes a branch with a value derived from the product. */
export const choiceOf = (branch: Branch, product: string) => ({
  $case: branch,
  value: branch === "b" ? Number(product.slice("products/".length)) : product,
});

/** The fields of a state that the old program's own code copies by name. */
function known(state: State): State {
  return { old: state["old"], choice: state["choice"] };
}
