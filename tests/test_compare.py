"""A raw aggregation against a view: what is told apart, what cannot be told, and that it is exact."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from conftest import Databases
from gatebook import compare
from gatebook.catalog import Row, execute
from gatebook.compare import Comparison, Difference, Recorded
from gatebook.database import Database
from gatebook.errors import ConfigurationError
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

RAW = """
SELECT shop, day, sum(cents)::bigint AS cents, avg(score) AS score, count(*) AS sales
  FROM sales GROUP BY shop, day;  """
VIEW = f"CREATE MATERIALIZED VIEW mv_sales AS {RAW}"
INDEX = "CREATE UNIQUE INDEX ON mv_sales (shop, day)"
SCHEMA = f"""
CREATE TABLE sales (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, shop text NOT NULL, day date NOT NULL,
                    cents bigint NOT NULL, score numeric);
INSERT INTO sales (shop, day, cents, score)
SELECT 'shop ' || i % 3, date '2025-11-01' + i % 5, i * 101, nullif(i % 7, 0) / 7.0 FROM generate_series(1, 300) i;
{VIEW};
{INDEX};
CREATE TABLE hidden (a int);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""
KEY, MEASURES = ("shop", "day"), ("cents", "score", "sales")
SALES = compare.of_view("mv_sales", raw=RAW, key=KEY, measures=MEASURES)
ROWS = 15
ONE_SALE = "INSERT INTO sales (shop, day, cents, score) VALUES ('shop 0', '2025-11-01', 1, 1)"
WHAT = "the claim"
REFRESHED = "within this comparison"
ANOTHERS_LOCK = "SELECT pg_advisory_lock(20251115, hashtext('mv_sales'::regclass::text))"


def with_schema(database: Database) -> Database:
    with database.connect() as connection:
        execute(connection, SCHEMA)
        connection.commit()
    return database


@pytest.fixture(scope="module")
def shared(databases: Databases) -> Iterator[Database]:
    """For tests that keep nothing."""
    made = with_schema(databases.empty())
    yield made
    databases.drop(made)


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """For tests with several sessions."""
    made = with_schema(databases.empty())
    yield made
    databases.drop(made)


@pytest.fixture
def connection(shared: Database) -> Iterator[sa.Connection]:
    with shared.connect() as connection:
        yield connection


