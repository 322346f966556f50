"""Workers that break the contract, each in one way: `wrong.py <way> <word>`."""

# ruff: noqa: T201  # lines are their work

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def introduce() -> None:
    say(type="hello", contract=1, name="wrong", language="python", handler_input="split")
    say(type="ready", worker_id="nobody")


def obey() -> None:
    """Wait for SIGTERM and end as the contract says."""
    signal.sigwait({signal.SIGTERM})
    say(type="stopped")


def nothing_wrong() -> None:
    introduce()
    obey()


def silent() -> None:
    obey()


def dead() -> None:
    print("it hurts\nvery much", file=sys.stderr)
    sys.exit(7)


def shot() -> None:
    introduce()
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def unsupported() -> None:
    print("no such thing here", file=sys.stderr)
    sys.exit(3)


def unsupported_later() -> None:
    introduce()
    say(type="call")
    unsupported()


def garbage() -> None:
    for line in (b"Hello!", b"[1, 2]", b'"ready"', b"null", b'{"kind": "ready"}', b"\xff\xfe"):
        sys.stdout.buffer.write(line + b"\n")
    nothing_wrong()


def deep() -> None:
    print("[" * 200_000)
    nothing_wrong()


def flood() -> None:
    introduce()
    while True:
        print('{"type": "noise"}\n' * 1_000, end="")


def stubborn() -> None:
    introduce()
    while True:
        signal.sigwait({signal.SIGTERM})


def parent() -> None:
    """Leave a child behind in the process group, as a shell script would."""
    subprocess.Popen(["sleep", "1000"])
    nothing_wrong()


def parent_of_escaped() -> None:
    """Leave a child behind that is in a group of its own, and holds stdout."""
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    nothing_wrong()


def grandparent() -> None:
    """Leave a daemon behind: a grandchild whose parent has gone, in a session of its own."""
    subprocess.run(["sh", "-c", "setsid sleep 1000 &"], check=True)
    nothing_wrong()


def parent_of_nameless() -> None:
    """Leave a child behind that nothing in its environment tells from others."""
    subprocess.Popen(["sleep", "1000"], env={})
    nothing_wrong()


def multiplying() -> None:
    """Leave something behind that always starts more, in sessions of their own."""
    program = "while :; do setsid sleep 1000 & sleep 0.1; done"
    subprocess.Popen(["sh", "-c", program], start_new_session=True)
    nothing_wrong()


def endless() -> None:
    """Print a line that does not end."""
    introduce()
    while True:
        print("x" * 1_000_000, end="", flush=True)


def talker() -> None:
    """Print long lines, on and on."""
    introduce()
    while True:
        say(type="call", input="x" * 1_000_000)


def noisy() -> None:
    """Say far too much to people, and notice when nobody listens any more."""
    introduce()
    with contextlib.suppress(OSError):
        while True:
            os.write(2, b"x" * 65_536)
    os._exit(9)


def noisy_program() -> None:
    """The same, ended by the system."""
    introduce()
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    while True:
        os.write(2, b"x" * 65_536)


def wordless() -> None:
    introduce()
    signal.sigwait({signal.SIGTERM})


def sore() -> None:
    """End with an error, but say the right words."""
    nothing_wrong()
    print("sore", file=sys.stderr)
    sys.exit(1)


def hasty() -> None:
    """Go when nobody has asked for it."""
    introduce()
    say(type="stopped")


def closed() -> None:
    """Close stdout before anything is said."""
    os.close(1)
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


def deaf() -> None:
    """Close stdout after `ready`, so that nothing more can be heard."""
    introduce()
    os.close(1)
    signal.sigwait({signal.SIGTERM})
    os._exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    globals()[sys.argv[1]]()
