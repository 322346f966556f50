"""The command `pgflow-ref`.

Exit codes: 0 done, 1 the thing that was asked for failed, 2 it could not be tried: wrong words, no
database, no core. Then stderr has one line that says why.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; without the extra that it needs, say which one."""
    try:
        from pgflow_ref.commands import cli  # noqa: PLC0415  # the library itself needs neither
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit("pgflow-ref: the command line needs `pip install 'pgflow-ref[cli]'`")
    cli(prog_name="pgflow-ref")


if __name__ == "__main__":
    main()
