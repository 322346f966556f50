"""The command `pgflow-ref`.

Exit codes: 0 done, 1 the thing that was asked for failed, 2 it could not be tried: wrong words, no
database, no core. Then stderr has one line that says why, also with `--json`, and never a password.
130 is Ctrl-C, and 141 a reader that has gone, as of `pgflow-ref flows | head -1`; both are silent.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Final, NoReturn

from pgflow_ref.errors import PgflowError, RunTimeout

_FAILED: Final = 1
_CANNOT: Final = 2
_INTERRUPTED: Final = 130  # 128 + SIGINT
_READER_GONE: Final = 141  # 128 + SIGPIPE
_PASSWORD: Final = re.compile(r"(://[^:/\s]*:)\S*(?=@)|(password\s*=\s*)('[^']*'|\S+)")


def main() -> NoReturn:
    """Run the command; without the extra that it needs, say which one."""
    try:
        import click  # noqa: PLC0415  # the library itself does without

        from pgflow_ref.commands import ReaderGone, cli  # noqa: PLC0415  # needs rich as well
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        _refuse("the command line needs `pip install 'pgflow-ref[cli]'`")
    try:
        status = cli.main(prog_name="pgflow-ref", standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(status)
    except (BrokenPipeError, ReaderGone):
        # Else Python complains at its end, when it flushes what nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_READER_GONE)
    except click.Abort:
        sys.exit(_INTERRUPTED)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "pgflow-ref"
        _refuse(f"{error.format_message()} (`{where} --help` says more)")
    except click.ClickException as error:
        _refuse(error.format_message())
    except Exception as error:
        said = str(error) if isinstance(error, PgflowError) else _of_the_driver(error)
        if said is None:
            raise
        _refuse(said, _FAILED if isinstance(error, RunTimeout) else _CANNOT)


def _of_the_driver(error: Exception) -> str | None:
    """What psycopg has to say: that it cannot be loaded, or what the database refuses."""
    if isinstance(error, ImportError) and "psycopg" in str(error):
        return f"psycopg cannot be loaded ({error}); `pip install 'psycopg[binary]'` may help"
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(error, psycopg.Error):
        return f"the database refuses: {error}"
    return None


def _refuse(text: str, status: int = _CANNOT) -> NoReturn:
    line = _PASSWORD.sub(r"\1\2***", " ".join(text.split()))
    sys.stderr.write(f"pgflow-ref: {line}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
