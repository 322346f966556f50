"""What each rule of the mutation engine changes, and all that it must leave alone."""

from __future__ import annotations

import pytest

from conformance.core.mutations import RULES, Mutant, mutants


def function(body: str, arguments: str = "", language: str = "plpgsql") -> str:
    return (
        f"CREATE OR REPLACE FUNCTION shop.sell({arguments})\n RETURNS void\n LANGUAGE {language}\n"
        f" COST 100\n SET search_path TO ''\nAS $function$\n{body}\n$function$\n"
    )


def procedure(statements: str) -> str:
    return function(f"BEGIN\n{statements}\nEND;")


def made(definition: str, rule: str) -> list[tuple[str, str]]:
    return [(mutant.before, mutant.after) for mutant in mutants(definition) if mutant.rule == rule]


CASES = [
    # comparison
    ("PERFORM a = b;", "comparison", [("=", "<>")]),
    ("PERFORM a <> b;", "comparison", [("<>", "=")]),
    ("PERFORM a != b;", "comparison", [("!=", "=")]),
    ("PERFORM a < b, c <= d;", "comparison", [("<", "<="), ("<=", "<")]),
    ("PERFORM a > b, c >= d;", "comparison", [(">", ">="), (">=", ">")]),
    ("a := f(b => c);", "comparison", []),
    ("UPDATE t SET a = b, c = (d = e);", "comparison", [("=", "<>")]),
    ("UPDATE t SET a = CASE WHEN b = c THEN d END, e = f WHERE g > h;",
     "comparison", [("=", "<>"), (">", ">=")]),
    ("INSERT INTO t VALUES (a) ON CONFLICT (b) DO UPDATE SET c = d, e = f;", "comparison", []),
    # constant
    ("a := 41;", "constant", [("41", "42")]),
    ("RETURN true OR FALSE;", "constant", [("true", "false"), ("FALSE", "true")]),
    ("PERFORM a LIMIT 1;", "constant", [("1", "0")]),
    ("PERFORM a LIMIT 10;", "constant", [("10", "11")]),
    ("PERFORM a::numeric(10, 2), $1, a1, 1.5;", "constant", []),
    ("PERFORM 1 WHERE EXISTS (SELECT 1 FROM t);", "constant", [("1", "2")]),
    # status
    ("a := 'queued';", "status", [("'queued'", "'started'")]),
    ("PERFORM CASE WHEN a = 'created' THEN 'single' ELSE b END;",
     "status", [("'created'", "'started'"), ("'single'", "'map'")]),
    ("PERFORM a IN ('completed', 'failed');",
     "status", [("'completed'", "'failed'"), ("'failed'", "'started'")]),
    ("PERFORM jsonb_build_object('map', 'failed'), concat('map');", "status", []),
    ("PERFORM 'failed to map';", "status", []),
    # dropped condition
    ("PERFORM a FROM t WHERE b AND c AND d ORDER BY e;",
     "dropped condition", [("b AND", ""), ("AND c", ""), ("AND d", "")]),
    ("PERFORM a FROM t WHERE b OR c AND (d OR e) LIMIT 2;",
     "dropped condition", [("c AND", ""), ("AND (d OR e)", "")]),
    ("PERFORM a FROM t WHERE b = (SELECT c FROM u WHERE d AND e) GROUP BY f;",
     "dropped condition",
     [("WHERE b = (SELECT c FROM u WHERE d AND e)", ""), ("d AND", ""), ("AND e", "")]),
    ("PERFORM a FROM t JOIN u ON b AND c LEFT JOIN v ON d;",
     "dropped condition", [("b AND", ""), ("AND c", "")]),
    ("PERFORM a FROM t WHERE f(b, c) AND d;",
     "dropped condition", [("f(b, c) AND", ""), ("AND d", "")]),
    ("PERFORM a FROM t WHERE t.order AND t.limit > 0 AND t.end;", "dropped condition",
     [("t.order AND", ""), ("AND t.limit > 0", ""), ("AND t.end", "")]),
    ("PERFORM a AS end, (b AND c) AS where;",
     "dropped condition", [("b AND", ""), ("AND c", "")]),
    ("IF a AND CASE WHEN b THEN c END THEN RETURN; END IF;",
     "dropped condition", [("a AND", ""), ("AND CASE WHEN b THEN c END", "")]),
    ("PERFORM a IS NOT DISTINCT FROM b AND c;",
     "dropped condition", [("a IS NOT DISTINCT FROM b AND", ""), ("AND c", "")]),
    ("PERFORM a FROM t HAVING b > 0 OR c;", "dropped condition", [("HAVING b > 0 OR c", "")]),
    ("PERFORM count(a) FILTER (WHERE b) AS n;", "dropped condition", [("FILTER (WHERE b)", "")]),
    # negated condition
    ("PERFORM a IS NULL;", "negated condition", [("IS NULL", "IS NOT NULL")]),
    ("PERFORM a IS NOT NULL;", "negated condition", [("IS NOT NULL", "IS NULL")]),
    ("PERFORM a IS DISTINCT FROM b;",
     "negated condition", [("IS DISTINCT", "IS NOT DISTINCT")]),
    ("PERFORM NOT EXISTS (SELECT a);", "negated condition", [("NOT EXISTS", "EXISTS")]),
    ("IF EXISTS (SELECT a) THEN RETURN; END IF;",
     "negated condition", [("EXISTS", "NOT EXISTS")]),
    ("PERFORM a IN (b), c NOT IN (d);",
     "negated condition", [("IN", "NOT IN"), ("NOT IN", "IN")]),
    ("PERFORM NOT a AND b OR c;",
     "negated condition", [("NOT", ""), ("AND", "OR"), ("OR", "AND")]),
    ("DECLARE a int NOT NULL := b; BEGIN CREATE TABLE IF NOT EXISTS t (); END;",
     "negated condition", []),
    # dropped statement
    ("a := b; PERFORM c; RETURN;",
     "dropped statement", [("a := b;", ""), ("PERFORM c;", ""), ("RETURN;", "")]),
    ("WITH u AS (UPDATE t SET a = b) SELECT c INTO d FROM u; NULL;", "dropped statement",
     [("WITH u AS (UPDATE t SET a = b) SELECT c INTO d FROM u;", "")]),
    ("IF a THEN RAISE NOTICE 'b; c'; ELSIF d THEN e := f; ELSE g := h; END IF;",
     "dropped statement",
     [("IF a THEN RAISE NOTICE 'b; c'; ELSIF d THEN e := f; ELSE g := h; END IF;", ""),
      ("RAISE NOTICE 'b; c';", ""), ("e := f;", ""), ("g := h;", "")]),
    ("LOOP EXIT WHEN a; END LOOP; b := c;", "dropped statement",
     [("LOOP EXIT WHEN a; END LOOP;", ""), ("EXIT WHEN a;", ""), ("b := c;", "")]),
    ("IF a THEN LOOP EXIT; END LOOP; END IF; b := c;", "dropped statement",
     [("IF a THEN LOOP EXIT; END LOOP; END IF;", ""), ("LOOP EXIT; END LOOP;", ""),
      ("EXIT;", ""), ("b := c;", "")]),
    ("DROP TABLE IF EXISTS t; a := b;",
     "dropped statement", [("DROP TABLE IF EXISTS t;", ""), ("a := b;", "")]),
    ("DECLARE a int; BEGIN b := c; EXCEPTION WHEN others THEN d := e; END;", "dropped statement",
     [("DECLARE a int; BEGIN b := c; EXCEPTION WHEN others THEN d := e; END;", ""),
      ("b := c;", ""), ("d := e;", "")]),
    ("a := CASE WHEN b THEN c ELSE d END;",
     "dropped statement", [("a := CASE WHEN b THEN c ELSE d END;", "")]),
    # dropped assignment
    ("UPDATE t SET a = f(b, c), d = e, g = h WHERE i;", "dropped assignment",
     [("a = f(b, c),", ""), ("d = e,", ""), (", g = h", "")]),
    ("UPDATE t SET a = b; SET x = c, d;", "dropped assignment", []),
    # arithmetic
    ("PERFORM a + 1, (a) - b, a[1]*b, a / 'c';",
     "arithmetic", [("+", "-"), ("-", "+"), ("*", "+"), ("/", "*")]),
    ("PERFORM -1, a || b, a->b, count(*), (-a), t.* FROM t; RETURN -a;", "arithmetic", []),
    # case branch
    ("PERFORM CASE WHEN a THEN b ELSE c END;", "case branch", [("b ELSE c", "c ELSE b")]),
    ("PERFORM CASE a WHEN b THEN CASE WHEN c THEN d END ELSE e END;", "case branch",
     [("CASE WHEN c THEN d END ELSE e", "e ELSE CASE WHEN c THEN d END")]),
    ("PERFORM CASE WHEN a THEN b WHEN c THEN d ELSE e END;", "case branch", []),
    ("CASE WHEN a THEN b := c; ELSE d := e; END CASE;", "case branch", []),
    ("PERFORM CASE WHEN a THEN b ELSE b END;", "case branch", []),
    # coalesce
    ("PERFORM COALESCE(t.a, f(b, c), 'd');", "coalesce",
     [("COALESCE(t.a, f(b, c), 'd')", after) for after in ("t.a", "(f(b, c))", "'d'")]),
    ("PERFORM COALESCE(a, a);", "coalesce", [("COALESCE(a, a)", "a")]),
    # payload
    ("PERFORM jsonb_build_object('a', 'b', 'c', t.d, 'e', f(g, h), 'i', 'j'::jsonb);", "payload",
     [("'b'", "'mutated'"), ("t.d", "NULL::text"), ("f(g, h)", "NULL::text"),
      ("'j'::jsonb", "NULL::text")]),
    ("PERFORM bus.send(concat('a:', b), 'c', false), concat_ws('d');", "payload",
     [("'a:'", "'mutated'"), ("'c'", "'mutated'")]),
    # order
    ("PERFORM a ORDER BY b, c + 1 LIMIT 2;", "order", [("b", "b DESC"), ("c + 1", "c + 1 DESC")]),
    ("PERFORM a ORDER BY b DESC, c ASC NULLS LAST;", "order", [("DESC", "ASC"), ("ASC", "DESC")]),
    ("PERFORM array_agg(a ORDER BY b), (SELECT c ORDER BY d NULLS FIRST FOR UPDATE);",
     "order", [("b", "b DESC"), ("d", "d DESC")]),
    # time
    ("a := now(); b := clock_timestamp(); c := t.now;",
     "time", [("now", "clock_timestamp"), ("clock_timestamp", "now")]),
    # aggregate
    ("PERFORM COUNT(*)::int, count(a) FILTER (WHERE b), t.count;", "aggregate",
     [("COUNT(*)", "(COUNT(*) + 1)"),
      ("count(a) FILTER (WHERE b)", "(count(a) FILTER (WHERE b) + 1)")]),
    ("PERFORM MAX(a), min(b), bool_or(c), bool_and(d), max;", "aggregate",
     [("MAX", "MIN"), ("min", "MAX"), ("bool_or", "bool_and"), ("bool_and", "bool_or")]),
    # clause
    ("PERFORM DISTINCT a, b IS DISTINCT FROM c;", "clause", [("DISTINCT", "")]),
    ("INSERT INTO t VALUES (a) ON CONFLICT (b) DO NOTHING RETURNING c;",
     "clause", [("ON CONFLICT (b) DO NOTHING", "")]),
    ("INSERT INTO t VALUES (a) ON CONFLICT (b) DO UPDATE SET c = d;", "clause", []),
    ("PERFORM a FROM t JOIN u USING (b) LEFT JOIN v USING (c) INNER JOIN w USING (d);", "clause",
     [("JOIN", "LEFT JOIN"), ("LEFT JOIN", "JOIN"), ("INNER JOIN", "LEFT JOIN")]),
    ("PERFORM a FROM t CROSS JOIN u FULL JOIN v USING (b) FOR UPDATE;", "clause", []),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "rule", "expected"), CASES)
