/** Whether a client can work with the core in a database: what is there decides, not its version. */

import type { Sql } from "postgres";
import { Unsupported } from "./lines.ts";

/** What a client needs of a core. */
export interface Needs {
  /** The client, for people. */
  client: string;
  /** What it calls, with the names that it gives to arguments. */
  called: Record<string, string[]>;
  /** What a task must come with, beside what all of them do. */
  record: string[];
  /** Whether it knows of all that a task may come with. */
  knows: boolean;
}

const READ = ["queue_name", "vt", "qty", "max_poll_seconds", "poll_interval_ms"];
const TASKS = {
  "pgflow.start_tasks": ["flow_slug", "msg_ids", "worker_id"],
  "pgflow.complete_task": ["run_id", "step_slug", "task_index", "output"],
  "pgflow.fail_task": ["run_id", "step_slug", "task_index", "error_message"],
  "pgflow.start_flow": ["flow_slug", "input", "run_id"],
};

/** What a task may come with. More would change what its other parts mean. */
const RECORD = ["flow_slug", "run_id", "step_slug", "input", "msg_id", "task_index"];

const OURS: Needs = {
  client: "the client, @pgflow/core 0.8.1,",
  called: { "pgmq.read_with_poll": READ, ...TASKS },
  record: [], // worker.ts says which task it is where the core does not
  knows: true,
};

/** What the original worker needs, in a version that is known. */
export function original(version: string): Needs | undefined {
  const minor = Number(version.match(/^0\.(\d+)\.\d/)?.[1]);
  if (Number.isNaN(minor)) return undefined;
  const reader = minor < 8 ? "pgflow.read_with_poll" : "pgmq.read_with_poll";
  return {
    client: `@pgflow/edge-worker ${version}`,
    called: { [reader]: READ, ...TASKS },
    record: minor < 7 ? [] : ["task_index"],
    knows: minor < 11,
  };
}

/** Throws `Unsupported` with the reason where a client cannot work. */
export async function check(sql: Sql, needs: Needs = OURS): Promise<void> {
  const refuse = (what: string) => {
    throw new Unsupported(`${needs.client} ${what}`);
  };
  const rows = await sql`
    SELECT n.nspname || '.' || p.proname AS name, p.proargnames AS names
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname IN ('pgflow', 'pgmq')`;
  for (const [name, wanted] of Object.entries(needs.called)) {
    const there = rows.filter((row) => row.name === name);
    if (there.length === 0) refuse(`calls ${name}, which this core does not have`);
    const fits = there.some((row) => wanted.every((one) => row.names?.includes(one)));
    if (!fits) refuse(`calls ${name} with ${wanted.join(", ")}, which this core does not take`);
  }
  const record = await sql`
    SELECT a.attname AS name
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'pgflow' AND c.relname = 'step_task_record'
      AND a.attnum > 0 AND NOT a.attisdropped`;
  const columns = record.map((row) => row.name);
  const lacking = needs.record.filter((name) => !columns.includes(name));
  if (lacking.length > 0) refuse(`wants ${lacking.join(", ")}, without which tasks come here`);
  const extra = columns.filter((name) => !RECORD.includes(name));
  if (needs.knows && extra.length > 0) {
    refuse(`does not know ${extra.join(", ")}, with which tasks come here`);
  }
}
