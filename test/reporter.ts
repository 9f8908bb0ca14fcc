import type { Reporter, TestCase, TestModule } from "vitest/node";
import skips from "./skips.json" with { type: "json" };

/**
 * The tests that may be skipped: test file, then the full name of a test or of a `describe` around tests,
 * then the reason.
 */
type Skips = Record<string, Record<string, string>>;

interface Ran {
  readonly file: string;
  readonly fullName: string;
  readonly isSkipped: boolean;
}

/**
 * Compares the skipped tests with those that may be skipped.
 *
 * @returns `unlisted`: tests that were skipped and are not listed; `unknown`: entries of a file that ran and has no
 *     such test; `unused`: entries whose tests ran
 */
export function compareSkips(listed: Skips, tests: readonly Ran[]) {
  const unlisted: string[] = [];
  const seen = new Map<string, boolean>();
  const files = new Set(tests.map(({ file }) => file));
  for (const { file, fullName, isSkipped } of tests) {
    const entry = Object.keys(listed[file] ?? {}).find(
      (name) => fullName === name || fullName.startsWith(`${name} > `),
    );
    if (entry === undefined && isSkipped) unlisted.push(`${file}: ${fullName}`);
    if (entry === undefined) continue;
    const key = `${file}: ${entry}`;
    seen.set(key, isSkipped || seen.get(key) === true);
  }
  const entries = Object.entries(listed)
    .filter(([file]) => files.has(file))
    .flatMap(([file, names]) => Object.keys(names).map((name) => `${file}: ${name}`));
  return {
    unlisted,
    unknown: entries.filter((entry) => !seen.has(entry)),
    unused: entries.filter((entry) => seen.get(entry) === false),
  };
}

/**
 * Ends a run with the skipped tests and the line `N passed, N failed, N skipped`. Fails the run where a
 * skipped test is not listed in skips.json.
 */
export default class Summary implements Reporter {
  /** True when the run selects tests by name: all others are skipped then. */
  #isFiltered = false;

  onInit({ config }: { config: { testNamePattern?: RegExp } }): void {
    this.#isFiltered = config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const counts = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    const tests: Ran[] = [];
    for (const module of modules) {
      // A file that could not be loaded, or whose set-up failed, fails as a whole.
      counts.failed += module.errors().length;
      for (const each of module.children.allTests()) {
        const { state } = each.result();
        counts[state] += 1;
        const isSkipped = state === "skipped" && !hasFailedSetup(each);
        tests.push({ file: module.relativeModuleId, fullName: each.fullName, isSkipped });
        if (state === "skipped") console.log(`skipped: ${each.fullName}`);
      }
    }
    if (!this.#isFiltered) failUnlessListed(compareSkips(skips, tests));
    const skipped = counts.skipped + counts.pending;
    console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${skipped} skipped`);
  }
}

function failUnlessListed({ unlisted, unknown, unused }: ReturnType<typeof compareSkips>): void {
  for (const each of unlisted) console.log(`skipped, but not listed in test/skips.json: ${each}`);
  for (const each of unknown) console.log(`listed in test/skips.json, but no such test: ${each}`);
  if (unused.length > 0) console.log(`${unused.length} entries of test/skips.json were not needed`);
  if (unlisted.length + unknown.length > 0) process.exitCode = 1;
}

/** Tests after a failed set-up count as skipped; the set-up is the failure to report. */
function hasFailedSetup({ parent }: TestCase): boolean {
  if (parent.errors().length > 0) return true;
  return parent.type === "suite" && parent.parent !== undefined && hasFailedSetup(parent as never);
}
