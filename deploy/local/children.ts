import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

/** A process that the runner has started. */
export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  /** Settles when it has ended. */
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Asks it to end and waits; kills it after the limit. */
  end(limitMs: number): Promise<void>;
}

/**
 * The runner's processes. Each has a process group of its own, so that Ctrl-C reaches the runner
 * alone, which ends them in order; and a watchdog ends them when the runner is killed.
 */
export class Children {
  readonly #watchdog: ChildProcess;

  constructor() {
    this.#watchdog = spawn(process.execPath, [join(import.meta.dirname, "watchdog.ts")], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
    });
    // It may be gone before the runner: there is nobody left to tell.
    this.#watchdog.stdin?.on("error", () => {});
    this.#watchdog.unref();
  }

  /**
   * Starts a process.
   *
   * @param endSignal what asks it to end
   * @throws Error when there is no such program
   */
  async start(
    command: string,
    args: string[],
    options: SpawnOptions,
    endSignal: NodeJS.Signals = "SIGTERM",
  ): Promise<Child> {
    const child = spawn(command, args, { ...options, detached: true });
    await once(child, "spawn");
    const pid = child.pid!;
    this.#tell(`add ${pid} ${endSignal}`);
    const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(
      (resolve) => {
        child.once("exit", (code, signal) => {
          this.#tell(`remove ${pid}`);
          resolve({ code, signal });
        });
      },
    );
    return {
      process: child,
      pid,
      exited,
      async end(limitMs) {
        if (child.exitCode !== null || child.signalCode !== null) return;
        child.kill(endSignal);
        const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
        await exited;
        clearTimeout(timer);
      },
    };
  }

  /** All children have been ended: the watchdog may go. */
  async close(): Promise<void> {
    this.#tell("bye");
    this.#watchdog.ref();
    this.#watchdog.stdin?.end();
    if (this.#watchdog.exitCode === null) await once(this.#watchdog, "exit");
  }

  #tell(line: string): void {
    this.#watchdog.stdin?.write(`${line}\n`);
  }
}
