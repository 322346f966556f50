"""What an adapter got wrong, with what the contract says of it and what to do about it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Finding(NamedTuple):
    """Something that an adapter gets wrong.

    Attributes:
        wrong: what is wrong, with what was seen.
        section: the heading of CONTRACT.md under which it stands how it should be.
        says: what the contract says there.
        do: what to do about it.
    """

    wrong: str
    section: str
    says: str
    do: str


COMMAND: Final = "The command"
STREAMS: Final = "Streams"
CODES: Final = "Exit codes"
SIGNALS: Final = "Signals"
LINES: Final = "The lines of `work`"
INSTRUCTIONS: Final = "The instructions"
WRITES: Final = "What a worker may write"
FIXTURE: Final = "The fixture"
VERSIONS: Final = "Versions"
SECTIONS: Final = (COMMAND, STREAMS, CODES, SIGNALS, LINES, INSTRUCTIONS, WRITES, FIXTURE, VERSIONS)

_END: Final = (
    "After SIGTERM `work` reads no more, finishes what it runs, says `stopped` and exits with 0."
)

ADVICE: Final[tuple[tuple[str, str, str, str], ...]] = (
    (
        r"only when it ended|had not said call",
        STREAMS,
        "A line of `work` is flushed at once.",
        "Flush stdout after each line: what goes into a pipe is kept back, unless one asks.",
    ),
    (
        "is no line of the contract",
        STREAMS,
        "stdout is for the suite: JSON and nothing else.",
        "Send logs, prints and banners of all your libraries to stderr.",
    ),
    (
        r"MiB|more than \d+ lines",
        STREAMS,
        "No line is longer than 32 MiB, and no file longer than 64 MiB.",
        "Print a line for each call of a handler, and log less.",
    ),
    (
        "did not say ready within",
        LINES,
        "`ready` comes when the worker is registered and about to read.",
        "Say it after your worker has made its row in pgflow.workers, and flush it.",
    ),
    (
        r"no row in pgflow\.workers",
        LINES,
        "`worker_id` is its id in `pgflow.workers` as the database writes it.",
        "Register first, and say that id: a UUID in small letters, with hyphens.",
    ),
    (
        "left processes behind",
        SIGNALS,
        "When a command has ended, nothing of it may be left: no process that it started.",
        "Wait for your child processes, or end them, before you exit.",
    ),
    (
        r"exited with -15 after SIGTERM",
        SIGNALS,
        "SIGTERM is the end that `work` describes: finish what runs, say `stopped`, exit with 0.",
        "Handle SIGTERM before you say `ready`. A shell script hands it on only if it uses `exec`.",
    ),
    (
        r"after SIGTERM",
        SIGNALS,
        _END,
        "Handle SIGTERM, and let your loop end; a shell script hands it on only if it uses `exec`.",
    ),
    (
        "without saying stopped|was not finished",
        COMMAND,
        _END,
        "Print `stopped` as the last thing, after all handlers have ended and are reported.",
    ),
    (
        "before it was asked to|did not .* exited|exited with .* did not",
        COMMAND,
        "`work` serves the flow until SIGTERM.",
        "Keep polling when there is nothing to do; stderr says why it ended.",
    ),
    (
        "`start` printed",
        COMMAND,
        '`start` prints {"run_id": "…"} for each input on a line, in the same order.',
        "Print one JSON object for each line of stdin, and nothing else.",
    ),
    (
        "was not over after",
        COMMAND,
        "`hello`, `compile` and `start` exit with 0 when they are done; stdin has an end.",
        "Exit when it is printed; in `start`, when stdin is at its end.",
    ),
    (
        "`hello`",
        COMMAND,
        "`hello` prints the line `hello` and exits with 0. It needs no fixture and no database.",
        "Answer `hello` before you read the fixture or open a connection.",
    ),
    (
        "`compile`",
        COMMAND,
        "`compile` prints the SQL statements that create the flow, as one JSON array of strings.",
        "Print what your own compiler makes, in the order in which it is to be run.",
    ),
    (
        "`start`",
        COMMAND,
        "`start` starts a run of the flow for each line of stdin, in order, and exits with 0.",
        "The flow exists already: start runs, and create nothing.",
    ),
    (
        "lines are not in the order|it said (hello|ready)|its line ",
        LINES,
        "`hello`, `ready`, a `call` for each attempt, `stopped`, in this order.",
        "Hold your lines against contract.schema.json.",
    ),
    (
        r"names no task|no input|had not started|had started|calls of its handler|was called, but",
        LINES,
        "`call` comes when a handler is called: one line for each attempt of each task.",
        "Print it at the beginning of each handler, with the ids that start_tasks gave.",
    ),
    (
        "handler saw",
        LINES,
        "`handler_input` says what a handler's argument is: `split` or `whole`.",
        "Say in `hello` what your worker really hands to handlers, and print it as it is.",
    ),
    (
        "wrote what it may not|judges by|empty the suite|without the suite|are gone",
        WRITES,
        "It changes runs, steps, tasks and messages by calling the functions of pgflow and pgmq.",
        "Call pgflow.start_tasks, complete_task and fail_task, and pgmq's functions.",
    ),
    (
        "not supported",
        FIXTURE,
        "3 is for what an adapter has no place for, and nearly every case is of single steps.",
        "Answer this word for a flow of single steps, with `name` and `poll_interval`.",
    ),
    (
        "its output is|is (started|failed)|no run",
        INSTRUCTIONS,
        "The last value that an instruction made is the task's output.",
        "Complete each task with that value; what the tasks failed with stands beside it.",
    ),
)
"""By a pattern in the sentence that says what is wrong: section, what it says, what to do."""

_ANY: Final = (
    COMMAND,
    "Each word does what it says there, and exits with 0.",
    "Run the command by hand with the same environment; its stderr says more.",
)


def explain(wrong: str) -> Finding:
    """The finding that goes with a sentence of the harness.

    Example:
        >>> explain("mine: it ended without saying stopped").section
        'The command'
    """
    for pattern, *rest in ADVICE:
        if re.search(pattern, wrong):
            return Finding(wrong, *rest)
    return Finding(wrong, *_ANY)
