"""Latencies: percentiles that were measured, warm and cold apart, queries in turns, nothing written, limits."""

import math
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from conftest import Databases
from gatebook import timings
from gatebook.catalog import Query
from gatebook.database import Database
from gatebook.errors import EmptySample, StatementRefused
from gatebook.timings import Latencies, meets_levels, percentiles

SETUP = """
CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY, said text);
INSERT INTO log (said) VALUES ('a'), ('b'), ('c');
CREATE FUNCTION writes() RETURNS text LANGUAGE sql VOLATILE AS 'INSERT INTO log (said) VALUES (1) RETURNING said';
"""


@pytest.fixture(scope="module")
def shop(databases: Databases) -> Iterator[Database]:
    database = databases.empty()
    with database.open_session() as session:
        session.execute(SETUP)
    session.close()
    yield database
    databases.drop(database)


class Opener:
    """Counts the connections that it opens, and keeps what each was sent."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sessions: list[psycopg.Connection[Any]] = []
        self.sent: list[tuple[int, str]] = []

    def __call__(self) -> psycopg.Connection[Any]:
        session = self.database.open_session()
        number = len(self.sessions)
        self.sessions.append(session)
        sent = self.sent

        class Cursor(psycopg.Cursor[Any]):
            def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
                sent.append((number, str(query)))
                return super().execute(query, *arguments, **options)

        session.cursor_factory = Cursor
        return session


# -- percentiles


@pytest.mark.parametrize(
    ("samples", "level", "value"),
    [
        pytest.param([7.5], 1, 7.5, id="one, lowest"),
        pytest.param([7.5], 100, 7.5, id="one, highest"),
        pytest.param([3, 1, 2], 50, 2, id="median"),
        pytest.param([4, 3, 2, 1], 50, 2, id="even: the lower, never between"),
        pytest.param([15, 20, 35, 40, 50], 5, 15, id="5"),
        pytest.param([15, 20, 35, 40, 50], 30, 20, id="30"),
        pytest.param([15, 20, 35, 40, 50], 40, 20, id="40"),
        pytest.param([15, 20, 35, 40, 50], 41, 35, id="41"),
        pytest.param([15, 20, 35, 40, 50], 100, 50, id="100"),
        pytest.param(range(1, 201), 95, 190, id="95 of 200"),
        pytest.param(range(1, 201), 99, 198, id="99 of 200"),
        pytest.param(range(1, 1001), 99.9, 999, id="99.9 of 1000"),
        pytest.param(range(1, 101), 7, 7, id="7 of 100: no rounding error"),
    ],
)
def test_a_percentile_by_nearest_rank(samples: Any, level: float, value: float) -> None:
    assert percentiles(samples, levels=[level]) == {level: value}


@pytest.mark.parametrize("count", [1, 2, 3, 10, 99, 100, 101])
def test_so_many_samples_lie_at_or_below_a_percentile(count: int) -> None:
    """The definition: the smallest sample with at least that share of all samples at or below it."""
    samples = [float(number * 7 % count) for number in range(count)]
    for level, value in percentiles(samples, levels=range(1, 101)).items():
        assert sum(each <= value for each in samples) >= level * count / 100
        assert sum(each < value for each in samples) < level * count / 100
        assert value in samples


def test_the_levels_are_those_of_a_service_level() -> None:
    assert list(percentiles([1.0])) == [50, 95, 99]


def test_percentiles_of_nothing_are_an_error() -> None:
    with pytest.raises(EmptySample, match="no timings to take percentiles of"):
        percentiles([])


# -- measuring


def test_a_query_is_measured_warm_and_cold(shop: Database) -> None:
    found = timings.measure(shop.open_session, "SELECT said FROM log WHERE id <= %(most)s", {"most": 2}, name="two")

    assert (found.name, found.rows, len(found.warm_ms), len(found.cold_ms)) == ("two", 2, 200, 20)
    assert all(0 < ms < 10_000 for ms in (*found.warm_ms, *found.cold_ms))
    assert list(found.states) == ["warm", "cold"]


def test_the_time_is_that_until_the_last_row(shop: Database) -> None:
    """PostgreSQL sends the rows of such a query as they come, each 20 ms after the other."""
    sql = "SELECT pg_sleep(0.02) FROM generate_series(1, 3)"
    found = timings.measure(shop.open_session, sql, executions=2, cold_executions=1)

    assert (found.rows, len(found.warm_ms)) == (3, 2)
    assert all(ms >= 60 for ms in (*found.warm_ms, *found.cold_ms))


def test_cold_is_the_first_execution_on_a_connection_and_warm_never(shop: Database) -> None:
    opener = Opener(shop)
    queries = {"a": Query("SELECT 'a'"), "b": Query("SELECT 'b'")}
    found = timings.measure_all(opener, queries, executions=5, cold_executions=3)
    sent = {number: [sql for each, sql in opener.sent if each == number] for number in range(len(opener.sessions))}
    *single, (warm, statements) = sent.items()

    assert [len(each.warm_ms) for each in found] == [5, 5]
    assert len(opener.sessions) == 2 + 2 * 3 + 1  # looked at, cold, warm
    assert all(len(statements) == 1 for _, statements in single)
    assert warm == len(opener.sessions) - 1
    assert len(statements) == 2 * (timings.WARMING + 5)
    assert all(session.closed for session in opener.sessions)


def test_queries_take_turns_and_each_comes_first_in_its_turn(shop: Database) -> None:
    opener = Opener(shop)
    queries = {name: Query(f"SELECT '{name}'") for name in "abc"}
    timings.measure_all(opener, queries, executions=3, cold_executions=0)
    last = len(opener.sessions) - 1
    names = [sql[8] for number, sql in opener.sent if number == last]
    turns = [names[start : start + 3] for start in range(0, len(names), 3)]

    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)
    assert {turn[0] for turn in turns} == {"a", "b", "c"}


def test_the_floor_is_a_statement_that_does_nothing(shop: Database) -> None:
    found = timings.measure_all(
        shop.open_session, {"all": Query("TABLE log")}, executions=3, cold_executions=0, floor=True
    )

    assert [(each.name, each.rows) for each in found] == [("all", 3), ("SELECT 1", 1)]
    assert list(found[0].states) == ["warm"]


def test_no_query_takes_no_time(shop: Database) -> None:
    assert timings.measure_all(shop.open_session, {}, executions=2, cold_executions=2) == ()


def test_what_a_session_was_opened_with_stays(shop: Database) -> None:
    def open_session() -> psycopg.Connection[Any]:
        session = shop.open_session()
        session.execute("SET search_path TO nowhere")
        return session

    found = timings.measure(
        open_session,
        "SELECT 1 WHERE current_setting('search_path') = 'nowhere' AND current_setting('transaction_read_only') = 'on'",
        executions=2,
        cold_executions=1,
    )

    assert found.rows == 1


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        pytest.param("INSERT INTO log (said) VALUES ('d') RETURNING id", "a statement that writes", id="insert"),
        pytest.param(
            "WITH x AS (DELETE FROM log RETURNING id) SELECT id FROM x",
            "a statement that writes",
            id="with that deletes",
        ),
        pytest.param("SELECT writes()", "a statement that writes is not timed", id="a function that writes"),
        pytest.param("SELECT nextval('log_id_seq')", "a statement that writes is not timed", id="nextval"),
        pytest.param("SELECT id FROM log FOR UPDATE", "a statement that writes is not timed", id="for update"),
        pytest.param("SELECT 1 AS a INTO copied", "a statement that writes is not timed", id="select into"),
        pytest.param("SELECT 1; DELETE FROM log", "the text is not one query that only reads", id="two"),
        pytest.param("SELECT 1; COMMIT; DELETE FROM log", "the text is not one query", id="out of the transaction"),
        pytest.param("SET search_path TO nowhere", "a statement that returns no rows is not timed", id="no rows"),
        pytest.param("COMMIT", "a statement that returns no rows is not timed", id="commit"),
        pytest.param("SELEC 1", "the text is not one query that only reads", id="misspelt"),
    ],
)
def test_what_writes_or_is_not_one_query_is_refused(shop: Database, sql: str, problem: str) -> None:
    opener = Opener(shop)
    with pytest.raises(StatementRefused) as refused:
        timings.measure(opener, sql)

    assert refused.value.what.startswith(problem)
    assert refused.value.where == sql
    assert all(session.closed for session in opener.sessions)
    with shop.open_session() as session:
        kept = session.execute("SELECT count(*), to_regclass('copied') FROM log").fetchone()
    session.close()
    assert kept == (3, None)


def test_other_errors_are_the_database_s_own(shop: Database) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        timings.measure(shop.open_session, "SELECT 1 FROM nowhere")


# -- judging


def latencies(**changes: Any) -> Latencies:
    plain = {"name": "q", "warm_ms": (1.0,) * 200, "cold_ms": (2.0,) * 20, "rows": 5}
    return Latencies(**{**plain, **changes})


WANTED = {"executions": "≥ 200", "rows": "≥ 1", "p50_ms": "< 50", "p95_ms": "< 500", "p99_ms": "< 1000"}


def test_fast_enough_is_green_and_all_percentiles_are_there() -> None:
    verdict = meets_levels("a claim", [latencies()])

    assert (verdict.name, verdict.what, verdict.reason) == ("PASS", "a claim", "")
    assert verdict.have == (
        {"query": "q", "state": "warm", "executions": 200, "rows": 5, "p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0},
        {"query": "q", "state": "cold", "executions": 20, "rows": 5, "p50_ms": 2.0, "p95_ms": 2.0, "p99_ms": 2.0},
    )
    assert verdict.want == (
        {"query": "q", "state": "warm", **WANTED},
        {"query": "q", "state": "cold", **WANTED, "executions": "≥ 1"},
    )


@pytest.mark.parametrize(
    ("found", "verdict", "reason"),
    [
        pytest.param(
            [latencies(warm_ms=(50.0,) * 200)], "FAIL", "q, warm: p50 is 50 ms, not below 50 ms", id="at the limit"
        ),
        pytest.param([latencies(warm_ms=(math.nextafter(50, 0),) * 200)], "PASS", "", id="just below"),
        pytest.param(
            [latencies(warm_ms=(1.0,) * 197 + (1234.5,) * 3)],
            "FAIL",
            "q, warm: p99 is 1,234.5 ms, not below 1,000 ms",
            id="three of 200 are slow",
        ),
        pytest.param([latencies(warm_ms=(1.0,) * 198 + (1234.5,) * 2)], "PASS", "", id="two of 200 are slow"),
        pytest.param(
            [latencies(), latencies(name="other", cold_ms=(600.0,) * 20)],
            "FAIL",
            "other, cold: p50 is 600 ms, not below 50 ms; other, cold: p95 is 600 ms, not below 500 ms",
            id="cold",
        ),
        pytest.param([latencies(cold_ms=())], "PASS", "", id="cold not measured"),
        pytest.param(
            [latencies(warm_ms=(1.0,) * 199)], "UNKNOWN", "q: 199 warm executions, of at least 200", id="too few"
        ),
        pytest.param([latencies(warm_ms=())], "UNKNOWN", "q: 0 warm executions, of at least 200", id="only cold"),
        pytest.param([latencies(rows=0)], "UNKNOWN", "q returned no rows, so nothing is proven", id="no rows"),
        pytest.param(
            [latencies(rows=0, warm_ms=(99.0,) * 200)],
            "FAIL",
            "q, warm: p50 is 99 ms, not below 50 ms; q returned no rows, so nothing is proven",
            id="slow and no rows",
        ),
        pytest.param([], "UNKNOWN", "nothing was measured", id="nothing"),
    ],
)
def test_limits(found: list[Latencies], verdict: str, reason: str) -> None:
    judged = meets_levels("a claim", found)

    assert (judged.name, judged.reason) == (verdict, reason)


def test_other_limits() -> None:
    judged = meets_levels("a claim", [latencies()], levels={90: 0.5})

    assert judged.reason == "q, warm: p90 is 1 ms, not below 0.5 ms; q, cold: p90 is 2 ms, not below 0.5 ms"
    assert meets_levels("a claim", [latencies()], levels={}).reason == "no limit was given"