def test_a_rule_changes_these_places_and_no_others(
    statements: str, rule: str, expected: list[tuple[str, str]]
) -> None:
    assert made(procedure(statements), rule) == expected


def test_every_rule_is_seen_at_work_and_described_in_a_sentence() -> None:
    assert {rule for _, rule, expected in CASES if expected} == {rule.name for rule in RULES}
    for rule in RULES:
        assert rule.description.endswith(".")
        assert "\n" not in rule.description


@pytest.mark.parametrize(
    "inert",
    [
        "-- a = 1 AND now() ORDER BY b\n",
        "/* a = 1; /* nested */ AND b < 2 */",
        "'a = 1 AND ''b'' < 2; -- c'",
        r"'a\'",
        "'two' 'strings = 1'",
        "E'a = \\n 1'",
        '"a = 1; AND b"',
        "$$ a = 1; $$",
        "($quote$ 'a = 1' AND $$ now() $quote$)",
    ],
)
def test_comments_and_quoted_text_are_not_code(inert: str) -> None:
    definition = procedure(f"PERFORM x, {inert} IS NULL;")
    rules = ["dropped statement", "negated condition"]
    assert [mutant.rule for mutant in mutants(definition)] == rules
    assert all(inert in mutant.sql for mutant in mutants(definition)[1:])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("a integer DEFAULT 3, b boolean DEFAULT true", [("3", "4"), ("true", "false")]),
        ("a text DEFAULT 'single'::text", [("'single'", "'map'")]),
        ("a integer DEFAULT NULL::integer, b text[] DEFAULT '{}'::text[], c numeric", []),
        ("a integer DEFAULT (1 + 2)", []),
    ],
)
def test_of_the_header_only_the_default_values_change(
    arguments: str, expected: list[tuple[str, str]]
) -> None:
    found = mutants(function("SELECT a", arguments, "sql"))
    assert [(mutant.before, mutant.after) for mutant in found] == expected
    assert [mutant.line for mutant in found] == [1] * len(expected)


