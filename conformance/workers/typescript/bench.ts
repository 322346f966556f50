/**
 * The worker of worker.ts as benchmarks run it, with its order as JSON on stdin. Its handlers do
 * nothing and say nothing, and it may have more connections than the four of the original's default.
 */

import { type AnyFlow, Flow } from "@pgflow/dsl";
import postgres from "postgres";
import * as runtime from "#runtime";
import type { WorkerOptions } from "./flow.ts";
import { work } from "./worker.ts";

interface Order {
  flow: string;
  steps: Record<string, string[]>;
  returns: "nothing" | "input" | "time";
  options: WorkerOptions;
  connections: number;
}

const handlers = {
  nothing: () => ({}),
  input: (input: { run: unknown }) => input.run,
  time: () => (performance.timeOrigin + performance.now()) / 1000,
};

let given = "";
for await (const piece of runtime.stdin()) given += piece;
const order: Order = JSON.parse(given);
let flow: AnyFlow = new Flow({ slug: order.flow });
for (const [slug, dependsOn] of Object.entries(order.steps)) {
  flow = flow.step({ slug, dependsOn } as never, handlers[order.returns] as never);
}
const stop = new AbortController();
runtime.onSignal("SIGTERM", () => stop.abort());
const sql = postgres(runtime.env("PGFLOW_DATABASE_URL")!, {
  max: order.connections,
  prepare: false,
});
await work(flow, order.options, sql, stop.signal);
await sql.end({ timeout: 1 });
runtime.exit(0);
