"""Plans on a real server: a statement that writes is refused and leaves nothing; the way a query goes is judged."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import Databases
from gatebook import explain
from gatebook.catalog import execute
from gatebook.database import Database, statements
from gatebook.errors import StatementRefused
from gatebook.plans import Plan

SETUP = """
CREATE TABLE orders (id int PRIMARY KEY, day date, cents bigint, note text);
INSERT INTO orders SELECT i, date '2025-01-01' + i % 100, i, repeat('x', 50) FROM generate_series(1, 20000) i;
CREATE INDEX orders_day ON orders (day) INCLUDE (cents);
CREATE TABLE empty (id int PRIMARY KEY, day date);
CREATE SEQUENCE numbers;
CREATE FUNCTION writes() RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO empty VALUES (1) RETURNING id';
"""
LEFT_BEHIND = """
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM empty), (SELECT last_value FROM numbers),
       (SELECT count(*) FROM pg_class WHERE relname = 'copied'), current_setting('transaction_read_only')
"""
UNTOUCHED = (20_000, 0, 1, 0, "off")
BY_DAY = "SELECT sum(cents) FROM orders WHERE day = %(day)s"
DAY = {"day": "2025-02-03"}
NOTHING_SEEN = "the query found no rows, so nothing is proven"


@pytest.fixture(scope="module")
def shop(databases: Databases) -> Iterator[Database]:
    database = databases.empty()
    with database.connect() as connection:
        for statement in SETUP.strip().split(";\n"):
            execute(connection, statement)
        connection.commit()
    session = database.open_session()
    session.autocommit = True
    session.execute("VACUUM (ANALYZE) orders")  # an index-only scan wants to know that every row is visible
    session.close()
    yield database
    databases.drop(database)


@pytest.fixture
def connection(shop: Database) -> Iterator[sa.Connection]:
    with shop.connect() as connection:
        yield connection


# -- taking a plan


@pytest.mark.parametrize(
    ("sql", "parameters", "rows"),
    [
        pytest.param("SELECT 1", None, 1, id="no table"),
        pytest.param("  SELECT 1 ; ", None, 1, id="semicolon"),
        pytest.param("-- why\nSELECT id FROM orders LIMIT 3 -- and how", None, 3, id="comments"),
        pytest.param("SELECT id FROM orders WHERE note LIKE '%x%' LIMIT 2", None, 2, id="percent sign"),
        pytest.param("SELECT id FROM orders WHERE id <= %(most)s AND note LIKE 'x%%'", {"most": 7}, 7, id="parameter"),
        pytest.param("SELECT id, id FROM orders WHERE day = %(day)s", DAY, 200, id="same name twice"),
        pytest.param("WITH two AS (SELECT 1 UNION ALL SELECT 2) TABLE two", None, 2, id="WITH"),
        pytest.param("VALUES (1), (2)", None, 2, id="VALUES"),
    ],
)
def test_a_query_has_a_plan(connection: sa.Connection, sql: str, parameters: dict[str, Any] | None, rows: int) -> None:
    plan = explain.explain(connection, sql, parameters)

    assert plan.rows == rows
    assert plan.planning_ms > 0
    assert plan.execution_ms > 0
    assert plan.total_cost == plan.document["Plan"]["Total Cost"]


def test_the_plan_is_stored_as_small_text(connection: sa.Connection) -> None:
    plan = explain.explain(connection, BY_DAY, DAY)
    text = plan.to_json()

    assert Plan(json.loads(text)).table == plan.table
    assert ' Blocks":0' not in text
    assert len(text) < len(json.dumps(plan.document)) / 2
    assert explain.plan_changes(json.loads(text), plan.document) == ()


REFUSED = {
    "insert": ("INSERT INTO empty VALUES (1)", "the text is not one query that only reads"),
    "insert returning": ("INSERT INTO empty VALUES (1) RETURNING id", "the text is not one query that only reads"),
    "with that writes": (
        "WITH x AS (INSERT INTO empty VALUES (1) RETURNING id) SELECT id FROM x",
        "the text is not one query that only reads",
    ),
    "delete": ("DELETE FROM orders", "the text is not one query that only reads"),
    "create table as": ("CREATE TABLE copied AS SELECT 1", "the text is not one query that only reads"),
    "select into": ("SELECT 1 AS a INTO copied", "the text is not one query that only reads"),
    "nextval": ("SELECT nextval('numbers')", "a statement that writes is not explained"),
    "a function that writes": ("SELECT writes()", "a statement that writes is not explained"),
    "for update": ("SELECT id FROM orders FOR UPDATE", "a statement that writes is not explained"),
    "two": ("SELECT 1; DELETE FROM orders", "the text is not one query that only reads"),
    "out of the transaction": ("SELECT 1; COMMIT; DELETE FROM orders", "the text is not one query that only reads"),
    "out of a query": ("SELECT 1) AS a; COMMIT; DELETE FROM orders; SELECT (1", "the text is not one query"),
    "no plan": ("NOTIFY somebody", "the text is not one query that only reads"),
    "nothing": ("", "the text is not one query that only reads"),
    "misspelt": ("SELEC 1", "the text is not one query that only reads"),
}


@pytest.mark.parametrize(("sql", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_writes_or_is_not_one_query_is_refused(shop: Database, sql: str, problem: str) -> None:
    with shop.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        with pytest.raises(StatementRefused) as refused:
            explain.explain(connection, sql)
        assert tuple(connection.exec_driver_sql(LEFT_BEHIND).one()) == UNTOUCHED  # the transaction goes on
        connection.commit()
    with shop.connect() as connection:
        assert tuple(connection.exec_driver_sql(LEFT_BEHIND).one()) == UNTOUCHED

    assert refused.value.what.startswith(problem)
    assert refused.value.next_step == "give one query that only reads, in a transaction"


@pytest.mark.parametrize("setting", ["transaction_read_only", "default_transaction_read_only"])
def test_a_query_cannot_lift_the_ban_on_writing(connection: sa.Connection, setting: str) -> None:
    sql = f"SELECT set_config('{setting}', 'off', false), writes()"

    with pytest.raises((StatementRefused, sa.exc.DBAPIError)):
        explain.explain(connection, sql)
    assert tuple(connection.exec_driver_sql(LEFT_BEHIND).one()) == UNTOUCHED


def test_a_transaction_may_write_before_and_after(connection: sa.Connection) -> None:
    connection.exec_driver_sql("INSERT INTO empty VALUES (7)")
    plan = explain.explain(connection, "SELECT id FROM empty")
    connection.exec_driver_sql("INSERT INTO empty VALUES (8)")

    assert plan.rows == 1
    assert connection.exec_driver_sql("SELECT count(*) FROM empty").scalar_one() == 2


def test_a_plan_is_not_taken_outside_of_a_transaction(shop: Database) -> None:
    with (
        shop.connect(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(StatementRefused, match="only taken inside a transaction"),
    ):
        explain.explain(connection, "SELECT 1")


def test_other_errors_are_the_database_s_own(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.ProgrammingError, match='relation "nowhere" does not exist'):
        explain.explain(connection, "SELECT 1 FROM nowhere")
    with pytest.raises(sa.exc.DataError, match="division by zero"):
        explain.explain(connection, "SELECT 1 / (id - 1) FROM orders")
    assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1


def test_the_statements_are_there_to_be_shown(connection: sa.Connection) -> None:
    sent: list[str] = []
    with statements(connection, sent):
        explain.explain(connection, BY_DAY, DAY)

    assert sent[1] == "SET TRANSACTION READ ONLY"
    assert "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT sum(cents) FROM orders WHERE day = '2025-02-03'" in sent


# -- judging the way


def path(connection: sa.Connection, sql: str, parameters: dict[str, Any] | None = None, **wanted: Any) -> Any:
    return explain.access_path("a claim", explain.explain(connection, sql, parameters), **wanted)


WANTED = {
    "index": "orders_day",
    "index_only": True,
    "no_sequential_scan_of": ["orders"],
    "max_cost": 100,
    "max_ms": 500,
}


def test_a_query_that_goes_the_wanted_way_is_green(connection: sa.Connection) -> None:
    verdict = path(connection, BY_DAY, DAY, **WANTED)
    (have,) = verdict.have

    assert (verdict.name, verdict.reason) == ("PASS", "")
    assert (have["indexes"], have["scans"], have["sequential_scans"], have["rows"]) == (
        "orders_day", "Index Only Scan", "–", 1,
    )  # fmt: skip
    assert verdict.want == (
        {
            "indexes": "orders_day",
            "scans": "Index Only Scan",
            "sequential_scans": "none of orders",
            "total_cost": "< 100",
            "execution_ms": "< 500",
        },
    )


def test_a_query_that_goes_another_way_is_red_and_each_problem_is_named(connection: sa.Connection) -> None:
    verdict = path(connection, "SELECT note FROM orders WHERE cents > 0", **{**WANTED, "max_cost": 1, "max_ms": 0.001})
    *reasons, cost, ms = verdict.reason.split("; ")

    assert verdict.name == "FAIL"
    assert reasons == [
        "index not used: orders_day",
        "nothing is read by an index-only scan",
        "sequential scan of orders",
    ]
    assert (cost.startswith("total_cost is "), cost.endswith(", not below 1")) == (True, True)
    assert (ms.startswith("execution_ms is "), ms.endswith(" ms, not below 0.001 ms")) == (True, True)


@pytest.mark.parametrize(
    ("sql", "wanted", "verdict", "reason"),
    [
        pytest.param(
            "SELECT note FROM orders WHERE id = 5", {"index": "orders_pkey"}, "PASS", "", id="index scan is enough"
        ),
        pytest.param(
            "SELECT note FROM orders WHERE id = 5",
            {"index": "orders_pkey", "index_only": True},
            "FAIL",
            "not index-only: Index Scan",
            id="not index-only",
        ),
        pytest.param(
            "SELECT note FROM orders WHERE day < '2025-01-04'",
            {"index": ["orders_day"], "no_sequential_scan_of": "orders"},
            "PASS",
            "",
            id="bitmap scan",
        ),
        pytest.param(
            "SELECT note FROM orders WHERE day < '2025-01-04'",
            {"index_only": True},
            "FAIL",
            "not index-only: Bitmap Heap Scan, Bitmap Index Scan",
            id="bitmap is not index-only",
        ),
        pytest.param(
            "SELECT 1", {"index_only": True}, "FAIL", "nothing is read by an index-only scan", id="no scan at all"
        ),
        pytest.param(
            "SELECT count(*) FROM orders WHERE note <> ''",
            {"no_sequential_scan_of": "empty"},
            "PASS",
            "",
            id="another table",
        ),
        pytest.param("SELECT 1", {"max_ms": 1000}, "PASS", "", id="only the time"),
        pytest.param("SELECT 1", {}, "UNKNOWN", "nothing was asked for, so nothing is proven", id="nothing asked"),
        pytest.param("SELECT id FROM empty WHERE id = 1", {"max_ms": 1000}, "UNKNOWN", NOTHING_SEEN, id="no rows"),
        pytest.param("SELECT count(*) FROM empty", {"max_ms": 1000}, "UNKNOWN", NOTHING_SEEN, id="count of no rows"),
        pytest.param(
            "SELECT id FROM orders WHERE cents < 0",
            {"index": "orders_day"},
            "UNKNOWN",
            f"{NOTHING_SEEN}; index not used: orders_day",
            id="no rows, and wrong",
        ),
    ],
)  # fmt: skip
def test_the_way_of_a_query(
    connection: sa.Connection, sql: str, wanted: dict[str, Any], verdict: str, reason: str
) -> None:
    found = path(connection, sql, **wanted)

    assert (found.name, found.reason) == (verdict, reason)


def test_an_index_of_a_node_that_was_never_executed_is_not_used(connection: sa.Connection) -> None:
    sql = "SELECT 1 UNION ALL SELECT id FROM orders WHERE id = 5 AND (SELECT count(*) FROM empty) > 0"
    plan = explain.explain(connection, sql)
    verdict = explain.access_path("a claim", plan, index="orders_pkey")

    assert [node.index for node in plan.nodes if not node.is_executed] == ["orders_pkey"]
    assert verdict.reason.endswith("index not used: orders_pkey")


def test_rows_that_an_index_only_scan_had_to_look_up_are_told(shop: Database) -> None:
    with shop.connect() as connection:
        connection.exec_driver_sql("UPDATE orders SET note = 'y' WHERE day = '2025-02-03'")
        verdict = path(connection, BY_DAY, DAY, index="orders_day", index_only=True)

    assert "heap fetches" in verdict.have[0]["scans"]


# -- whether an index can serve


@pytest.mark.parametrize(
    ("queries", "limit_ms", "verdict", "reason"),
    [
        pytest.param({"orders_pkey": "SELECT id FROM orders ORDER BY id LIMIT 5"}, 500, "PASS", "", id="green"),
        pytest.param(
            {"orders_day": "SELECT id FROM orders ORDER BY id LIMIT 5"},
            500,
            "FAIL",
            "not used: orders_day",
            id="unused",
        ),
        pytest.param(
            {"orders_pkey": "SELECT id FROM orders ORDER BY id LIMIT 5"}, 0, "FAIL", "too slow: orders_pkey", id="slow"
        ),
        pytest.param({}, 500, "UNKNOWN", "no query was given", id="nothing asked"),
    ],
)
def test_whether_an_index_serves_its_query(
    connection: sa.Connection, queries: dict[str, str], limit_ms: float, verdict: str, reason: str
) -> None:
    found = explain.serves(connection, queries, what="a claim", limit_ms=limit_ms)

    assert (found.name, found.reason) == (verdict, reason)
