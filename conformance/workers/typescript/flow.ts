/** From the fixture to a Flow of @pgflow/dsl. */

import { type AnyFlow, Flow } from "@pgflow/dsl";
import * as runtime from "#runtime";
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
  step_type?: "single" | "map";
  handler: Instruction[];
}
export interface WorkerOptions {
  name?: string;
  max_concurrency?: number;
  batch_size?: number;
  visibility_timeout?: number;
  poll_interval?: number;
  heartbeat_interval?: number;
  recover?: boolean;
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

/** All that a fixture may have; what else there is comes from a later contract. */
const OPTIONS = ["slug", "max_attempts", "base_delay", "timeout"];
const KEYS = {
  fixture: ["flow", "worker"],
  flow: [...OPTIONS, "steps"],
  step: [...OPTIONS, "handler", "depends_on", "start_delay", "step_type"],
  worker: [
    ...["name", "max_concurrency", "batch_size", "visibility_timeout", "poll_interval"],
    ...["heartbeat_interval", "recover"],
  ],
};

/** Refuses what this adapter has no place for: ignoring it would make the case another. */
function checkKeys(kind: keyof typeof KEYS, given: object): void {
  const unknown = Object.keys(given).filter((key) => !KEYS[kind].includes(key));
  if (unknown.length > 0) throw new Unsupported(`${kind} with ${unknown}`);
}

export async function readFixture(path: string): Promise<Fixture> {
  const fixture: Fixture = JSON.parse(await runtime.readTextFile(path));
  checkKeys("fixture", fixture);
  checkKeys("flow", fixture.flow);
  checkKeys("worker", fixture.worker ?? {});
  for (const step of fixture.flow.steps) {
    checkKeys("step", step);
    const { slug, handler } = step;
    const unknown = handler.find((instruction) => !isKnown(instruction));
    if (unknown) {
      throw new Unsupported(`step ${slug}: no such instruction: ${Object.keys(unknown)}`);
    }
  }
  if (fixture.worker?.recover) throw new Unsupported("it takes back no tasks");
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
  const mappedOver = fixture.steps.flatMap((step) => isMap(step) ? step.depends_on ?? [] : []);
  for (const step of fixture.steps) {
    const opts = { slug: step.slug, startDelay: step.start_delay, ...options(step) };
    const handler = handlerOf(step, attempt) as never;
    // The DSL follows slugs in its types; those of a fixture are known at run time only.
    if (isMap(step)) flow = flow.map({ ...opts, array: step.depends_on?.[0] } as never, handler);
    else {
      // `array` is `step` for those that return an array, as a step that is mapped over does.
      const declare = mappedOver.includes(step.slug) ? flow.array : flow.step;
      flow = declare.call(flow, { ...opts, dependsOn: step.depends_on } as never, handler);
    }
  }
  return flow;
}

function isMap(step: Step): boolean {
  return step.step_type === "map";
}

function handlerOf(step: Step, attempt: (task: Task) => Promise<number>) {
  return (input: unknown, context?: Context) => {
    const task = {
      run_id: context?.stepTask?.run_id ?? null,
      step_slug: step.slug,
      task_index: context?.stepTask?.task_index ?? 0,
    };
    say({ type: "call", ...task, attempt: null, input });
    const inputs = isMap(step) ? { element: input } : input;
    return perform(step.handler, input, inputs, {
      sleep: (seconds) => new Promise((done) => setTimeout(done, seconds * 1000)),
      // The timer keeps the process alive, as a handler that waits for something would.
      hang: () => new Promise(() => setInterval(() => {}, 60_000)),
      exit: (code) => runtime.exit(code),
      attempt: () => attempt(task),
    });
  };
}

function options({ max_attempts, base_delay, timeout }: Options) {
  return { maxAttempts: max_attempts, baseDelay: base_delay, timeout };
}
