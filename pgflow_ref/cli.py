"""The command `pgflow-ref`.

Exit codes: 0 done, 1 the thing that was asked for failed, 2 it could not be tried: wrong words, no
database, no core. Then stderr has one line that says why, and never a password.
"""

from __future__ import annotations

import re
import sys
from typing import Final, NoReturn

from pgflow_ref.errors import PgflowError

_CANNOT: Final = 2
_PASSWORD: Final = re.compile(r"(://[^:/\s]*:)\S*(?=@)|(password\s*=\s*)('[^']*'|\S+)")


def main() -> NoReturn:
    """Run the command; without the extra that it needs, say which one."""
    try:
        import click  # noqa: PLC0415  # the library itself does without

        from pgflow_ref.commands import cli  # noqa: PLC0415  # needs rich as well
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        _refuse("the command line needs `pip install 'pgflow-ref[cli]'`")
    try:
        sys.exit(cli.main(prog_name="pgflow-ref", standalone_mode=False) or 0)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "pgflow-ref"
        _refuse(f"{error.format_message()} (`{where} --help` says more)")
    except click.ClickException as error:
        _refuse(error.format_message())
    except click.Abort:
        sys.exit(130)
    except PgflowError as error:
        _refuse(str(error))
    except Exception as error:
        said = _of_the_driver(error)
        if said is None:
            raise
        _refuse(said)


def _of_the_driver(error: Exception) -> str | None:
    """What psycopg has to say: that it cannot be loaded, or what the database refuses."""
    if isinstance(error, ImportError) and "psycopg" in str(error):
        return f"psycopg cannot be loaded ({error}); `pip install 'psycopg[binary]'` may help"
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(error, psycopg.Error):
        return f"the database refuses: {error}"
    return None


def _refuse(text: str) -> NoReturn:
    line = _PASSWORD.sub(r"\1\2***", " ".join(text.split()))
    sys.stderr.write(f"pgflow-ref: {line}\n")
    sys.exit(_CANNOT)


if __name__ == "__main__":
    main()