@contextmanager
def session(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Another session, each statement of which commits itself."""
    with database.open_session() as other:
        other.autocommit = True
        yield other


def keep(connection: sa.Connection, statements: str) -> None:
    execute(connection, statements)
    connection.commit()


def of(raw: str, seen: str, **changes: Any) -> Comparison:
    """Two lists of rows (k, m)."""
    sides = [f"SELECT * FROM (VALUES {rows}) v (k, m)" for rows in (raw, seen)]
    return replace(Comparison(*sides, ("k",), ("m",)), **changes)


def judged(connection: sa.Connection, comparison: Comparison, **options: Any) -> Verdict:
    return compare.verdict(WHAT, comparison, compare.compare(connection, comparison, **options))


def summary(rows: int = ROWS, *, refreshed: str = "", **changes: int) -> tuple[Row, ...]:
    counts = {"rows_raw": rows, "rows_view": rows, "missing": 0, "extra": 0, "different": 0}
    return ({**counts, "refreshed": refreshed, **changes},)


# -- the same, or not


def test_the_same_rows_are_green(connection: sa.Connection) -> None:
    difference = compare.compare(connection, SALES)

    assert difference == Difference(rows_raw=ROWS, rows_view=ROWS)
    assert compare.verdict(WHAT, SALES, difference, age="today") == Pass(WHAT, summary(refreshed="today"))


def test_missing_extra_and_different_are_counted_and_shown_by_key(connection: sa.Connection) -> None:
    comparison = of("('a', 1), ('b', 2), ('c', 3), ('e', NULL), ('f', 6)", "('c', 4), ('d', 5), ('e', 0), ('f', 6)")
    difference = compare.compare(connection, comparison)

    assert (difference.rows_raw, difference.rows_view) == (5, 4)
    assert (difference.missing, difference.extra, difference.different) == (2, 1, 2)
    assert compare.verdict(WHAT, comparison, difference) == Fail(
        WHAT,
        (
            {"kind": "missing", "k": "a", "m raw": "1", "m view": None},
            {"kind": "missing", "k": "b", "m raw": "2", "m view": None},
            {"kind": "different", "k": "c", "m raw": "3", "m view": "4"},
            {"kind": "extra", "k": "d", "m raw": None, "m view": "5"},
            {"kind": "different", "k": "e", "m raw": None, "m view": "0"},
        ),
        (),
        "2 missing, 1 extra, 2 different (raw has 5 rows, the view 4)",
    )


@pytest.mark.parametrize("column", ["cents = cents + 1", "score = score + 1e-20", "sales = sales - 1", "score = NULL"])
def test_one_changed_cell_is_found_once(connection: sa.Connection, column: str) -> None:
    execute(connection, "CREATE TABLE copy AS SELECT * FROM mv_sales")
    execute(connection, f"UPDATE copy SET {column} WHERE (shop, day) = ('shop 1', '2025-11-03')")
    verdict = judged(connection, compare.of_view("copy", raw=RAW, key=KEY, measures=MEASURES))

    assert verdict.reason == "0 missing, 0 extra, 1 different (raw has 15 rows, the view 15)"
    assert [(row["kind"], row["shop"], row["day"]) for row in verdict.have] == [("different", "shop 1", "2025-11-03")]


@pytest.mark.parametrize(
    ("raw", "seen", "changes", "name"),
    [
        pytest.param("(1, 'NaN'::numeric)", "(1, 'NaN'::numeric)", {}, "PASS", id="NaN is NaN"),
        pytest.param("(1, 'NaN'::float8)", "(1, 'NaN'::float8)", {}, "PASS", id="NaN is NaN as a float"),
        pytest.param("(1, 'NaN'::numeric)", "(1, 0)", {}, "FAIL", id="NaN is no number"),
        pytest.param("(1, NULL::int)", "(1, NULL::int)", {}, "PASS", id="NULL is NULL"),
        pytest.param("(1, NULL::int)", "(1, 0)", {}, "FAIL", id="NULL is not 0"),
        pytest.param("(1, '')", "(1, NULL::text)", {}, "FAIL", id="empty text is not NULL"),
        pytest.param("(1, 'a ')", "(1, 'a')", {}, "FAIL", id="a blank more"),
        pytest.param("(1, 1.10)", "(1, 1.1)", {}, "PASS", id="another scale"),
        pytest.param("(1, 9223372036854775807)", "(1, 9223372036854775806)", {}, "FAIL", id="large amounts are exact"),
        pytest.param("(1, 5::bigint)", "(1, 5::numeric)", {}, "PASS", id="numbers of two types"),
        pytest.param("('ä''\"', 1)", "('ä''\"', 1)", {}, "PASS", id="any text is a key"),
        pytest.param("('A', 1)", "('a', 1)", {}, "FAIL", id="keys are told apart by case"),
    ],
)
def test_what_is_the_same(connection: sa.Connection, raw: str, seen: str, changes: dict[str, Any], name: str) -> None:
    assert judged(connection, of(raw, seen, **changes)).name == name


@pytest.mark.parametrize(
    ("raw", "seen", "tolerance", "name"),
    [
        pytest.param("1.00", "1.01", Decimal("0.01"), "PASS", id="just within"),
        pytest.param("1.00", "1.0100001", Decimal("0.01"), "FAIL", id="just outside"),
        pytest.param("-1", "1", 2, "PASS", id="across zero"),
        pytest.param("-9223372036854775808", "9223372036854775807", 1, "FAIL", id="farther apart than a bigint"),
        pytest.param("0.1::float8", "0.1::float8 + 1e-9", Decimal("1e-8"), "PASS", id="floats"),
        pytest.param("NULL::int", "0", 1, "FAIL", id="NULL is not near 0"),
        pytest.param("0", "NULL::int", 1, "FAIL", id="0 is not near NULL"),
        pytest.param("'NaN'::numeric", "0", 1, "FAIL", id="NaN is near nothing"),
        pytest.param("0", "'NaN'::float8", 1, "FAIL", id="nothing is near NaN"),
        pytest.param("'NaN'::numeric", "'NaN'::numeric", 1, "PASS", id="but NaN"),
        pytest.param("'Infinity'::float8", "'Infinity'::float8", 1, "PASS", id="infinity"),
        pytest.param("'-Infinity'::float8", "'Infinity'::float8", 1, "FAIL", id="two infinities"),
        pytest.param("NULL::int", "NULL::int", 1, "PASS", id="NULL is NULL"),
    ],
)
def test_tolerance_is_the_largest_difference_that_counts_as_none(
    connection: sa.Connection, raw: str, seen: str, tolerance: Decimal | int, name: str
) -> None:
    comparison = of(f"(1, {raw})", f"(1, {seen})", tolerances={"m": tolerance})

    assert judged(connection, comparison).name == name


def test_a_tolerance_is_for_its_measure_alone(connection: sa.Connection) -> None:
    sides = [f"SELECT 1 AS k, {a} AS a, {b} AS b" for a, b in ((1, 1), (2, 2))]
    verdict = judged(connection, Comparison(*sides, ("k",), ("a", "b"), {"a": 1}))

    assert verdict.reason == "0 missing, 0 extra, 1 different (raw has 1 rows, the view 1)"


# -- what cannot be told


@pytest.mark.parametrize(
    ("raw", "seen", "counts", "kinds"),
    [
        pytest.param(
            "('a', 1), (NULL, 2), (NULL, 3)",
            "('a', 1)",
            "2 rows of raw with NULL in the key",
            ["NULL in key in raw", "NULL in key in raw"],
            id="NULL in raw",
        ),
        pytest.param(
            "('a', 1)",
            "('a', 1), (NULL, 2)",
            "1 rows of the view with NULL in the key",
            ["NULL in key in view"],
            id="NULL in the view",
        ),
        pytest.param(
            "('a', 1), ('a', 2), ('b', 1)",
            "('a', 1), ('b', 1)",
            "1 keys that are not unique in raw",
            ["not unique in raw"],
            id="twice in raw",
        ),
        pytest.param(
            "('a', 1)",
            "('a', 1), ('a', 1), ('a', 1)",
            "1 keys that are not unique in the view",
            ["not unique in view"],
            id="twice in the view",
        ),
        pytest.param(
            "('a', 1), ('a', 1), (NULL, 1)",
            "('a', 1), ('a', 1), (NULL, 1)",
            "1 rows of raw with NULL in the key, 1 rows of the view with NULL in the key, "
            "1 keys that are not unique in raw, 1 keys that are not unique in the view",
            ["not unique in raw", "not unique in view", "NULL in key in raw", "NULL in key in view"],
            id="all at once, the same on both sides",
        ),
    ],
)
def test_rows_that_cannot_be_paired(
    connection: sa.Connection, raw: str, seen: str, counts: str, kinds: list[str]
) -> None:
    verdict = judged(connection, of(raw, seen))

    assert (verdict.name, verdict.reason) == (
        "UNKNOWN",
        f"rows cannot be paired by k: {counts}; take a key that names each row once and is never NULL",
    )
    assert [row["kind"] for row in verdict.have] == kinds


def test_a_key_of_two_columns_is_unkeyed_by_one_null(connection: sa.Connection) -> None:
    side = "SELECT 1 AS a, NULL::int AS b, 1 AS m UNION ALL SELECT 1, 2, 1"
    difference = compare.compare(connection, Comparison(side, side, ("a", "b"), ("m",)))

    assert (difference.null_keys_raw, difference.null_keys_view, difference.rows) == (1, 1, 0)


def test_repeated_keys_are_not_multiplied(connection: sa.Connection) -> None:
    side = "SELECT 1 AS k, i AS m FROM generate_series(1, 200000) i"
    difference = compare.compare(connection, Comparison(side, side, ("k",), ("m",)))

    assert (difference.repeated_keys_raw, difference.repeated_keys_view, difference.rows) == (1, 1, 0)


def test_two_empty_sides_prove_nothing(connection: sa.Connection) -> None:
    nothing = "SELECT 1 AS k, 1 AS m WHERE false"
    one_side = Comparison(nothing, "SELECT 1 AS k, 1 AS m", ("k",), ("m",))

    assert judged(connection, replace(one_side, seen=nothing)) == Unknown(
        WHAT, summary(0), (), "both sides are empty, so nothing was compared"
    )
    assert judged(connection, one_side).reason == "0 missing, 1 extra, 0 different (raw has 0 rows, the view 1)"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(
            {"key": ("shop", "week"), "measures": ("cents", "tax")},
            "raw has no column week, tax (it has shop, day, cents, score, sales); name its columns as key and "
            "measures do",
            id="columns of raw",
        ),
        pytest.param(
            {"seen": "SELECT shop, day, cents FROM mv_sales"},
            "view has no column score, sales (it has shop, day, cents); name its columns as key and measures do",
            id="columns of the view",
        ),
        pytest.param(
            {"seen": "SELECT * FROM mv_gone"},
            'view: a relation is not there; check its name and schema (relation "mv_gone" does not exist, '
            "SQLSTATE 42P01)",
            id="no such view",
        ),
        pytest.param(
            {"raw": "SELECT gone FROM sales"},
            'raw: the database answered with an error (column "gone" does not exist, SQLSTATE 42703)',
            id="wrong SQL",
        ),
        pytest.param(
            {"raw": RAW.replace("sum(cents)", "sum(1 / (cents - cents))")},
            "comparison: the database answered with an error (division by zero, SQLSTATE 22012)",
            id="error in the aggregation",
        ),
        pytest.param(
            {"seen": "SELECT shop, day::text, cents, score, sales FROM mv_sales"},
            "comparison: types do not go together; cast one of them (UNION types date and text cannot be matched, "
            "SQLSTATE 42804)",
            id="keys of types that cannot be compared",
        ),
        pytest.param(
            {"measures": ("day",), "key": ("shop",), "tolerances": {"day": 1}},
            "raw: day is no number, so there can be no tolerance; compare it as it is",
            id="tolerance of a date",
        ),
    ],
)
def test_what_cannot_be_compared(connection: sa.Connection, changes: dict[str, Any], reason: str) -> None:
    assert judged(connection, replace(SALES, **changes)) == Unknown(WHAT, reason=reason)
    assert judged(connection, SALES).is_green  # the transaction is still of use


def test_a_view_that_was_never_filled(connection: sa.Connection) -> None:
    execute(connection, f"CREATE MATERIALIZED VIEW mv_new AS {RAW.strip(' ;')} WITH NO DATA")
    verdict = judged(connection, compare.of_view("mv_new", raw=RAW, key=KEY, measures=MEASURES))

    assert (verdict.name, verdict.reason) == (
        "UNKNOWN",
        "view: a view has not been filled or cannot be refreshed this way; REFRESH it by itself first "
        '(materialized view "mv_new" has not been populated, SQLSTATE 55000)',
    )


def test_a_lost_connection_is_no_verdict(shared: Database) -> None:
    ending = "SELECT 1 AS k, pg_terminate_backend(pg_backend_pid()) AS m"
    with shared.connect() as connection:
        difference = compare.compare(connection, Comparison(ending, ending, ("k",), ("m",)))

    assert difference.problem.startswith("comparison: the database answered with an error (")


def test_autocommit_is_refused(shared: Database) -> None:
    with shared.connect(isolation_level="AUTOCOMMIT") as connection, pytest.raises(sa.exc.DBAPIError):
        compare.compare(connection, SALES)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({"key": ()}, "without a key and a measure nothing would be compared", id="no key"),
        pytest.param({"measures": ()}, "without a key and a measure nothing would be compared", id="no measure"),
        pytest.param({"measures": ("cents", "day")}, "a column is named twice", id="twice"),
        pytest.param(
            {"tolerances": {"day": 1}}, "there is a tolerance for day, which is no measure", id="no measure's"
        ),
        pytest.param({"tolerances": {"cents": -1}}, "a tolerance is a number from 0 up", id="negative"),
        pytest.param({"tolerances": {"cents": Decimal("NaN")}}, "a tolerance is a number from 0 up", id="no number"),
    ],
)
def test_a_comparison_that_means_nothing_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(SALES, **changes)
    assert caught.value.what == problem


# -- any SQL, any names, any size


@pytest.mark.parametrize(
    "ending", ["", ";", " ;\n ; \n", " -- the end", "\n-- done; really", " /* done */", "; \n", " ORDER BY 1 DESC"]
)
def test_sql_may_end_as_it_likes(connection: sa.Connection, ending: str) -> None:
    sides = [f"{text.strip(' ;')}{ending}" for text in (SALES.raw, SALES.seen)]

    assert judged(connection, replace(SALES, raw=sides[0], seen=sides[1])).is_green


def test_common_table_expressions_and_placeholders_are_plain_sql(connection: sa.Connection) -> None:
    raw = (
        "WITH s AS (SELECT * FROM sales WHERE shop LIKE 'shop %' AND '%s {0} %(a)s' <> '') "
        "SELECT shop, count(*) AS n FROM s GROUP BY 1"
    )
    seen = "WITH raw AS (SELECT * FROM mv_sales) SELECT shop, sum(sales) AS n FROM raw GROUP BY 1"

    assert judged(connection, Comparison(raw, seen, ("shop",), ("n",))).is_green


def test_names_are_quoted(connection: sa.Connection) -> None:
    execute(
        connection,
        'CREATE SCHEMA "Other %s"; CREATE MATERIALIZED VIEW "Other %s"."Weird ""name" AS '
        'SELECT 1 AS "kind", 2 AS "k1 ""x"" %s {y}", 3 AS "M", 4 AS here',
    )
    raw = 'SELECT 1 AS "kind", 2 AS "k1 ""x"" %s {y}", 3 AS "M", 5 AS here'
    key, measures = ("kind", 'k1 "x" %s {y}'), ("M", "here")
    verdict = judged(connection, compare.of_view('"Other %s"."Weird ""name"', raw=raw, key=key, measures=measures))

    assert verdict.have == (
        {
            "kind of difference": "different", "kind": "1", 'k1 "x" %s {y}': "2",
            "M raw": "3", "M view": "3", "here raw": "5", "here view": "4",
        },
    )  # fmt: skip


def test_only_a_few_offending_rows_leave_the_server(connection: sa.Connection) -> None:
    long = "SELECT i AS k, repeat('x', 100000) AS m FROM generate_series(1, 1000) i"
    nothing = "SELECT 1 AS k, '' AS m WHERE false"
    difference = compare.compare(connection, Comparison(long, nothing, ("k",), ("m",)), sample_rows=3)

    assert difference.missing == 1000
    assert [row["k"] for row in difference.sample] == ["1", "2", "3"]
    assert {len(row["m raw"]) for row in difference.sample} == {1000}
    assert compare.compare(connection, SALES, sample_rows=0).sample == ()


def test_a_read_only_transaction_will_do_and_nothing_is_left_behind(shared: Database) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'sales'::regclass"
    with shared.connect(postgresql_readonly=True) as connection:
        jit = execute(connection, "SHOW jit").scalar_one()

        assert judged(connection, SALES).is_green
        assert execute(connection, "SHOW jit").scalar_one() == jit
        assert execute(connection, held).scalar_one() == 0


# -- row security

POLICY = "CREATE POLICY own_shop ON sales USING (shop = current_setting('app.shop', true))"
HIDDEN = (
    "row security may hide rows of {} from this role, so what it reads need not be all there is; "
    "give the role a policy that shows it all of them"
)


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(f"{POLICY}; SET LOCAL app.shop = 'shop 1'", id="a policy that filters"),
        pytest.param("SELECT 1", id="no policy: all rows are hidden, and the table is in no plan"),
    ],
)
def test_a_role_that_may_not_see_all_rows_cannot_tell(connection: sa.Connection, statements: str) -> None:
    execute(connection, "ALTER TABLE sales ENABLE ROW LEVEL SECURITY; ALTER TABLE sales FORCE ROW LEVEL SECURITY")
    execute(connection, statements)
    raw = "SELECT x AS k, count(s.id) AS n FROM generate_series(1, 3) x LEFT JOIN sales s ON s.id = x GROUP BY x"
    execute(connection, f"CREATE MATERIALIZED VIEW mv AS {raw}")
    verdict = judged(connection, compare.of_view("mv", raw=raw, key=("k",), measures=("n",)))

    assert verdict == Unknown(WHAT, reason=HIDDEN.format("sales"))


def test_rows_that_a_function_reads_count_too(connection: sa.Connection) -> None:
    execute(
        connection,
        "CREATE FUNCTION behind() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM hidden); END'",
    )
    side = "SELECT 1 AS k, behind() AS m"

    assert judged(connection, Comparison(side, side, ("k",), ("m",))).reason == HIDDEN.format("hidden")


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param("CREATE POLICY everything ON sales TO CURRENT_USER USING (true)", id="a policy that shows all"),
        pytest.param("ALTER TABLE sales NO FORCE ROW LEVEL SECURITY", id="another table alone is filtered"),
    ],
)
def test_row_security_that_hides_nothing_of_it_is_no_matter(connection: sa.Connection, statements: str) -> None:
    execute(connection, "ALTER TABLE sales ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    execute(connection, statements)
    other = "SELECT 1 AS k, count(*) AS m FROM hidden"

    assert judged(connection, SALES).is_green
    assert judged(connection, Comparison(other, other, ("k",), ("m",))).reason == HIDDEN.format("hidden")
    assert judged(connection, SALES).is_green


# -- refreshed first


def refreshed(database: Database, comparison: Comparison = SALES, **options: Any) -> Verdict:
    with database.connect() as connection:
        return compare.refresh_and_compare(connection, comparison, what=WHAT, **options)


def is_free(database: Database) -> bool:
    with session(database) as other:
        return bool(other.execute(ANOTHERS_LOCK.replace("pg_advisory_lock", "pg_try_advisory_lock")).fetchone()[0])  # type: ignore[index]


def held(database: Database) -> tuple[int, str]:
    with database.connect() as connection:
        return compare.contents_checksum(connection, "mv_sales")


def test_a_stale_view_is_refreshed_and_nothing_of_it_is_kept(database: Database) -> None:
    before = held(database)
    with database.connect() as connection:
        keep(connection, ONE_SALE)
        stale = judged(connection, SALES)
        verdict = compare.refresh_and_compare(connection, SALES)

        assert stale.reason == "0 missing, 0 extra, 1 different (raw has 15 rows, the view 15)"
        assert verdict == Pass("mv_sales holds what its source rows add up to", summary(refreshed=REFRESHED))
        assert judged(connection, SALES) == stale
    assert held(database) == before
    assert is_free(database)


@pytest.mark.parametrize(
    ("statements", "concurrently"),
    [
        pytest.param("SELECT 1", True, id="as it should be"),
        pytest.param("DROP INDEX mv_sales_shop_day_idx", False, id="without a unique index"),
        pytest.param(
            "DROP INDEX mv_sales_shop_day_idx; CREATE UNIQUE INDEX ON mv_sales (shop, day) WHERE cents > 0",
            False,
            id="with a partial one",
        ),
        pytest.param(
            "DROP INDEX mv_sales_shop_day_idx; CREATE UNIQUE INDEX ON mv_sales (lower(shop), day)",
            False,
            id="with one on an expression",
        ),
        pytest.param("REFRESH MATERIALIZED VIEW mv_sales WITH NO DATA", False, id="not filled"),
    ],
)
def test_readers_are_let_in_where_the_view_allows_it(database: Database, statements: str, concurrently: bool) -> None:
    sent: list[str] = []
    with database.connect() as connection:
        keep(connection, statements)
        sa.event.listen(connection, "before_cursor_execute", lambda *event: sent.append(event[2]))
        verdict = compare.refresh_and_compare(connection, SALES)

    assert verdict.is_green
    assert f"REFRESH MATERIALIZED VIEW {'CONCURRENTLY ' if concurrently else ''}mv_sales" in sent


def test_a_wrong_definition_is_red_after_a_refresh_too(database: Database) -> None:
    verdict = refreshed(database, replace(SALES, raw=RAW.replace("FROM sales", "FROM sales WHERE shop <> 'shop 2'")))

    assert (verdict.name, verdict.reason) == ("FAIL", "0 missing, 5 extra, 0 different (raw has 10 rows, the view 15)")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"view": ""}, "the comparison does not say which view is meant; name it", id="none named"),
        pytest.param(
            {"view": "mv_gone"},
            "there is no view mv_gone; check its name and schema, and that its migration ran",
            id="no such view",
        ),
        pytest.param(
            {"view": "sales"},
            "sales is no materialized view, so it is never refreshed; use compare alone",
            id="a table",
        ),
        pytest.param(
            {"key": ("shop", "week")},
            "raw has no column week (it has shop, day, cents, score, sales); name its columns as key and measures do",
            id="wrong column",
        ),
    ],
)
def test_what_cannot_be_refreshed(shared: Database, changes: dict[str, Any], reason: str) -> None:
    assert refreshed(shared, replace(SALES, **changes)) == Unknown(WHAT, reason=reason)
    assert is_free(shared)


KEPT = "; the view holds what it held before"


@pytest.mark.parametrize(
    ("locking", "message"),
    [
        pytest.param(ANOTHERS_LOCK, "canceling statement due to lock timeout", id="another refresh"),
        pytest.param(
            "BEGIN; LOCK TABLE sales IN ACCESS EXCLUSIVE MODE",
            "canceling statement due to lock timeout",
            id="a lock on the source",
        ),
    ],
)
def test_a_lock_that_another_session_holds(database: Database, locking: str, message: str) -> None:
    with session(database) as other:
        other.execute(locking)
        verdict = refreshed(database, lock_timeout_ms=200)
        assert verdict == Unknown(
            WHAT,
            reason="another session held a lock for longer than lock_timeout; run again when it is done "
            f"({message}, SQLSTATE 55P03){KEPT}",
        )
        other.execute("SELECT pg_advisory_unlock_all()")
        other.execute("ROLLBACK")
    assert is_free(database)
    assert refreshed(database).is_green


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
@pytest.mark.parametrize("locking", [ANOTHERS_LOCK, "BEGIN; LOCK TABLE mv_base IN ACCESS EXCLUSIVE MODE"])
def test_cancelled_while_it_waits(database: Database, function: str, locking: str) -> None:
    """At the advisory lock, and in the middle of the refresh, which alone reads mv_base."""
    definition = RAW.replace("FROM sales", "FROM sales WHERE 1 NOT IN (TABLE mv_base)")
    with database.connect() as connection:
        execute(connection, "CREATE TABLE mv_base (a int); DROP MATERIALIZED VIEW mv_sales")
        keep(connection, f"CREATE MATERIALIZED VIEW mv_sales AS {definition}")
    before = held(database)
    waiting = f"SELECT {function}(pid) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    with session(database) as other, ThreadPoolExecutor(1) as pool:
        other.execute(locking)
        running = pool.submit(refreshed, database, lock_timeout_ms=60_000)
        while not other.execute(waiting).fetchall():
            time.sleep(0.02)
        verdict = running.result()
    cancelled = "a statement was cancelled, or ran for longer than statement_timeout; run again, or allow more time"
    start = cancelled if function == "pg_cancel_backend" else "the database answered with an error"

    assert verdict.name == "UNKNOWN"
    assert verdict.reason.startswith(f"{start} (")
    assert verdict.reason.endswith(KEPT)
    assert is_free(database)
    assert held(database) == before


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param("53100", "the server's disk is full; make room, then run again", id="disk full"),
        pytest.param("40P01", "two sessions waited for each other; run again", id="deadlock"),
        pytest.param("22012", "the database answered with an error", id="any other"),
    ],
)
def test_a_refresh_that_fails(database: Database, state: str, reason: str) -> None:
    function = "CREATE OR REPLACE FUNCTION fine() RETURNS bool LANGUAGE plpgsql AS $$BEGIN {} RETURN true; END$$"
    failing = function.format(f"RAISE EXCEPTION 'no luck' USING ERRCODE = '{state}';")
    with database.connect() as connection:
        execute(connection, function.format(""))
        execute(connection, "CREATE MATERIALIZED VIEW mv_fine AS SELECT 1 AS k, 2 AS m WHERE public.fine()")
        keep(connection, failing)
        comparison = compare.of_view("mv_fine", raw="SELECT 1 AS k, 2 AS m", key=("k",), measures=("m",))
        verdict = compare.refresh_and_compare(connection, comparison, what=WHAT)

        assert verdict == Unknown(WHAT, reason=f"{reason} (no luck, SQLSTATE {state}){KEPT}")
        assert judged(connection, comparison).is_green


def test_only_the_owner_refreshes(database: Database) -> None:
    with database.connect() as connection:
        keep(connection, "GRANT SELECT ON sales, mv_sales TO app_ro; SET ROLE app_ro")
        verdict = compare.refresh_and_compare(connection, SALES, what=WHAT)
        compared = judged(connection, SALES)
        keep(connection, "RESET ROLE")

    assert verdict.reason.startswith("this role lacks a privilege; run as the owner, or grant it (")
    assert verdict.reason.endswith(f"SQLSTATE 42501){KEPT}")
    assert compared.is_green


def test_a_read_only_session_does_not_refresh(shared: Database) -> None:
    with shared.connect(postgresql_readonly=True) as connection:
        verdict = compare.refresh_and_compare(connection, SALES, what=WHAT)

    assert verdict.reason.startswith("this transaction may only read; compare as it is, without a refresh (")


# -- while others write


SOME = "id IN (SELECT id FROM sales WHERE id %% 300 = %(n)s ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 3)"
WRITES = (
    "INSERT INTO sales (shop, day, cents, score) VALUES (%(shop)s, date '2025-11-01' + %(n)s %% 6, %(n)s, random())",
    "INSERT INTO sales (shop, day, cents, score) SELECT %(shop)s, day, cents, score FROM sales LIMIT 3",
    f"UPDATE sales SET cents = cents + 1, shop = %(shop)s WHERE {SOME}",
    f"DELETE FROM sales WHERE {SOME}",
)


def write_until(stop: threading.Event, database: Database, seed: int) -> int:
    """Insert, update and delete sales; how many times."""
    dice, done = random.Random(seed), 0
    with session(database) as writer:
        while not stop.is_set():
            writer.execute(dice.choice(WRITES), {"shop": f"shop {dice.randrange(4)}", "n": dice.randrange(1, 300)})
            done += 1
    return done


@contextmanager
def writers(database: Database, count: int = 4) -> Iterator[list[int]]:
    """So many sessions that write meanwhile; afterwards, how often each of them did."""
    stop, done = threading.Event(), list[int]()
    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(write_until, stop, database, seed) for seed in range(count)]
        try:
            yield done
        finally:
            stop.set()
            done += [each.result() for each in running]


def test_exact_while_others_write(database: Database) -> None:
    """Twenty rounds without a difference, and in each a cent that was planted is found: no less, no more."""
    planted = replace(
        SALES,
        seen="SELECT shop, day, cents + (row_number() OVER (ORDER BY shop, day) = 1)::int AS cents, score, sales "
        "FROM mv_sales",
    )
    with writers(database) as done, database.connect() as connection:
        true = [compare.refresh_and_compare(connection, SALES) for _ in range(20)]
        false = [compare.refresh_and_compare(connection, planted) for _ in range(20)]

    assert [verdict.reason for verdict in true if not verdict.is_green] == []
    assert {verdict.reason.partition(" (")[0] for verdict in false} == {"0 missing, 0 extra, 1 different"}
    assert {(len(verdict.have), verdict.have[0]["kind"]) for verdict in false} == {(1, "different")}
    assert min(done) > 50


def test_without_the_refresh_writers_are_seen(database: Database) -> None:
    """The control: the same comparison of a view that nobody refreshes does see them."""
    with writers(database), database.connect() as connection:
        time.sleep(0.5)
        verdict = judged(connection, SALES)

    assert verdict.name == "FAIL"


def refresh_as_others_do(database: Database) -> Verdict:
    with session(database) as other, other.transaction():
        other.execute(ANOTHERS_LOCK.replace("pg_advisory_lock", "pg_advisory_xact_lock"))
        other.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY mv_sales")
    return Pass(WHAT)


def test_refreshes_of_one_view_wait_for_each_other(database: Database) -> None:
    """Two comparisons and regular refreshes at once, while others write."""
    tasks: list[Callable[[Database], Verdict]] = [refreshed, refreshed, refresh_as_others_do]
    with writers(database, 1), ThreadPoolExecutor(3) as pool:
        running = [pool.submit(task, database) for task in itertools.islice(itertools.cycle(tasks), 24)]
        verdicts = [each.result() for each in running]

    assert [verdict.reason for verdict in verdicts if not verdict.is_green] == []


# -- as it is


def record(connection: sa.Connection, **changes: Any) -> Recorded:
    """What a log of refreshes would hold."""
    rows, checksum = compare.contents_checksum(connection, "mv_sales")
    row = execute(connection, "SELECT now() - interval '12 minutes', md5(pg_get_viewdef('mv_sales'::regclass))").one()
    return replace(Recorded(row[0], checksum, row[1], rows), **changes)


def as_is(database: Database, comparison: Comparison = SALES, **options: Any) -> Verdict:
    with database.connect() as connection:
        return compare.compare_as_is(connection, comparison, what=WHAT, **options)


def recorded(database: Database, **changes: Any) -> Recorded:
    with database.connect() as connection:
        return record(connection, **changes)


ONE_DIFFERS = "0 missing, 0 extra, 1 different (raw has 15 rows, the view 15)"


@pytest.mark.parametrize(
    ("age", "words"),
    [
        pytest.param(timedelta(seconds=-5), "0 seconds ago", id="a clock that is behind"),
        pytest.param(timedelta(seconds=90), "90 seconds ago", id="seconds"),
        pytest.param(timedelta(minutes=12), "12 minutes ago", id="minutes"),
        pytest.param(timedelta(hours=47), "47 hours ago", id="hours"),
        pytest.param(timedelta(days=40), "40 days ago", id="days"),
    ],
)
def test_a_view_that_is_right_tells_its_age(shared: Database, age: timedelta, words: str) -> None:
    with shared.connect() as connection:
        known = record(connection)
        known = replace(known, refreshed_at=known.refreshed_at + timedelta(minutes=12) - age)

    assert as_is(shared, recorded=known) == Pass(WHAT, summary(refreshed=words))


def test_a_view_that_is_right_needs_no_record(shared: Database) -> None:
    assert as_is(shared, recorded=None) == Pass(WHAT, summary(refreshed="no refresh is on record"))


def test_stale_is_told_from_wrong(database: Database) -> None:
    known = recorded(database)
    with database.connect() as connection:
        keep(connection, ONE_SALE)
    verdict = as_is(database, recorded=known)
    accepted = as_is(database, recorded=known, accept_stale=True)

    assert (verdict.name, verdict.reason) == (
        "FAIL",
        f"stale: {ONE_DIFFERS}; refreshed 12 minutes ago, and contents are what that refresh left: refresh the view",
    )
    assert [(row["kind"], row["shop"], row["day"]) for row in verdict.have] == [("different", "shop 0", "2025-11-01")]
    assert accepted == Pass(
        WHAT,
        summary(refreshed="12 minutes ago", different=1),
        (),
        "stale by 1 rows, refreshed 12 minutes ago; contents are what that refresh left",
    )


def test_a_wrong_definition_is_wrong_whatever_is_on_record(database: Database) -> None:
    comparison = replace(SALES, raw=RAW.replace("sum(cents)", "sum(cents + 1)"))
    for known in (None, recorded(database)):
        verdict = as_is(database, comparison, recorded=known, accept_stale=True)

        assert (verdict.name, verdict.reason) == (
            "FAIL",
            "wrong: the definition computes something else than raw: "
            "0 missing, 0 extra, 15 different (raw has 15 rows, the view 15)",
        )


def test_contents_that_no_refresh_left_are_wrong(databases: Databases, database: Database) -> None:
    """What only a superuser can do: edit a cell of a materialized view."""
    known = recorded(database)
    with databases.maintenance(database.name.removeprefix("embedded/")) as superuser:
        superuser.execute("SET allow_system_table_mods = on")
        kind = "UPDATE pg_catalog.pg_class SET relkind = '{}', relhasrules = {} WHERE oid = 'mv_sales'::regclass"
        superuser.execute(kind.format("r", False))
        superuser.execute("UPDATE mv_sales SET cents = cents + 1 WHERE (shop, day) = ('shop 1', '2025-11-03')")
        superuser.execute(kind.format("m", True))
    verdict = as_is(database, recorded=known, accept_stale=True)

    assert (verdict.name, verdict.reason) == (
        "FAIL",
        f"wrong: the contents are not what the last refresh on record left (12 minutes ago); {ONE_DIFFERS}",
    )
    assert verdict.have[0]["contents_checksum"] != verdict.want[0]["contents_checksum"] == known.contents_checksum


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"rows": 14}, "wrong: the contents are not what the last refresh on record left", id="rows"),
        pytest.param(
            {"definition_md5": "0"},
            "wrong: the definition is not the one of the last refresh on record",
            id="definition",
        ),
    ],
)
def test_what_is_on_record_must_agree(database: Database, changes: dict[str, Any], reason: str) -> None:
    known = recorded(database, **changes)
    with database.connect() as connection:
        keep(connection, ONE_SALE)

    assert as_is(database, recorded=known).reason == f"{reason} (12 minutes ago); {ONE_DIFFERS}"


def test_without_a_record_it_cannot_be_told(database: Database) -> None:
    with database.connect() as connection:
        keep(connection, ONE_SALE)
    verdict = as_is(database, recorded=None, accept_stale=True)

    assert (verdict.name, verdict.reason) == (
        "UNKNOWN",
        f"{ONE_DIFFERS}; whether it is stale or wrong cannot be told: no refresh of this view is on record",
    )


BY_SHOP = Comparison(
    "SELECT shop, sum(cents) AS cents FROM sales GROUP BY shop",
    "SELECT shop, sum(cents) AS cents FROM mv_sales GROUP BY shop",
    ("shop",),
    ("cents",),
    view="public.mv_sales",
)


@pytest.mark.parametrize(
    ("comparison", "start"),
    [
        pytest.param(BY_SHOP, "stale: 0 missing", id="rows of the view, added up"),
        pytest.param(
            replace(BY_SHOP, raw=BY_SHOP.raw.replace("sum(cents)", "sum(cents) + 1")), "wrong: the def", id="wrong"
        ),
        pytest.param(
            compare.of_view("public.mv_sales", raw=RAW, key=KEY, measures=MEASURES), "stale: 0 missing", id="schema"
        ),
        pytest.param(
            replace(BY_SHOP, seen=BY_SHOP.seen.replace("mv_sales", "public.mv_sales")),
            "0 missing, 0 extra, 1 different (raw has 3 rows, the view 3); whether it is stale or wrong cannot be "
            "told: seen reads public.mv_sales by a name that the definition cannot stand in for; leave out its schema",
            id="a name that cannot be stood in for",
        ),
    ],
)
def test_the_definition_stands_in_for_the_view(database: Database, comparison: Comparison, start: str) -> None:
    known = recorded(database)
    with database.connect() as connection:
        keep(connection, ONE_SALE)
    verdict = as_is(database, comparison, recorded=known)

    assert verdict.reason.startswith(start)
    assert not verdict.is_green


def test_all_that_is_read_is_of_one_moment(database: Database) -> None:
    """Also in a transaction of the caller's that began before others wrote and refreshed concurrently."""
    with database.connect() as connection, session(database) as other:
        execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        known = record(connection)
        other.execute(ONE_SALE)
        other.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY mv_sales")
        other.execute(ONE_SALE)
        verdict = compare.compare_as_is(connection, SALES, recorded=known)

        assert verdict.is_green
        assert connection.in_transaction()


def test_a_plain_refresh_meanwhile_is_noticed(database: Database) -> None:
    """Its rows are seen even by snapshots from before it, so they are not held against the view."""
    with database.connect() as connection, session(database) as other:
        execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        known = Recorded(execute(connection, "SELECT now()").scalar_one(), "0", "0", 0)
        other.execute(ONE_SALE)
        other.execute("REFRESH MATERIALIZED VIEW mv_sales")
        verdict = compare.compare_as_is(connection, SALES, recorded=known, what=WHAT)

    assert verdict == Unknown(WHAT, reason="another session refreshed the view meanwhile; run again")


def test_two_moments_are_refused(shared: Database) -> None:
    with shared.connect() as connection:
        execute(connection, "SELECT 1")
        verdict = compare.compare_as_is(connection, SALES, recorded=None)

    assert verdict.name == "UNKNOWN"
    assert verdict.reason.startswith(
        "statements of this transaction see different moments; begin it as REPEATABLE READ ("
    )


def test_limits_alone_make_no_moment(shared: Database) -> None:
    with shared.connect() as connection:
        execute(connection, "SET LOCAL lock_timeout = 5000")

        assert compare.compare_as_is(connection, SALES, recorded=None).is_green


def test_nothing_is_written_as_it_is(shared: Database) -> None:
    comparison = replace(SALES, raw=RAW.replace("sum(cents)", "sum(cents) + nextval('sales_id_seq') * 0"))

    assert "SQLSTATE 25006" in as_is(shared, comparison, recorded=None).reason


def test_checksums_of_contents_do_not_depend_on_their_order(connection: sa.Connection) -> None:
    before = compare.contents_checksum(connection, "mv_sales")
    execute(connection, "CREATE TABLE copy AS SELECT * FROM mv_sales ORDER BY sales, day DESC")
    again = compare.contents_checksum(connection, "copy")
    execute(connection, "UPDATE copy SET cents = cents + 1 WHERE (shop, day) = ('shop 1', '2025-11-03')")

    assert before == again == (ROWS, before[1])
    assert compare.contents_checksum(connection, "copy")[1] != before[1]
    assert compare.contents_checksum(connection, "(SELECT 1 AS v, 2 AS w WHERE false)") == (0, "0")
