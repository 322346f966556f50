/** From the fixture to a Flow of @pgflow/dsl. */

import { type AnyFlow, Flow } from "@pgflow/dsl";
import { type Instruction, isKnown, perform } from "./instructions.ts";
import { say, Unsupported } from "./lines.ts";

interface Options {
  max_attempts?: number;
  base_delay?: number;
  timeout?: number;
}
interface Step extends Options {
  slug: string;
  depends_on?: string[];
  start_delay?: number;
  handler: Instruction[];
}
export interface WorkerOptions {
  name?: string;
  max_concurrency?: number;
  batch_size?: number;
  visibility_timeout?: number;
  poll_interval?: number;
  heartbeat_interval?: number;
}
export interface Fixture {
  flow: Options & { slug: string; steps: Step[] };
  worker?: WorkerOptions;
}

/** Which task a handler is called for. The run is null where the worker does not say. */
export interface Task {
  run_id: string | null;
  step_slug: string;
  task_index: number;
}
/** The second argument of a handler, as the original passes it: the part that is used here. */
export interface Context {
  stepTask?: { run_id: string; task_index?: number };
}

export async function readFixture(path: string): Promise<Fixture> {
  const fixture: Fixture = JSON.parse(await Deno.readTextFile(path));
  for (const { slug, handler } of fixture.flow.steps) {
    const unknown = handler.find((instruction) => !isKnown(instruction));
    if (unknown) {
      throw new Unsupported(`step ${slug}: no such instruction: ${Object.keys(unknown)}`);
    }
  }
  // The type parameters of both are SQL integers.
  for (const option of ["visibility_timeout", "batch_size"] as const) {
    if (!Number.isInteger(fixture.worker?.[option] ?? 1)) {
      throw new Unsupported(`${option} must be a whole number`);
    }
  }
  return fixture;
}

/** Declares the flow. The DSL refuses what it refuses: its errors are thrown as they are. */
export function declare(
  { flow: fixture }: Fixture,
  attempt: (task: Task) => Promise<number>,
): AnyFlow {
  let flow: AnyFlow = new Flow({ slug: fixture.slug, ...options(fixture) });
  for (const step of fixture.steps) {
    const opts = {
      slug: step.slug,
      dependsOn: step.depends_on,
      startDelay: step.start_delay,
      ...options(step),
    };
    // The DSL follows slugs in its types; those of a fixture are known at run time only.
    flow = flow.step(opts as never, (input: unknown, context?: Context) => {
      const task = {
        run_id: context?.stepTask?.run_id ?? null,
        step_slug: step.slug,
        task_index: context?.stepTask?.task_index ?? 0,
      };
      say({ type: "call", ...task, attempt: null, input });
      return perform(step.handler, input, {
        sleep: (seconds) => new Promise((done) => setTimeout(done, seconds * 1000)),
        // The timer keeps the process alive, as a handler that waits for something would.
        hang: () => new Promise(() => setInterval(() => {}, 60_000)),
        exit: (code) => Deno.exit(code),
        attempt: () => attempt(task),
      });
    });
  }
  return flow;
}

function options({ max_attempts, base_delay, timeout }: Options) {
  return { maxAttempts: max_attempts, baseDelay: base_delay, timeout };
}
