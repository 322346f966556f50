/** The worker: the loop of the original around the original's client. README.md compares them. */

import type { AnyFlow } from "@pgflow/dsl";
import { PgflowSqlClient, type StepTaskRecord } from "@pgflow/core";
import type { Sql } from "postgres";
import type { WorkerOptions } from "./flow.ts";
import { log, say } from "./lines.ts";

const MAX_POLL_SECONDS = 2;
const RETRY_MS = 1000;

type StepTask = StepTaskRecord<AnyFlow>;

/** Serves the flow until `stop`, or until its row says that it is to leave. */
export async function work(
  flow: AnyFlow,
  options: WorkerOptions,
  sql: Sql,
  stop: AbortSignal,
): Promise<void> {
  const client = new PgflowSqlClient<AnyFlow>(sql);
  const workerId = crypto.randomUUID();
  const beat = heartbeat(sql, workerId, (options.heartbeat_interval ?? 5) * 1000);

  await sql`
    INSERT INTO pgflow.workers (queue_name, worker_id, function_name)
    VALUES (${flow.slug}, ${workerId}, ${options.name ?? "pgflow-deno"})`;
  say({ type: "ready", worker_id: workerId });

  while (!stop.aborted) {
    if (await beat()) return;
    try {
      const tasks = await claim(client, flow.slug, options, workerId);
      await atMost(options.max_concurrency ?? 10, tasks, (task) => execute(client, flow, task));
    } catch (error) {
      log("reading failed, trying again", error);
      await pause(RETRY_MS, stop);
    }
  }
}

/**
 * A sign of life, if the last one is old enough; whether the worker is to leave, which the database
 * can say from core 0.6.1 on. One that fails does not keep work waiting.
 */
function heartbeat(sql: Sql, workerId: string, intervalMs: number): () => Promise<boolean> {
  let last = -Infinity;
  return async () => {
    if (performance.now() - last < intervalMs) return false;
    try {
      const [row] = await sql`
        UPDATE pgflow.workers AS mine SET last_heartbeat_at = clock_timestamp()
        WHERE worker_id = ${workerId}
        RETURNING to_jsonb(mine) ->> 'deprecated_at' IS NOT NULL AS leave`;
      last = performance.now();
      return row?.leave ?? false;
    } catch (error) {
      log("heartbeat failed", error);
      return false;
    }
  };
}

/** Reads messages and starts their tasks. Messages without a task are left out by the database. */
async function claim(
  client: PgflowSqlClient<AnyFlow>,
  slug: string,
  options: WorkerOptions,
  workerId: string,
): Promise<StepTask[]> {
  const messages = await client.readMessages(
    slug,
    options.visibility_timeout ?? 2,
    options.batch_size ?? 10,
    MAX_POLL_SECONDS,
    // The original has no wait after an empty poll: this is how often the server looks meanwhile.
    Math.round((options.poll_interval ?? 0.1) * 1000),
  );
  if (messages.length === 0) return [];
  const ids = messages.map((message) => message.msg_id);
  const tasks = await client.startTasks(slug, ids, workerId);
  // Core before 0.7 returns no task_index.
  return tasks.map((task) => ({ ...task, task_index: task.task_index ?? 0 }));
}

/** Runs one task. An output that cannot be recorded is a failure of the task, too. */
async function execute(
  client: PgflowSqlClient<AnyFlow>,
  flow: AnyFlow,
  task: StepTask,
): Promise<void> {
  try {
    const step = flow.getStepDefinition(task.step_slug); // throws for a step it does not have
    const context = { stepTask: task } as never; // the part that flow.ts knows of
    await client.completeTask(task, await step.handler(task.input, context));
  } catch (error) {
    try {
      await client.failTask(task, error);
    } catch (failure) {
      log(`task ${task.run_id} ${task.step_slug} stays started`, failure);
    }
  }
}

/** Runs all items, at most `limit` at a time. */
async function atMost<T>(
  limit: number,
  items: T[],
  run: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values(); // the lanes share it
  const lane = async () => {
    for (const item of queue) await run(item);
  };
  await Promise.all(Array.from({ length: limit }, lane));
}

/** Waits, but not longer than until `stop`. */
function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((done) => {
    setTimeout(done, ms);
    stop.addEventListener("abort", () => done(), { once: true });
  });
}
