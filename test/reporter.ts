import type { Reporter, TestModule } from "vitest/node";

/** Ends a run with what was skipped, and why, and the line `N passed, N failed, N skipped`. */
export default class Summary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const counts = { passed: 0, failed: errors.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      // A file that could not be loaded, or whose set-up failed, fails as a whole.
      counts.failed += module.errors().length;
      for (const each of module.children.allTests()) {
        const { state } = each.result();
        counts[state] += 1;
        if (state === "skipped") console.log(`skipped: ${each.fullName}`);
      }
    }
    const skipped = counts.skipped + counts.pending;
    console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${skipped} skipped`);
  }
}
