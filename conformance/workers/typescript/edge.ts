/**
 * The original worker itself, @pgflow/edge-worker, in the place of worker.ts.
 *
 * NOT VERIFIED against the real module: its registry is out of reach where this was written. What
 * is used of it comes from its documentation and from what is known of its Supabase platform:
 *
 * - `EdgeWorker.start(flow, config)` and `EdgeWorker.stop()`, and the names in config;
 * - it is made for Supabase's edge runtime: it wants that runtime's environment variables (the
 *   worker's id is SB_EXECUTION_ID) and its global `EdgeRuntime.waitUntil`;
 * - it starts to work at the first HTTP request, whose path is the function's name;
 * - it logs to the console, and so to stdout, which belongs to the suite here.
 *
 * VERIFIED with a stand-in module that behaves as listed: all of this file.
 */

import type { AnyFlow } from "@pgflow/dsl";
import type { Sql } from "postgres";
import type { WorkerOptions } from "./flow.ts";
import { describe, say, Unsupported } from "./lines.ts";

interface EdgeWorker {
  start(flow: AnyFlow, config: Record<string, unknown>): Promise<unknown>;
  stop(): Promise<void>;
}

/** Serves the flow with the worker of the module until `stop`. */
export async function workOnEdge(
  specifier: string,
  url: string,
  flow: AnyFlow,
  options: WorkerOptions,
  sql: Sql,
  stop: AbortSignal,
): Promise<void> {
  const worker = await load(specifier);
  const workerId = crypto.randomUUID();
  const request = pretendToBeSupabase(url, workerId);

  const config = {
    connectionString: url,
    maxConcurrent: options.max_concurrency,
    batchSize: options.batch_size,
    visibilityTimeout: options.visibility_timeout,
    pollIntervalMs: options.poll_interval && Math.round(options.poll_interval * 1000),
  };
  // Without the options that are not given: an undefined one might hide the module's default.
  await worker.start(flow, JSON.parse(JSON.stringify(config)));
  await request(options.name ?? "pgflow-edge");
  await registered(sql, workerId, stop);
  say({ type: "ready", worker_id: workerId });

  if (!stop.aborted) await new Promise((done) => stop.addEventListener("abort", done));
  globalThis.onbeforeunload = null; // there it would ask Supabase for a successor
  await worker.stop();
}

async function load(specifier: string): Promise<EdgeWorker> {
  try {
    const { EdgeWorker } = await import(specifier);
    if (EdgeWorker) return EdgeWorker;
  } catch (error) {
    throw new Unsupported(`cannot load ${specifier}: ${describe(error)}`);
  }
  throw new Unsupported(`${specifier} has no EdgeWorker`);
}

/** Sets up what the module expects around it. Returns what stands for an HTTP request to it. */
function pretendToBeSupabase(url: string, workerId: string): (name: string) => Promise<void> {
  console.log = console.info = console.debug = console.error;
  const environment = {
    EDGE_WORKER_DB_URL: url,
    SB_EXECUTION_ID: workerId,
    SUPABASE_URL: "http://127.0.0.1:9",
    SUPABASE_ANON_KEY: "unused",
    SUPABASE_SERVICE_ROLE_KEY: "unused",
  };
  for (const [name, value] of Object.entries(environment)) Deno.env.set(name, value);
  Object.assign(globalThis, { EdgeRuntime: { waitUntil: () => {} } });

  let handler: (request: Request) => unknown = () => {};
  Deno.serve = ((...given: unknown[]) => {
    handler = given.find((one) => typeof one === "function") as typeof handler;
  }) as typeof Deno.serve;
  return async (name) => void await handler(new Request(`http://127.0.0.1/${name}`));
}

async function registered(sql: Sql, workerId: string, stop: AbortSignal): Promise<void> {
  for (let tries = 0; tries < 200 && !stop.aborted; tries++) {
    const rows = await sql`SELECT FROM pgflow.workers WHERE worker_id = ${workerId}`;
    if (rows.count > 0) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  if (!stop.aborted) throw new Error("the worker did not register within 10 s");
}
