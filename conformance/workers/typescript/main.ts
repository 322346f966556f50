/** The adapter of CONTRACT.md: `main.ts compile|start|work`. */

import { PgflowSqlClient } from "@pgflow/core";
import { compileFlow } from "@pgflow/dsl";
import postgres, { type Sql } from "postgres";
import * as runtime from "#runtime";
import { check, original } from "./core.ts";
import { workOnEdge } from "./edge.ts";
import { declare, readFixture, type Task } from "./flow.ts";
import { describe, hear, say, Unsupported } from "./lines.ts";
import { work } from "./worker.ts";

const HELLO = {
  type: "hello",
  contract: 1,
  name: `pgflow-${runtime.name}`,
  language: "typescript",
  version: "0.8.1",
  handler_input: "whole",
  capabilities: ["map_steps", "start_delay"],
};

function env(name: string): string {
  const value = runtime.env(name);
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

function connect(): Sql {
  return postgres(env("PGFLOW_DATABASE_URL"), {
    max: 4,
    prepare: false,
    onnotice: (notice) => console.error(notice.message), // by default they go to stdout
  });
}

/** A task's attempt, which the original does not tell its handlers. */
async function attempt(sql: Sql, { run_id, step_slug, task_index }: Task): Promise<number> {
  const [row] = await sql`
    SELECT attempts_count FROM pgflow.step_tasks
    WHERE run_id = ${run_id} AND step_slug = ${step_slug} AND task_index = ${task_index}`;
  if (!row) throw new Error(`no task of run ${run_id}, step ${step_slug}, index ${task_index}`);
  return row.attempts_count;
}

async function compile(): Promise<void> {
  const flow = declare(await readFixture(env("PGFLOW_FIXTURE")), () => Promise.reject());
  say(compileFlow(flow));
}

async function start(): Promise<void> {
  const { flow } = await readFixture(env("PGFLOW_FIXTURE"));
  const sql = connect();
  await check(sql);
  const client = new PgflowSqlClient(sql);
  for await (const input of hear()) {
    const run = await client.startFlow(flow.slug, input as never);
    say({ run_id: run.run_id });
  }
  await sql.end();
}

async function serve(): Promise<void> {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    runtime.onSignal(signal, () => stop.abort());
  }
  const fixture = await readFixture(env("PGFLOW_FIXTURE"));
  const sql = connect();
  const flow = declare(fixture, (task) => attempt(sql, task));
  const options = fixture.worker ?? {};
  const edge = runtime.env("PGFLOW_EDGE_WORKER");
  if (edge) {
    if (runtime.name !== "deno") throw new Unsupported(`${edge} is a module for Deno`);
    const version = edge.match(/@(\d[^/]*)$/)?.[1] ?? "unknown";
    const needs = original(version);
    if (needs) await check(sql, needs);
    say({ ...HELLO, name: "pgflow-edge-worker", version });
    await workOnEdge(edge, env("PGFLOW_DATABASE_URL"), flow, options, sql, stop.signal);
  } else {
    await check(sql);
    say(HELLO);
    await work(flow, options, sql, stop.signal);
  }
  await sql.end({ timeout: 1 }); // of a connection that was cut the end never comes
  say({ type: "stopped" });
}

const hello = () => Promise.resolve(say(HELLO));
const words: Record<string, () => Promise<void>> = { hello, compile, start, work: serve };

try {
  const contract = runtime.env("PGFLOW_CONTRACT") ?? "1";
  if (contract !== "1") throw new Unsupported(`this is for contract 1, not ${contract}`);
  const word = words[runtime.words[0]];
  if (!word) throw new Unsupported(`usage: main.ts ${Object.keys(words).join("|")}`);
  await word();
  runtime.exit(0);
} catch (error) {
  console.error(describe(error));
  runtime.exit(error instanceof Unsupported ? 3 : 1);
}
