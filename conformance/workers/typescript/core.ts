/** Whether the client can work with the core in a database: what is there decides, no version. */

import type { Sql } from "postgres";
import { Unsupported } from "./lines.ts";

/** What the client calls, with the names that it gives to arguments. */
const CALLED: Record<string, string[]> = {
  "pgmq.read_with_poll": ["queue_name", "vt", "qty", "max_poll_seconds", "poll_interval_ms"],
  "pgflow.start_tasks": ["flow_slug", "msg_ids", "worker_id"],
  "pgflow.complete_task": ["run_id", "step_slug", "task_index", "output"],
  "pgflow.fail_task": ["run_id", "step_slug", "task_index", "error_message"],
  "pgflow.start_flow": ["flow_slug", "input", "run_id"],
};

/** What a task may come with. More would change what its other parts mean. */
const RECORD = ["flow_slug", "run_id", "step_slug", "input", "msg_id", "task_index"];

/** Throws `Unsupported` with the reason where the client cannot work. */
export async function check(sql: Sql): Promise<void> {
  const rows = await sql`
    SELECT n.nspname || '.' || p.proname AS name, p.proargnames AS names
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname IN ('pgflow', 'pgmq')`;
  for (const [name, wanted] of Object.entries(CALLED)) {
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
  const extra = record.map((row) => row.name).filter((name) => !RECORD.includes(name));
  if (extra.length > 0) refuse(`does not know ${extra.join(", ")}, with which tasks come here`);
}

function refuse(what: string): never {
  throw new Unsupported(`the client, @pgflow/core 0.8.1, ${what}`);
}
