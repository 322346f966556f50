"""A worker that keeps the contract in every word and does nothing: no case may pass with it."""

# ruff: noqa: T201  # lines are its work

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

PYTHON = Path(__file__).parents[3] / "conformance" / "workers" / "python" / "adapter.py"

match sys.argv[-1]:
    case "compile":
        print("[]")
    case "start":  # the runs are real
        os.execv(sys.executable, [sys.executable, str(PYTHON), "start"])
    case "work":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        hello = {"type": "hello", "contract": 1, "name": "idle", "language": "python"}
        ready = {"type": "ready", "worker_id": "00000000-0000-0000-0000-000000000000"}
        print(json.dumps({**hello, "version": "0", "handler_input": "split"}), flush=True)
        print(json.dumps(ready), flush=True)
        signal.sigwait({signal.SIGTERM})
        print(json.dumps({"type": "stopped"}))
