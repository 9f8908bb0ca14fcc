/**
 * Compares the states of sessions with those of the last release. During a rollout, old and new replicas
 * serve the same sessions: a state may only gain fields, unless its revision increases by one and an
 * upgrade converts the old state. Wire compatibility is not enough: a program that does not know a new
 * branch of a `oneof` silently overwrites it.
 *
 * Usage: node test/stateChanges.ts [OLD NEW]   descriptor sets; default: the last release's and today's
 */
import { readFileSync } from "node:fs";
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { type Contract, readContract } from "#shared/contract/contract.ts";

/** Returns the faults of the changes from one contract's states to another's. */
export function faultsOfStates(before: Contract, after: Contract): string[] {
  const faults: string[] = [];
  const sessionsOf = (contract: Contract) =>
    new Map(
      contract.methods.flatMap(({ service, session }) =>
        session === undefined ? [] : [[service, session] as const],
      ),
    );
  const now = sessionsOf(after);
  for (const [service, old] of sessionsOf(before)) {
    const session = now.get(service);
    if (session === undefined) continue;
    if (session.audience !== old.audience) {
      faults.push(`${service}: its audience was ${old.audience}: sessions that live would be lost`);
    }
    const grown = session.revision - old.revision;
    if (grown < 0) faults.push(`${service}: its revision was ${old.revision} already`);
    if (grown > 1)
      faults.push(`${service}: its revision grows by more than one, from ${old.revision}`);
    if (grown !== 0) continue;
    if (session.stateType !== old.stateType) {
      faults.push(`${service}: its state was ${old.stateType}: let its revision grow`);
      continue;
    }
    const was = before.registry.getMessage(old.stateType)!;
    const is = after.registry.getMessage(session.stateType)!;
    const changes = changesOf(was, is, new Set());
    faults.push(
      ...changes.map((change) => `${service}: ${change}: undo it, or let its revision grow`),
    );
  }
  return faults;
}

/** Returns the changes, other than additions, of a message and its submessages. */
function changesOf(was: DescMessage, is: DescMessage | undefined, seen: Set<string>): string[] {
  if (seen.has(was.typeName)) return [];
  seen.add(was.typeName);
  if (is === undefined) return [`${was.typeName} is gone`];
  const changes: string[] = [];
  for (const old of was.fields) {
    const field = is.fields.find(({ number }) => number === old.number);
    const name = `${was.typeName}.${old.name}`;
    if (field === undefined) {
      changes.push(`${name} (${old.number}) is gone`);
    } else if (shapeOf(field) !== shapeOf(old)) {
      changes.push(`${name} was ${shapeOf(old)} and is ${shapeOf(field)}`);
    } else if (oneofOf(field) !== oneofOf(old)) {
      changes.push(`${name} went ${oneofOf(old) ? "out of" : "into"} a oneof`);
    }
    if (old.message && field?.message) changes.push(...changesOf(old.message, field.message, seen));
  }
  for (const oneof of is.oneofs) {
    const old = was.oneofs.find(({ name }) => name === oneof.name);
    if (old === undefined) continue;
    for (const branch of oneof.fields) {
      if (was.fields.some(({ number }) => number === branch.number)) continue;
      changes.push(`${was.typeName}.${oneof.name} has a new branch, ${branch.name}`);
    }
  }
  return changes;
}

function shapeOf(field: DescField): string {
  const element = field.fieldKind === "list" ? field.listKind : field.fieldKind;
  const type =
    field.message?.typeName ??
    field.enum?.typeName ??
    ("scalar" in field ? `scalar ${field.scalar}` : element);
  if (field.fieldKind === "map") return `map of ${field.mapKey} to ${type}`;
  return field.fieldKind === "list" ? `list of ${type}` : `${type}`;
}

function oneofOf(field: DescField): string | undefined {
  return field.oneof?.name;
}

if (import.meta.main) {
  const gen = (path: string) => new URL(`../proto/${path}`, import.meta.url);
  const [before = gen("released/image.binpb"), after = gen("gen/image.binpb")] =
    process.argv.slice(2);
  const read = (file: string | URL) => readContract(readFileSync(file));
  const faults = faultsOfStates(read(before), read(after));
  for (const fault of faults) console.error(fault);
  process.exit(faults.length === 0 ? 0 : 1);
}
