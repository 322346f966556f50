"""Workers that write what they may not, and then do their work: `trespasser.py <way> <word>`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import psycopg

PYTHON = Path(__file__).parents[3] / "conformance" / "workers" / "python" / "adapter.py"
WAYS = {
    "definitions": "UPDATE pgflow.steps SET opt_timeout = 77",
    "drop": "DROP SCHEMA conformance CASCADE",
    "lock": "BEGIN; LOCK TABLE pgflow.runs",
}


def main() -> None:
    way, word = sys.argv[1:]
    if word == "work":
        connection = psycopg.connect(os.environ["PGFLOW_DATABASE_URL"], autocommit=True)
        connection.execute(WAYS[way].encode())
        if way == "lock":  # to hold it, it has to live
            hello = {"type": "hello", "contract": 1, "name": way, "language": "python"}
            print(json.dumps({**hello, "version": "1", "handler_input": "split"}), flush=True)  # noqa: T201
            print('{"type": "ready", "worker_id": "nobody"}', flush=True)  # noqa: T201
            signal.pause()
        connection.close()
    os.execv(sys.executable, [sys.executable, str(PYTHON), word])


if __name__ == "__main__":
    main()
