"""SQL is read as PostgreSQL reads it: what each construct would do, what is made here, and what cannot be read."""

import random
import time
from pathlib import Path

import pytest
import yaml

from gatebook.safety.effects import Effect, Kind
from gatebook.safety.known import Known
from gatebook.safety.sql import read_sql
from gatebook.safety.types import narrows

TABLE: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / "fixtures" / "sql.yaml").read_text())
CASES = [("" if kinds == "clean" else kinds, text) for kinds, texts in TABLE.items() for text in texts]
SECONDS = 2.0


def kinds_of(text: str, known: Known | None = None) -> str:
    return " ".join(effect.kind.name for effect in read_sql(text, known).effects)


@pytest.mark.parametrize(
    ("kinds", "text"), CASES, ids=[f"{number}-{text[:60]}" for number, (_, text) in enumerate(CASES)]
)
def test_kinds_of_effects(kinds: str, text: str) -> None:
    assert kinds_of(text) == kinds


EXACT = {
    "drop table": (
        "\n\nDROP TABLE public.orders CASCADE",
        Effect(
            Kind.LOST, "DROP TABLE … CASCADE", "orders",
            "drops table public.orders, and everything that depends on it", 3,
        ),
    ),
    "drop column": (
        "ALTER TABLE s.orders DROP COLUMN note",
        Effect(Kind.LOST, "DROP COLUMN", "s.orders.note", "drops column s.orders.note with its values", 1),
    ),
    "truncate": (
        "SELECT 1;\nTRUNCATE orders CASCADE",
        Effect(
            Kind.LOST, "TRUNCATE … CASCADE", "orders",
            "deletes every row of orders, and of every table that refers to it", 2,
        ),
    ),
    "delete": (
        "DELETE FROM orders o WHERE o.id = id",
        Effect(Kind.LOST, "DELETE FROM … (all rows)", "orders", "deletes every row of orders", 1),
    ),
    "constraint": (
        "ALTER TABLE orders DROP CONSTRAINT positive CASCADE",
        Effect(
            Kind.CONSTRAINT, "DROP CONSTRAINT … CASCADE", "orders.positive",
            "orders is no longer held to positive, and everything that depends on it", 1,
        ),
    ),
    "domain": (
        "ALTER DOMAIN price DROP NOT NULL",
        Effect(Kind.GUARD, "DROP NOT NULL", "price", "values of price may be NULL from now on", 1),
    ),
    "set_config": (
        "SELECT set_config('session_replication_role', 'replica', true)",
        Effect(Kind.GUARD, "session_replication_role", "", "triggers and foreign keys are not obeyed any more", 1),
    ),
    "identifier known later": (
        "DO $$DECLARE r record; BEGIN EXECUTE format('DROP TABLE %I', r.name); END$$",
        Effect(Kind.LOST, "DROP TABLE", "", "drops table (named when it runs)", 1),
    ),
    "unknown function": (
        "SELECT purge_orders()",
        Effect(
            Kind.UNRESOLVED, "SELECT purge_orders()", "",
            "purge_orders() is not defined in this upgrade and sounds as if it destroyed; "
            "define it here, or acknowledge it", 1,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "effect"), EXACT.values(), ids=EXACT)
def test_exact_effect(text: str, effect: Effect) -> None:
    assert read_sql(text).effects == (effect,)


def test_what_stands_in_a_comment_is_no_statement() -> None:
    reading = read_sql("-- DROP TABLE a\n/* DROP TABLE b; */\nDROP TABLE c; -- DROP TABLE d")

    assert (reading.statements, reading.unresolved) == (1, 0)
    assert [(each.target, each.sql_line) for each in reading.effects] == [("c", 3)]


def test_what_an_earlier_text_made_is_known() -> None:
    known = Known()

    assert kinds_of("CREATE TABLE orders (id int)", known) == ""
    assert kinds_of("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'TRUNCATE items'", known) == "DEFINED"
    assert kinds_of("DROP TABLE orders", known) == ""
    assert kinds_of("DROP TABLE orders", known) == "LOST"
    assert kinds_of("SELECT f()", known) == "LOST"


def test_another_session_does_not_see_what_is_made_here() -> None:
    assert kinds_of("CREATE TABLE t (a int); SELECT dblink_exec('dbname=x', 'DROP TABLE t')") == "LOST"


KEEPING = """
varchar(50) -> varchar(100), varchar(50) -> text, text -> varchar, int -> bigint, smallint -> integer, serial -> bigint,
numeric(10,2) -> numeric(12,4), numeric(10,2) -> numeric, decimal(4) -> numeric(4,0), int -> numeric(10,0),
int -> float8, real -> float8, char(3) -> text, date -> timestamp, timestamptz(3) -> timestamptz, int[] -> bigint[],
varchar(5)[] -> text[], uuid -> text, mood -> mood, mood -> text, bit(3) -> varbit(3), varbit(3) -> varbit,
interval(3) -> interval, interval day to second(3) -> interval, jsonb -> text
"""
NARROWING = """
varchar(100) -> varchar(50), text -> varchar(10), bigint -> int, numeric(12,2) -> numeric(10,2), text -> int,
numeric(10,2) -> numeric(10,4), numeric -> int, numeric(10,2) -> float8, float8 -> numeric, bigint -> float8,
json -> jsonb, timestamptz -> date, timestamptz -> timestamp, timestamp -> timestamptz, timestamp -> time,
timestamp(6) -> timestamp(3), char(5) -> char(3), text -> char(10), text[] -> text, text -> text[],
bigint[] -> int[], mood -> other, bit(5) -> bit(3), varbit -> varbit(3), interval -> interval hour,
interval -> interval(3), interval -> interval year to month, text -> uuid, text -> mood, foo bar baz -> text
"""


def changes(text: str) -> list[tuple[str, str]]:
    """`a -> b` between commas that no parenthesis is about."""
    return [tuple(each.split(" -> ")) for each in text.replace("\n", " ").strip().split(", ")]  # type: ignore[misc]


@pytest.mark.parametrize(("old", "new"), changes(KEEPING))
def test_every_value_survives(old: str, new: str) -> None:
    assert narrows(old, new) == ""


@pytest.mark.parametrize(("old", "new"), changes(NARROWING))
def test_values_may_change(old: str, new: str) -> None:
    assert narrows(old, new)


CALLS = ";".join(
    f"CREATE FUNCTION f{n}() RETURNS void LANGUAGE sql AS 'SELECT f{n - 1}(), f{n - 1}(), f{n - 1}(); DELETE FROM t'"
    for n in range(1, 20)
)
HEAVY = {
    "many ORs": ("DELETE FROM t WHERE " + " OR ".join(f"a = {n}" for n in range(3_000)), "FILTERED"),
    "functions that call each other thrice": (f"{CALLS}; SELECT f19()", "DEFINED " * 19 + "LOST"),
    "a long sum": ("DELETE FROM t WHERE a = " + "+".join("1" * 5_000), "UNRESOLVED"),
    "a long joined text": (f"DO $$BEGIN EXECUTE {'||'.join(['q'] * 3_000)}; END$$", "UNRESOLVED"),
    "deep branches": ("DO $$BEGIN " + "IF a THEN " * 400 + "DROP TABLE t; " + "END IF; " * 400 + "END$$", "UNRESOLVED"),
    "a list": (f"DELETE FROM t WHERE a IN ({', '.join(map(str, range(10_000)))})", "FILTERED"),
    "many triggers": (
        "CREATE RULE r AS ON INSERT TO t DO ALSO DELETE FROM u;" * 300 + "INSERT INTO t VALUES (1);" * 300,
        "DEFINED " * 300 + " ".join(["LOST"] * 300),
    ),
    "open quotes": ("'" * 10_001, "UNRESOLVED"),
    "half a character": ("SELECT '\ud800'", "UNRESOLVED"),
    "zero byte": ("DROP TABLE t\0", "UNRESOLVED"),
}


@pytest.mark.parametrize(("text", "kinds"), HEAVY.values(), ids=HEAVY)
def test_heavy_texts_are_read_in_time(text: str, kinds: str) -> None:
    begun = time.process_time()

    assert kinds_of(text) == kinds
    assert time.process_time() - begun < SECONDS


def test_mutated_texts_are_read_without_an_exception() -> None:
    chance = random.Random(4)
    texts = [text for _, text in CASES]
    slow = []
    for _ in range(2_000):
        text = mutated(chance.choice(texts), chance.choice(texts), chance)
        begun = time.process_time()
        reading = read_sql(text)
        assert reading.unresolved <= sum(each.kind is Kind.UNRESOLVED for each in reading.effects)
        slow += [text] if time.process_time() - begun > SECONDS else []

    assert slow == []


def mutated(text: str, other: str, chance: random.Random) -> str:
    """Cut, joined to another, a word doubled, or a character changed."""
    at, till = sorted((chance.randrange(len(text)), chance.randrange(len(text) + 1)))
    ways = (
        text[:at] + text[till:],
        f"{text[:at]};{other}",
        f"{text}; {other}",
        text[:at] + chance.choice("'\"$;:%(\\\0") + text[at:],
        f"DO $_$BEGIN {text}; {other}; END$_$",
    )
    return chance.choice(ways)