def test_a_mutant_says_what_was_changed_and_holds_the_whole_statement() -> None:
    definition = function("  SELECT a\n  FROM t\n  WHERE  b -- why\n  ;", language="sql")
    assert mutants(definition) == [
        Mutant(
            id="sell:1",
            function="shop.sell",
            rule="dropped condition",
            line=9,
            before="WHERE b",
            after="",
            sql=definition.replace("WHERE  b", ""),
        )
    ]


def test_what_stands_between_exchanged_branches_stays_where_it_was() -> None:
    body = "SELECT CASE WHEN a THEN b -- first\n ELSE c -- second\n END"
    (mutant,) = mutants(function(body, language="sql"))
    assert "THEN c -- first\n ELSE b -- second\n END" in mutant.sql


def test_mutants_are_numbered_in_text_order_and_all_different() -> None:
    definition = procedure("IF a = 1 AND b THEN\n  UPDATE t SET c = now(), d = 'failed';\nEND IF;")
    found = mutants(definition)
    assert [mutant.id for mutant in found] == [f"sell:{n}" for n in range(1, len(found) + 1)]
    assert [mutant.line for mutant in found] == sorted(mutant.line for mutant in found)
    assert len({definition, *(mutant.sql for mutant in found)}) == len(found) + 1


def test_a_long_change_is_cut_for_people_only() -> None:
    statement = f"PERFORM {', '.join(['f()'] * 40)};"
    (mutant,) = mutants(procedure(statement))
    assert (len(mutant.before), mutant.before[-1]) == (80, "…")
    assert mutant.sql == procedure("")


def test_the_statements_of_a_query_language_function_are_not_dropped() -> None:
    body = "WITH u AS (DELETE FROM t RETURNING a) SELECT a FROM u; SELECT b;"
    assert mutants(function(body, language="sql")) == []


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("SELECT 1", "not a function with a quoted body: 'SELECT 1'"),
        (function("SELECT 1").replace("AS $function$", "BEGIN ATOMIC"), "quoted body"),
        (procedure(r"PERFORM E'it\'s = 1';"), "escaped quote"),
    ],
)
def test_what_cannot_be_read_is_refused(definition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mutants(definition)
