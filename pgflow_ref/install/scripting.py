"""What the script of an installation has beside the files: a guard before them, and an ending.

The ending is what `finish` does, in SQL: nobody knows before what an unknown core will leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from psycopg import sql

from pgflow_ref.install import catalog, finish
from pgflow_ref.install import pins as pinned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.install.decide import Step
    from pgflow_ref.install.wanted import Wanted
    from pgflow_ref.install.wanted_pgmq import WantedPgmq

_GUARD: Final = """\
DO $pgflow_ref$
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock({lock});
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname IN ({schemas}))
       OR pg_catalog.to_regprocedure('realtime.send(jsonb,text,text,boolean)') IS NOT NULL THEN
        RAISE EXCEPTION 'this script is for a database without realtime.send and without schemas '
            'that are called %; for any other there is: pgflow-ref install', {names};
    END IF;
END;
$pgflow_ref$;
SET LOCAL search_path = '';
SET LOCAL client_min_messages = warning;
"""

_BEGIN: Final = """\
SET LOCAL search_path = '';
DO $pgflow_ref_ending$
DECLARE
    lacking text;
BEGIN
"""

_LACKING: Final = """\
    SELECT name INTO lacking FROM unnest(ARRAY[{needed}]) WITH ORDINALITY AS n (name, place)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_proc
                      WHERE pronamespace = 'pgflow'::regnamespace AND proname = name)
    ORDER BY place LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'this is no core of pgflow from 0.5 on: it leaves no pgflow.%', lacking;
    END IF;
"""

_REPLACE: Final = """\
    IF EXISTS (SELECT FROM ({items}) AS f (key, item)
               WHERE (key, item) IN ({known})) THEN
        EXECUTE $pgflow_ref_ours$
{ours}$pgflow_ref_ours$;
    END IF;
"""

_TRY_QUEUE: Final = """\
    BEGIN
        PERFORM pgmq.create({trial});
        PERFORM pgmq.send({trial}, '{{}}'::jsonb);
        PERFORM * FROM pgmq.read({trial}, 0, 1);
        RAISE EXCEPTION USING ERRCODE = 'PFREF';  -- which takes the queue away
    EXCEPTION WHEN SQLSTATE 'PFREF' THEN
        NULL;
    END;
"""

# As `marks.digest` makes it: the same JSON, to the byte.
_MARK: Final = """\
    EXECUTE format({comment}, (
        SELECT encode(sha256(convert_to('[' || string_agg(format('[%s, [%s]]', to_json(key), (
                   SELECT string_agg(to_json(line)::text, ', ' ORDER BY place)
                   FROM unnest(item) WITH ORDINALITY AS l (line, place))),
               ', ' ORDER BY key COLLATE "C") || ']', 'UTF8')), 'hex')
        FROM ({items}) AS f (key, item) WHERE key !~ '^table pgmq\\.[qa]_'));
"""


def guard(lock: int, stand_ins: Sequence[str]) -> str:
    """What comes first: the installer's lock, and a refusal where something is in the way.

    Args:
        lock: the key of the advisory lock.
        stand_ins: the extensions for which something is to stand in.
    """
    schemas = ["pgflow", "pgmq", *(catalog.STOOD_IN_FOR[name] for name in stand_ins)]
    return _GUARD.format(
        lock=lock,
        schemas=", ".join(map(_literal, schemas)),
        names=_literal(" or ".join(schemas)),
    )


def ending(steps: Sequence[Step], core: Wanted, pgmq: WantedPgmq | None) -> str:
    """What comes last; empty where both are known.

    It replaces what cannot work, refuses what is no core or makes no queue, and writes down what
    was installed, so that a later installation knows it again.
    """
    kinds = {step.kind: step for step in steps}
    parts = []
    if pgmq is not None and pgmq.release is None:
        parts += [_TRY_QUEUE.format(trial=_literal(finish.TRIAL))]
        parts += [_mark("pgmq", pgmq.label, pgmq.digest)]
    if core.release is None:
        parts.append(_LACKING.format(needed=", ".join(map(_literal, finish.NEEDED))))
        if "replace" in kinds:
            parts += map(_replace, kinds["replace"].names)
        parts.append(_mark("pgflow", core.label, core.digest))
    return "".join([_BEGIN, *parts, "END;\n$pgflow_ref_ending$;\n"]) if parts else ""


def _replace(name: str) -> str:
    known = finish.broken([name])
    return _REPLACE.format(
        items=catalog.items_sql("pgflow"),
        known=", ".join(
            f"({_literal(key)}, ARRAY[{', '.join(map(_literal, item))}])" for key, item in known
        ),
        ours=pinned.our_sql(name.removeprefix("pgflow.")),
    )


def _mark(schema: str, label: str, files: str) -> str:
    # Neither has a percent sign: a label has letters, digits and a few signs.
    comment = (
        f"COMMENT ON SCHEMA {schema} IS 'pgflow-ref installed {label}: files {files}, catalog %s'"
    )
    return _MARK.format(comment=_literal(comment), items=catalog.items_sql(schema))


def _literal(text: str) -> str:
    return sql.Literal(text).as_string()
