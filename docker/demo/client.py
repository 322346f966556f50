"""The client of the compose file: starts runs until every worker had a part, and says who did what.

python client.py define     only define the flow
python client.py
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

import psycopg
from flow import side_by_side

from pgflow_ref import PgFlow

RUNS: Final = 100  # at a time
WITHIN: Final = 120.0  # seconds for all
WORKERS: Final = frozenset({"python", "deno"})

DONE: Final = """
SELECT w.function_name, count(*)
FROM pgflow.step_tasks t JOIN pgflow.workers w ON w.worker_id = t.last_worker_id
WHERE t.flow_slug = 'side_by_side' AND t.status = 'completed'
GROUP BY w.function_name ORDER BY w.function_name
"""


def main() -> int:
    """Start and wait; the exit code."""
    url = os.environ["PGFLOW_DATABASE_URL"]
    give_up_at = time.monotonic() + WITHIN
    with PgFlow(url) as pgflow, psycopg.connect(url, autocommit=True) as connection:
        pgflow.ensure_flow(side_by_side)
        if sys.argv[1:] == ["define"]:
            return 0
        shares: dict[str, int] = {}
        while WORKERS - shares.keys():
            # From 1: what pgflow's TypeScript worker makes of 0 is null (docs/explanation/json.md).
            inputs = [{"value": number} for number in range(1, RUNS + 1)]
            ids = pgflow.start_flows(side_by_side, inputs)
            for run_id, given in zip(ids, inputs, strict=True):
                while not (run := pgflow.get_run(run_id)).is_over:
                    if time.monotonic() > give_up_at:
                        print(f"not all runs are over after {WITHIN:g} s; done: {shares}")
                        return 1
                    time.sleep(0.05)
                if run.output != {"total": given["value"]}:
                    print(f"run {run_id} of {given} ended with {run.status}: {run.output}")
                    return 1
            shares = {str(name): int(count) for name, count in connection.execute(DONE).fetchall()}
            print(f"{len(ids)} runs are completed; tasks by worker: {shares}", flush=True)
            if time.monotonic() > give_up_at:
                print(f"a worker had no part: {WORKERS - shares.keys()}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
