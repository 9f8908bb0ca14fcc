import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../../../services/replica/failure.ts";
import { programEnvironment } from "../environment.ts";

/** Time that a process has to end once it was asked to, unless its caller knows better. */
const END_LIMIT_MS = 10_000;

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process that the runner has started. */
export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  /** Settles when it has ended. */
  readonly exited: Promise<Exit>;
  /** Asks it to end and waits; kills its process group after the limit. */
  end(limitMs: number): Promise<void>;
}

/** The environment is stated in full: a child inherits no variable that its starter does not name. */
export interface ChildOptions extends SpawnOptions {
  readonly env: NodeJS.ProcessEnv;
}

/** A process that serves, and how to find out that it does. */
export interface ServingProgram<T> {
  /** Its name in error messages. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly options: Omit<ChildOptions, "stdio">;
  /** Takes stderr and, unless `ready` reads that, stdout. */
  readonly logFile: string;
  readonly readsStdout?: boolean;
  /** The signal that asks it to end; default: SIGTERM. */
  readonly endSignal?: NodeJS.Signals;
  readonly startLimitMs: number;
  /** Settles when the process serves. Gives up when `over` is aborted: it is too late then. */
  ready(child: Child, over: AbortSignal): Promise<T>;
}

/**
 * The processes that the runner starts. Each has a process group of its own: Ctrl-C reaches the runner
 * alone, which ends them in order. A watchdog ends them when the runner is killed.
 */
export class Children {
  readonly #watchdog: ChildProcess;
  /** In the order of their starts. */
  readonly #living = new Set<Child>();
  #closed = false;

  constructor() {
    this.#watchdog = spawn(process.execPath, [join(import.meta.dirname, "watchdog.ts")], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore"],
      env: programEnvironment(),
    });
    // The watchdog may be gone before the runner.
    this.#watchdog.stdin?.on("error", () => {});
    this.#watchdog.unref();
  }

  /**
   * Starts a process.
   *
   * @param endSignal the signal that asks it to end
   * @throws Error when there is no such program
   */
  async start(
    command: string,
    args: readonly string[],
    options: ChildOptions,
    endSignal: NodeJS.Signals = "SIGTERM",
  ): Promise<Child> {
    if (this.#closed) throw new Error(`the runner stops: it does not start ${command}`);
    const spawned = spawn(command, args, { ...options, detached: true });
    const { pid } = spawned;
    if (pid === undefined) {
      const [error] = await once(spawned, "error");
      throw error;
    }
    // Before anything is awaited: a runner that is killed from here on leaves it to the watchdog.
    this.#tell(`add ${pid} ${endSignal}`);
    const exited = new Promise<Exit>((resolve) => {
      spawned.once("exit", (code, signal) => {
        this.#tell(`remove ${pid}`);
        this.#living.delete(child);
        resolve({ code, signal });
      });
    });
    const child: Child = {
      process: spawned,
      pid,
      exited,
      async end(limitMs) {
        if (spawned.exitCode !== null || spawned.signalCode !== null) return;
        spawned.kill(endSignal);
        const timer = setTimeout(() => killGroup(pid), limitMs);
        await exited;
        clearTimeout(timer);
      },
    };
    this.#living.add(child);
    return child;
  }

  /**
   * Starts a process and waits until it serves. One that does not is ended before this throws.
   *
   * @throws Failure naming the process and its log, or the error of `ready`
   */
  async startServing<T>(program: ServingProgram<T>): Promise<{ child: Child; ready: T }> {
    const { name, logFile, startLimitMs } = program;
    const log = openSync(logFile, "a", 0o600);
    const stdio: SpawnOptions["stdio"] = ["ignore", program.readsStdout ? "pipe" : log, log];
    let child: Child;
    try {
      const options = { ...program.options, stdio };
      child = await this.start(program.command, program.args, options, program.endSignal);
    } finally {
      closeSync(log);
    }
    const over = new AbortController();
    const limit = Promise.withResolvers<never>();
    const tooLate = () =>
      limit.reject(
        new Failure(
          `${name} did not serve within ${startLimitMs / 1000} s of its start: see ${logFile}`,
        ),
      );
    const timer = setTimeout(tooLate, startLimitMs);
    const ended = child.exited.then(() => {
      throw new Failure(`${name} ended at its start: see ${logFile}`);
    });
    try {
      const ready = await Promise.race([program.ready(child, over.signal), ended, limit.promise]);
      return { child, ready };
    } catch (error) {
      // First: a replica that drains waits for the stream of its health check.
      over.abort();
      await child.end(END_LIMIT_MS);
      throw error;
    } finally {
      clearTimeout(timer);
      over.abort();
    }
  }

  /** Ends the children that are left, the newest first, and then the watchdog. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const child of [...this.#living].reverse()) await child.end(END_LIMIT_MS);
    this.#tell("bye");
    this.#watchdog.ref();
    this.#watchdog.stdin?.end();
    if (this.#watchdog.exitCode === null) await once(this.#watchdog, "exit");
  }

  #tell(line: string): void {
    this.#watchdog.stdin?.write(`${line}\n`);
  }
}

/** Kills a process and its children, unless they have ended. */
function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
