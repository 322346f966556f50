"""The process that calls handlers, here as a thread: what it says, and when it ends.

What ends a process, or is a process's own, is in `test_processes.py`.
"""

from __future__ import annotations

import json
import threading
from multiprocessing import Pipe
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pgflow_ref import ConfigError, handler_process, processes
from tests.conftest import wait_until
from tests.flows_in_processes import each, local, mixed, odd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 30
REFERENCE = {
    "module": "tests.flows_in_processes",
    "path": None,
    "attribute": "odd",
    "slug": "odd",
    "steps": ["do"],
}
RUN_ID, WORKER_ID = UUID(int=1), UUID(int=2)


class Served:
    """A thread that serves, and this end of its line."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self.left_with = SimpleQueue[int]()
        self.thread = threading.Thread(
            target=handler_process.serve, args=(theirs, self.left_with.put), daemon=True
        )
        self.thread.start()

    def say(self, message: dict[str, Any]) -> None:
        self.connection.send_bytes(json.dumps(message).encode())

    def hear(self) -> Any:
        assert self.connection.poll(PATIENCE)
        return json.loads(self.connection.recv_bytes())

    def begin(self, **other: Any) -> Any:
        self.say({"reference": {**REFERENCE, **other}})
        return self.hear()["problem"]

    def ask(self, *given: object, is_stopping: bool = False) -> Any:
        self.send(*given, is_stopping=is_stopping)
        return self.hear()

    def send(self, *given: object, is_stopping: bool = False) -> None:
        task = {"flow_slug": "odd", "message_id": 1, "flow_input": None}
        task["input"] = json.dumps({"run": list(given)})
        self.say(
            {
                "key": [str(RUN_ID), "do", 0, 2],
                "task": task,
                "worker_id": str(WORKER_ID),
                "is_stopping": is_stopping,
            }
        )


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.connection.close()
    served.thread.join(PATIENCE)
    assert not served.thread.is_alive()


def test_a_task_after_the_other(served: Served) -> None:
    assert served.begin() is None
    assert served.ask("echo", {"a": [1]}) == {"output": '{"a": [1]}'}
    assert served.ask("echo", None) == {"output": None}
    assert served.ask("fail", "no") == {"message": "no"}
    output = json.loads(served.ask("context")["output"])
    assert output == [str(RUN_ID), "odd", "do", 0, 2, str(WORKER_ID), False, True]


def test_it_hears_that_the_worker_stops(served: Served, tmp_path: Path) -> None:
    assert served.begin() is None
    path = tmp_path / "began"
    served.send("until stopping", str(path))
    wait_until(path.exists)
    served.say({"is_stopping": True})
    assert served.hear() == {"output": '"stopped"'}
    assert json.loads(served.ask("context")["output"])[6] is True


def test_it_ends_at_once_where_nobody_waits_for_what_it_does(tmp_path: Path) -> None:
    served, path = Served(), tmp_path / "began"
    assert served.begin() is None
    served.send("until stopping", str(path))
    wait_until(path.exists)
    served.connection.close()
    assert served.left_with.get(timeout=PATIENCE) == 1  # where a process would be over
    served.thread.join(PATIENCE)


def test_it_is_told_with_a_task_that_the_worker_stops(served: Served) -> None:
    assert served.begin() is None
    assert json.loads(served.ask("context", is_stopping=True)["output"])[6] is True


def test_an_input_of_another_form_fails_its_task_only(served: Served) -> None:
    assert served.begin() is None
    served.say(
        {
            "key": [str(RUN_ID), "do", 0, 1],
            "task": {"flow_slug": "odd", "message_id": 1, "flow_input": None, "input": "[]"},
            "worker_id": str(WORKER_ID),
            "is_stopping": False,
        }
    )
    assert "start_tasks builds an object" in served.hear()["message"]
    assert served.ask("echo", 1) == {"output": "1"}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"module": "no.such.module"}, "cannot import no.such.module: ModuleNotFoundError"),
        ({"attribute": "do"}, "LookupError: do is no flow 'odd' there"),
        ({"attribute": "nothing"}, "LookupError: nothing is no flow 'odd' there"),
        ({"slug": "even"}, "LookupError: odd is no flow 'even' there"),
        ({"steps": ["do", "undo"]}, "LookupError: odd has no step undo there"),
    ],
)
def test_a_flow_that_is_not_there_is_told(other: dict[str, Any], told: str, served: Served) -> None:
    said = served.begin(**other)
    assert told in said
    assert said.startswith("a process for handlers cannot import ")
    assert said.endswith("a script starts its worker under if __name__ == '__main__'")


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "raise KeyboardInterrupt", "1/0", "("])
def test_a_script_that_cannot_be_run_is_told(text: str, served: Served, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(text, encoding="utf-8")
    assert f"cannot import {path}: " in served.begin(module=None, path=str(path))


def test_a_script_is_run_under_another_name(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        "from pgflow_ref import Flow\n"
        "odd = Flow('odd')\n"
        "@odd.step('do')\n"
        "def do(given, ctx):\n"
        "    return [given, __name__]\n"
        "if __name__ == '__main__':\n"
        "    raise SystemExit\n",
        encoding="utf-8",
    )
    assert served.begin(module=None, path=str(path)) is None
    assert json.loads(served.ask(1)["output"]) == [[1], "__pgflow_main__"]


# Where the flow is found


def test_where_a_flow_is() -> None:
    module = "tests.flows_in_processes"
    assert processes.find(odd) == processes.Reference(module, None, "odd", "odd", ("do",))
    assert processes.find(mixed).steps == ("in_a_process",)
    assert processes.find(each).attribute == "each"


def test_where_a_flow_is_not() -> None:
    with pytest.raises(ConfigError, match="flow 'local' is no variable of a module"):
        processes.find(local())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"__file__": "/srv/shop.py", "__spec__": None}, (None, "/srv/shop.py")),
        ({"__spec__": "shop.flows"}, ("shop.flows", None)),
    ],
    ids=["script", "module"],
)
def test_a_flow_of_the_main_module(
    names: dict[str, Any], expected: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    flow, main = local(), ModuleType("__main__")
    spec = names.get("__spec__")
    main.__dict__.update(names, flow=flow)
    main.__spec__ = None if spec is None else ModuleSpec(spec, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    found = processes.find(flow)
    assert ((found.module, found.path), found.attribute) == (expected, "flow")


def test_a_flow_of_a_main_module_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import ModuleType

    flow, main = local(), ModuleType("__main__")
    main.__dict__["flow"] = flow
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(ConfigError):
        processes.find(flow)


def test_no_process_starts_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_process, "is_one", True)
    pool = processes.Processes(odd, WORKER_ID, threading.Event())
    with pytest.raises(ConfigError, match="this is a process for handlers"):
        pool.start()
