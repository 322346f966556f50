"""`./scripts/conformance`: the suite, run by pytest, with exit codes that mean one thing each."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

PARALLEL: Final = ("-n", "8", "--dist", "worksteal")
"""Workers mostly wait, so more processes than two cores are of use."""

_IN_ONE_PROCESS: Final = frozenset(
    {"--pdb", "--trace", "-s", "--list", "--explain", "--attach", "--in-place"}
)
_EXPLANATION: Final = """\
Try workers with the cases of the pgflow conformance suite, on a real PostgreSQL that it brings
along. What is no option of its own goes to pytest: -k WORDS, -x, -v, -n PROCESSES, or a path.
"""
_EXITS: Final = """\
exit codes: 0 as expected, 1 unexpected results, 2 it could not run

  ./scripts/conformance --quick
  ./scripts/conformance --worker python --worker 'mine=./my-worker --flag'
  ./scripts/conformance --case 'retry.*' --core 0.5.0 --core 0.8.1
  ./scripts/conformance --core 0.8.1 --core ./supabase/migrations
"""


class _Help:
    """Takes the options that conftest gives to pytest, and shows them alone."""

    def __init__(self) -> None:
        self._parser = argparse.ArgumentParser(
            "./scripts/conformance",
            description=_EXPLANATION,
            epilog=_EXITS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def getgroup(self, *_: str) -> _Help:
        """The group of options: there is one."""
        return self

    def addoption(self, *names: str, **about: Any) -> None:
        """One more option."""
        self._parser.add_argument(*names, **about)

    def show(self) -> None:
        """Print them all."""
        self._parser.print_help()


def main(arguments: Sequence[str]) -> int:
    """Run the suite; the exit code.

    Args:
        arguments: of the command line.
    """
    if {"-h", "--help"} & set(arguments):
        from conformance import conftest  # noqa: PLC0415  # pytest loads it as it needs it

        shown = _Help()
        conftest.pytest_addoption(shown)  # type: ignore[arg-type]  # it is asked for no more
        shown.show()
        return 0
    # pytest would first complain of the suite's options, which it learns from what is not there.
    for path in filter(_is_of_the_suite, arguments):
        if not Path(path.partition("::")[0]).exists():
            sys.stderr.write(f"the suite cannot run: there is no {path}\n")
            return 2
    code = pytest.main(completed(arguments))
    # pytest has codes of its own for a wrong option, nothing to do and its own mistakes.
    from conformance.harness.plugin import exit_code  # noqa: PLC0415  # pytest loads it as well

    return exit_code(code)


def completed(arguments: Sequence[str]) -> list[str]:
    """The arguments for pytest: in parallel, and the whole suite, where nothing else is asked for.

    Example:
        >>> completed(["-n0", "-k", "mixed"])
        ['conformance', '-n0', '-k', 'mixed']
    """
    given = list(arguments)
    # A path, or a test's name as reports give it, is in place of the whole suite.
    named = any(_is_of_the_suite(word) for word in given)
    alone = any(_is_about_processes(word) for word in given)
    return [*([] if alone else PARALLEL), *([] if named else ["conformance"]), *given]


def _is_about_processes(word: str) -> bool:
    chosen = word.startswith(("-n", "--numprocesses", "--capture=no"))
    return chosen or word.partition("=")[0] in _IN_ONE_PROCESS


def _is_of_the_suite(word: str) -> bool:
    """Whether it is a path of tests, and not the value of an option, which may be a path too."""
    path = Path(word.partition("::")[0])
    inside = path.resolve().is_relative_to(Path(__file__).parent)
    return not word.startswith("-") and inside and (path.is_dir() or path.suffix == ".py")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
