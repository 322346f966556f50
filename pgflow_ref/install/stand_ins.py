"""What a core takes from extensions that a plain server lacks, and what stands in for it.

Supabase has pg_net, pg_cron and its vault; cores from 0.10 on call them. The stand-ins write down
what they were asked for, and do nothing. They are made only where a core that is to be installed
mentions one, the server has no such extension to offer, and the schema is not there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pgflow_ref.install.catalog import STOOD_IN_FOR

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pgflow_ref.install.sources import SqlFile

DOES: Final = {
    "realtime.send": "it records events in realtime.messages_sent and sends nothing",
    "pg_net": "it records requests in net.requests_recorded and sends nothing",
    "pg_cron": "it keeps jobs in cron.job and runs none of them",
    "supabase_vault": "it keeps secrets in vault.secrets as they are, without encrypting them",
}
"""What each stand-in does, by what it stands in for."""

_STATEMENT: Final = re.compile(
    r'^[ \t]*CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?"?(\w+)"?[^;]*;',
    re.IGNORECASE | re.MULTILINE,
)


def needed(files: Iterable[SqlFile]) -> tuple[str, ...]:
    """The extensions with a stand-in that some SQL mentions.

    Example:
        >>> from pgflow_ref.install.sources import SqlFile
        >>> needed([SqlFile("a.sql", "SELECT net.http_post(url => 'http://localhost')")])
        ('pg_net',)
    """
    text = "\n".join(file.text for file in files)
    return tuple(
        extension
        for extension, schema in STOOD_IN_FOR.items()
        if re.search(rf'\b{extension}\b|\b{schema}"?\."?\w', text)
    )


def without(text: str, extensions: Collection[str]) -> str:
    """SQL without the statements that create these extensions.

    Example:
        >>> print(without('CREATE EXTENSION IF NOT EXISTS "pg_net";', ["pg_net"]))
        -- CREATE EXTENSION pg_net is left out: it is there, or something stands in for it.
    """

    def left_out(match: re.Match[str]) -> str:
        if match[1] not in extensions:
            return match[0]
        return (
            f"-- CREATE EXTENSION {match[1]} is left out: it is there, "
            "or something stands in for it."
        )

    return _STATEMENT.sub(left_out, text)
