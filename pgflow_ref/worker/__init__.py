"""The worker: performs what its machine commands, and tells it what came of that.

    from pgflow_ref import Worker

    Worker(flow, "postgresql://…", max_concurrency=20).run()

What to do when is decided in `machine/`; what a handler gets and gives, in `execute.py`; what is
asked of the database, in `operations/`. Here are the event loop and the signals (`worker.py`), the
connections (`database.py`, `listening.py`), and where handlers run (`handlers.py`).
"""

from pgflow_ref.worker.worker import Worker

__all__ = ["Worker"]
