"""refresh_materialized_view(), its log and its status on real servers; the module and the command over them."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from command import ROOT, Command, assert_refused
from conftest import Databases
from gatebook import catalog, migrations, refresh
from gatebook.compare import Recorded
from gatebook.database import Database
from gatebook.errors import ConfigurationError, ConnectionFailed
from gatebook.project import Project

REVISION, BEFORE = "202511151520", "202511151510"
VIEWS = ["mv_channel_performance", "mv_daily_revenue_summary", "mv_realtime_revenue", "mv_reconciliation_status"]
NOT_FOR_OTHERS = {"rows": None, "contents_checksum": None}

# One small table, and views over it: with everything a refresh can meet.
OWN = """
    CREATE TABLE numbers (key int, value text);
    INSERT INTO numbers SELECT n, 'value ' || n FROM generate_series(1, 3) AS n;
    CREATE MATERIALIZED VIEW m AS SELECT key, value FROM numbers;
    CREATE UNIQUE INDEX ON m (key);
"""
SLOW = """
    CREATE MATERIALIZED VIEW slow AS SELECT 1 AS one, pg_catalog.pg_sleep({seconds})::text AS slept WITH NO DATA;
"""


@pytest.fixture(scope="session")
def refreshable(databases: Databases, legacy: Database) -> Database:
    """Template: the small scenario at the revision that makes the log. Copy it, never change it."""
    database = databases.copy(legacy)
    with database.connect() as connection:
        migrations.upgrade(connection, databases.project, REVISION)
        # Into the window of one view; and two runs of a tenant with the same start, which another cannot hold, apart.
        catalog.execute(connection, "UPDATE attribution_allocations SET created_at = now()")
        catalog.execute(
            connection, "UPDATE reconciliation_runs SET last_run_at = last_run_at + random() * interval '1 s'"
        )
        connection.commit()
    database.engine.dispose()
    return database


@pytest.fixture
def database(databases: Databases, refreshable: Database) -> Iterator[Database]:
    copy = databases.copy(refreshable)
    run(copy, OWN)
    yield copy
    databases.drop(copy)


def session(database: Database, *settings: str) -> psycopg.Connection[Any]:
    """A session whose statements commit themselves, rows as dictionaries."""
    opened = database.open_session()
    opened.autocommit = True
    opened.row_factory = dict_row
    for setting in settings:
        opened.execute(setting)
    return opened


def run(database: Database, sql: str, *settings: str) -> list[dict[str, Any]]:
    with contextlib.closing(session(database, *settings)) as opened:
        cursor = opened.execute(sql)
        return cursor.fetchall() if cursor.description else []


def call(database: Database, view: str = "m", *settings: str, lock_timeout: str = "5 seconds") -> dict[str, Any]:
    """What the function returns, called in a session with these settings."""
    quoted = view.replace("'", "''")
    (row,) = run(database, f"SELECT * FROM refresh_materialized_view('{quoted}', '{lock_timeout}')", *settings)
    return row


def log(database: Database) -> list[dict[str, Any]]:
    return run(database, "SELECT * FROM mv_refresh_log ORDER BY id")


def contents(database: Database, view: str = "m") -> list[dict[str, Any]]:
    return run(database, f"SELECT v.*::text AS row FROM {view} AS v ORDER BY 1")


def statement(database: Database, sqlstate: str, sql: str, *settings: str) -> None:
    """The statement fails with this SQLSTATE."""
    with pytest.raises(psycopg.Error) as raised:
        run(database, sql, *settings)
    assert raised.value.sqlstate == sqlstate


class Waiting(threading.Thread):
    """A refresh in a session of its own, which the test meanwhile blocks, cancels or accompanies."""

    def __init__(self, database: Database, view: str, *settings: str, lock_timeout: str = "20 seconds") -> None:
        super().__init__()
        self.opened = session(database, *settings)
        self.view, self.lock_timeout = view, lock_timeout
        self.pid = self.opened.info.backend_pid
        self.row: dict[str, Any] = {}

    def run(self) -> None:
        with contextlib.closing(self.opened):
            sql = "SELECT * FROM refresh_materialized_view(%s::regclass, %s::interval)"
            self.row = self.opened.execute(sql, [self.view, self.lock_timeout]).fetchone() or {}


def until(database: Database, pid: int, event: str) -> None:
    """Wait until the session waits for this."""
    for _ in range(200):
        found = run(database, f"SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}")
        if found and found[0]["wait_event"] == event:
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} never waited for {event}")


def do_not_overlap(rows: list[dict[str, Any]]) -> bool:
    intervals = sorted((row["started_at"], row["finished_at"]) for row in rows if row["finished_at"])
    return all(one[1] <= two[0] for one, two in itertools.pairwise(intervals))


# -- green


def test_a_refresh_renews_the_contents_and_is_written_down(database: Database) -> None:
    run(database, "INSERT INTO numbers VALUES (4, 'four')")
    before = datetime.now().astimezone()

    row = call(database)

    assert len(contents(database)) == 4
    assert log(database) == [row]
    assert {name: row[name] for name in ("view_name", "rows", "was_concurrent", "requested_by", "error")} == {
        "view_name": "m", "rows": 4, "was_concurrent": True, "requested_by": "gatebook_owner", "error": None,
    }  # fmt: skip
    assert before <= row["started_at"] < row["finished_at"] <= datetime.now().astimezone()
    (definition,) = run(database, "SELECT md5(pg_get_viewdef('m'::regclass)) AS md5")
    assert row["definition_md5"] == definition["md5"]


@pytest.mark.parametrize("view", VIEWS)
def test_rows_and_checksum_are_what_anyone_else_would_count(
    databases: Databases, database: Database, view: str
) -> None:
    row = call(database, view)

    whole = "coalesce(sum(hashtextextended(v::text, 0)::numeric), 0)::text AS contents_checksum"
    (want,) = run(database, f"SELECT count(*) AS rows, {whole} FROM {view} AS v")
    assert {name: row[name] for name in want} == want
    with databases.maintenance(database.name.removeprefix("embedded/")) as superuser:
        definition = superuser.execute("SELECT pg_get_viewdef(%s::regclass)", [view]).fetchall()[0][0].rstrip(";")
        tenants = f"SELECT count(DISTINCT tenant_id) FROM ({definition}) AS raw"
        assert superuser.execute(tenants).fetchall() == superuser.execute(
            f"SELECT count(DISTINCT tenant_id) FROM {view}"
        ).fetchall()  # fmt: skip
    assert row["rows"] > 0


def test_an_application_refreshes_the_rows_of_every_tenant(database: Database) -> None:
    (tenant,) = run(database, "SELECT min(id::text) AS id FROM tenants")
    want = contents(database, "mv_daily_revenue_summary")

    row = call(database, "mv_daily_revenue_summary", f"SET app.current_tenant_id = '{tenant['id']}'", "SET ROLE app_rw")

    assert row["error"] is None
    assert contents(database, "mv_daily_revenue_summary") == want
    assert len(run(database, "SELECT DISTINCT tenant_id FROM mv_daily_revenue_summary")) > 1


def test_first_plainly_then_concurrently(database: Database) -> None:
    run(database, "CREATE MATERIALIZED VIEW empty AS SELECT * FROM numbers WITH NO DATA")
    run(database, "CREATE UNIQUE INDEX ON empty (key)")

    assert [call(database, "empty")["was_concurrent"] for _ in range(2)] == [False, True]
    assert len(contents(database, "empty")) == 3


@pytest.mark.parametrize(
    ("index", "concurrently"),
    [
        pytest.param("SELECT 1", False, id="none"),
        pytest.param("CREATE UNIQUE INDEX i ON n (key)", True, id="unique"),
        pytest.param("CREATE UNIQUE INDEX i ON n (key) INCLUDE (value)", True, id="unique with more columns"),
        pytest.param("CREATE INDEX i ON n (key)", False, id="not unique"),
        pytest.param("CREATE UNIQUE INDEX i ON n (key) WHERE key > 0", False, id="partial"),
        pytest.param("CREATE UNIQUE INDEX i ON n ((key + 1))", False, id="expression"),
        pytest.param("CREATE UNIQUE INDEX i ON n (key, (key + 1))", False, id="column and expression"),
    ],
)
def test_concurrently_where_there_is_a_usable_index(database: Database, index: str, concurrently: bool) -> None:
    run(database, "CREATE MATERIALIZED VIEW n AS SELECT * FROM numbers")
    run(database, index)

    row = call(database, "n")

    assert (row["error"], row["was_concurrent"], row["rows"]) == (None, concurrently, 3)


def test_an_invalid_index_is_of_no_use(databases: Databases, database: Database) -> None:
    with databases.maintenance(database.name.removeprefix("embedded/")) as superuser:
        superuser.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'm_key_idx'::regclass")

    assert call(database)["was_concurrent"] is False


ODD = "Odd \"name\" of 100% 'v'"


@pytest.mark.parametrize("schema", ["public", "other one"])
def test_names_are_quoted(database: Database, schema: str) -> None:
    name = '"' + ODD.replace('"', '""') + '"'
    run(database, f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    run(database, f'CREATE MATERIALIZED VIEW "{schema}".{name} AS SELECT 1 AS v, 2 AS "V v"')

    row = call(database, f'"{schema}".{name}')

    assert row["view_name"] == (name if schema == "public" else f'"{schema}".{name}')
    assert (row["rows"], row["error"]) == (1, None)
    assert row["contents_checksum"] == str(run(database, "SELECT hashtextextended('(1,2)', 0) AS sum")[0]["sum"])


# -- what must not matter

SETTINGS = [
    "SET TimeZone = 'Pacific/Kiritimati'",
    "SET DateStyle = 'German, DMY'",
    "SET IntervalStyle = 'iso_8601'",
    "SET extra_float_digits = -5",
    "SET bytea_output = 'escape'",
    "SET search_path = pg_catalog",
    "SET search_path = ''",
    "SET lock_timeout = '1ms'",
    "SET default_transaction_isolation = 'serializable'",
    "SET enable_indexscan = off",
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_caller_do_not_matter(database: Database, setting: str) -> None:
    moment = "timestamptz '2025-11-15 23:30:00+00'"
    run(
        database,
        f"CREATE MATERIALIZED VIEW public.texts AS SELECT {moment} AS at, ({moment})::date AS day, "
        "interval '1 year 2 days' AS age, 0.1::float8 + 0.2::float8 AS float, '\\xdeadbeef'::bytea AS bytes",
    )
    first = call(database, "texts")
    same = ("view_name", "rows", "contents_checksum", "definition_md5", "error")
    columns = ", ".join(same)
    with contextlib.closing(session(database, setting)) as opened:
        opened.execute("DO 'BEGIN END'")  # the language brings settings of its own
        before = opened.execute("SELECT name, setting FROM pg_settings ORDER BY name").fetchall()
        row = opened.execute(f"SELECT {columns} FROM public.refresh_materialized_view('public.texts')").fetchone()
        assert opened.execute("SELECT name, setting FROM pg_settings ORDER BY name").fetchall() == before

    assert row == {name: first[name] for name in same}
    assert contents(database, "texts")[0]["row"].startswith('("2025-11-15 23:30:00+00",2025-11-15,')


def test_settings_of_the_callers_transaction_come_back(database: Database) -> None:
    with contextlib.closing(session(database)) as opened, opened.transaction():
        opened.execute("SET LOCAL lock_timeout = '7s'")
        opened.execute("SELECT refresh_materialized_view('m', '3 seconds')")
        assert opened.execute("SHOW lock_timeout").fetchone() == {"lock_timeout": "7s"}


def test_what_others_put_in_its_way_is_not_called(databases: Databases, database: Database) -> None:
    """A temporary log, and functions and operators that fit better, in a schema where everyone may create."""
    with databases.maintenance(database.name.removeprefix("embedded/")) as superuser:
        superuser.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    traps = """
        CREATE FUNCTION public.trap(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''trapped''; END';
        CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.trap);
        CREATE FUNCTION public.hashtextextended(text, int) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
        CREATE FUNCTION public.concat(text, text) RETURNS text LANGUAGE sql AS 'SELECT NULL';
        CREATE FUNCTION public.clock_timestamp(int DEFAULT 1) RETURNS timestamptz LANGUAGE sql AS 'SELECT now()';
        CREATE TEMP TABLE mv_refresh_log (id int);
        CREATE TEMP TABLE pg_class (id int)
    """
    before = call(database)

    after = call(database, "m", "SET ROLE app_rw", traps)

    assert after["error"] is None
    assert [row["contents_checksum"] for row in log(database)] == [before["contents_checksum"]] * 2


# -- red: the old contents stay, and a row says why


def test_two_equal_keys_leave_the_old_contents(database: Database) -> None:
    old = contents(database)
    run(database, "INSERT INTO numbers VALUES (3, 'secret')")

    row = call(database)

    assert contents(database) == old
    assert log(database) == [row]
    assert row["error"].startswith("23505: ")
    assert "secret" not in row["error"]
    assert "(3" not in row["error"]
    assert row["was_concurrent"] is True
    assert row["finished_at"] > row["started_at"]
    assert {name: row[name] for name in NOT_FOR_OTHERS} == NOT_FOR_OTHERS


def test_rows_that_are_wholly_equal_leave_the_old_contents(database: Database) -> None:
    run(database, "INSERT INTO numbers VALUES (3, 'value 3')")

    row = call(database)

    assert row["error"].startswith("21000: ")
    assert "value" not in row["error"]
    assert len(contents(database)) == 3


def test_an_error_of_the_query_is_kept_without_its_details(database: Database) -> None:
    run(database, "CREATE MATERIALIZED VIEW quotients AS SELECT 6 / key AS six FROM numbers")
    run(database, "INSERT INTO numbers VALUES (0, 'zero')")

    assert call(database, "quotients")["error"] == "22012: division by zero"
    assert len(contents(database, "quotients")) == 3


@pytest.mark.parametrize(
    "blocking",
    [
        pytest.param("LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE", id="the table"),
        pytest.param("REFRESH MATERIALIZED VIEW m", id="the view"),
    ],
)
def test_a_lock_that_is_not_given_leaves_the_old_contents(database: Database, blocking: str) -> None:
    old = contents(database)
    with contextlib.closing(session(database)) as other, other.transaction(force_rollback=True):
        other.execute(blocking)
        row = call(database, "m", lock_timeout="100 ms")

    assert row["error"] == "55P03: canceling statement due to lock timeout"
    assert row["finished_at"] - row["started_at"] >= timedelta(milliseconds=100)
    assert (log(database), contents(database)) == ([row], old)


def test_a_turn_that_never_comes_is_written_down(database: Database) -> None:
    """The lock is the one that others can take, too: by the same two keys."""
    with contextlib.closing(session(database)) as other:
        other.execute("SELECT pg_advisory_lock(20251115, hashtext('m'::regclass::text))")
        row = call(database, "m", lock_timeout="100 ms")
        assert call(database, "mv_realtime_revenue", lock_timeout="100 ms")["error"] is None
        other.execute("SELECT pg_advisory_unlock(20251115, hashtext('m'::regclass::text))")

    assert row["error"] == "55P03: canceling statement due to lock timeout"
    assert (row["finished_at"], row["was_concurrent"], row["definition_md5"]) == (None, False, None)
    assert call(database)["error"] is None


@pytest.mark.parametrize("event", ["PgSleep", "advisory"])
def test_a_cancelled_refresh_is_written_down(database: Database, event: str) -> None:
    run(database, SLOW.format(seconds=30))
    with contextlib.closing(session(database)) as other:
        if event == "advisory":
            other.execute("SELECT pg_advisory_lock(20251115, hashtext('slow'))")
        waiting = Waiting(database, "slow")
        waiting.start()
        until(database, waiting.pid, event)
        other.execute("SELECT pg_cancel_backend(%s)", [waiting.pid])
        waiting.join(20)

    assert waiting.row["error"] == "57014: canceling statement due to user request"
    assert log(database) == [waiting.row]


def test_the_callers_statement_timeout_holds(database: Database) -> None:
    run(database, SLOW.format(seconds=30))

    row = call(database, "slow", "SET statement_timeout = '200ms'")

    assert row["error"] == "57014: canceling statement due to statement timeout"
    assert row["finished_at"] - row["started_at"] >= timedelta(milliseconds=150)
    assert log(database) == [row]


def test_a_full_disk_leaves_the_old_contents(databases: Databases, database: Database) -> None:
    """The server's limit on temporary files stands for the disk: the same kind of failure at the same place."""
    run(
        database,
        "CREATE MATERIALIZED VIEW sorted AS SELECT n FROM generate_series(1, 200000) AS n ORDER BY md5(n::text)",
    )
    name = database.name.removeprefix("embedded/")
    with databases.maintenance() as superuser:
        for setting in ("temp_file_limit = '64kB'", "work_mem = '64kB'"):
            superuser.execute(f"ALTER ROLE gatebook_owner IN DATABASE {name} SET {setting}")

    row = call(database, "sorted")

    assert row["error"].startswith("53400: temporary file size exceeds ")
    assert log(database) == [row]
    assert run(database, "SELECT count(*) AS rows FROM sorted") == [{"rows": 200_000}]


def test_a_transaction_that_is_rolled_back_leaves_nothing(database: Database) -> None:
    old = contents(database)
    with contextlib.closing(session(database)) as opened, opened.transaction(force_rollback=True):
        opened.execute("DELETE FROM numbers")
        row = opened.execute("SELECT * FROM refresh_materialized_view('m')").fetchone()
        assert row is not None
        assert (row["rows"], row["error"]) == (0, None)
        assert opened.execute("SELECT count(*) AS rows FROM m").fetchone() == {"rows": 0}

    assert (contents(database), log(database)) == (old, [])


def test_a_failure_leaves_the_callers_transaction_usable(database: Database) -> None:
    with contextlib.closing(session(database)) as opened, opened.transaction():
        opened.execute("INSERT INTO numbers VALUES (3, 'twice')")
        opened.execute("SELECT refresh_materialized_view('m')")
        opened.execute("DELETE FROM numbers WHERE value = 'twice'")
        opened.execute("SELECT refresh_materialized_view('m')")

    assert [(row["error"] or "")[:5] for row in log(database)] == ["23505", ""]


# -- two at once


@pytest.mark.parametrize(
    ("view", "error"),
    [
        pytest.param("SELECT 1 AS one, pg_sleep(0.2)::text AS slept", None, id="green"),
        pytest.param("SELECT 1 / (6 - 2 * max(key)) + length(pg_sleep(0.2)::text) FROM numbers", "22012", id="red"),
    ],
)
def test_refreshes_of_one_view_do_not_overlap(database: Database, view: str, error: str | None) -> None:
    run(database, f"CREATE MATERIALIZED VIEW slow AS {view} WITH NO DATA")
    waiting = [Waiting(database, "slow") for _ in range(4)]
    for each in waiting:
        each.start()
    for each in waiting:
        each.join(30)

    rows = log(database)
    assert [(row["error"] or "")[:5] or None for row in rows] == [error] * 4
    assert do_not_overlap(rows)
    assert all(row["finished_at"] for row in rows)


def test_the_second_waits_until_the_first_has_committed(database: Database) -> None:
    with contextlib.closing(session(database)) as first, first.transaction():
        row = first.execute("SELECT * FROM refresh_materialized_view('m')").fetchone() or {}
        second = Waiting(database, "m")
        second.start()
        until(database, second.pid, "advisory")
        (now,) = first.execute("SELECT clock_timestamp() AS now").fetchall()
    second.join(20)

    assert second.row["error"] is None
    assert row["finished_at"] < now["now"] < second.row["started_at"]


def test_refreshes_of_two_views_do_not_wait_for_each_other(database: Database) -> None:
    with contextlib.closing(session(database)) as other, other.transaction():
        other.execute("SELECT refresh_materialized_view('m')")
        assert call(database, "mv_realtime_revenue", lock_timeout="100 ms")["error"] is None


def test_a_deadlock_ends_with_one_row_red(database: Database) -> None:
    run(database, "CREATE MATERIALIZED VIEW n AS SELECT * FROM numbers")
    both_hold_one = threading.Barrier(2)

    def act(views: str) -> None:
        with contextlib.closing(session(database)) as opened, opened.transaction():
            opened.execute("SELECT refresh_materialized_view(%s::regclass, '20 s')", [views[0]])
            both_hold_one.wait(20)
            opened.execute("SELECT refresh_materialized_view(%s::regclass, '20 s')", [views[1]])

    threads = [threading.Thread(target=act, args=[views]) for views in ("mn", "nm")]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)

    assert sorted((row["error"] or "")[:5] for row in log(database)) == ["", "", "", "40P01"]


# -- who may


def test_an_application_is_told_neither_counts_nor_messages(database: Database) -> None:
    good = call(database, "m", "SET ROLE app_rw")
    run(database, "INSERT INTO numbers VALUES (3, 'secret')")
    bad = call(database, "m", "SET ROLE app_rw")

    assert {name: good[name] for name in NOT_FOR_OTHERS} == NOT_FOR_OTHERS
    assert (good["error"], bad["error"]) == (None, "23505")
    assert [row["rows"] for row in log(database)] == [3, None]
    assert log(database)[1]["error"].startswith("23505: ")


def test_who_may_do_what(databases: Databases, database: Database) -> None:
    with databases.maintenance() as superuser:
        superuser.execute("DROP ROLE IF EXISTS stranger")
        superuser.execute("CREATE ROLE stranger")
        superuser.execute("GRANT stranger TO gatebook_owner")
    try:
        for role in ("app_ro", "stranger"):
            statement(database, "42501", "SELECT refresh_materialized_view('m')", f"SET ROLE {role}")
        for role in ("app_rw", "app_ro", "stranger"):
            for sql in (
                "SELECT FROM mv_refresh_log",
                "DELETE FROM mv_refresh_log",
                "SELECT nextval('mv_refresh_log_id_seq')",
            ):
                statement(database, "42501", sql, f"SET ROLE {role}")
        for role in ("app_rw", "app_ro"):
            assert len(run(database, "SELECT 1 FROM mv_refresh_status", f"SET ROLE {role}")) == len(VIEWS) + 1
        statement(database, "42501", "SELECT 1 FROM mv_refresh_status", "SET ROLE stranger")
    finally:
        with databases.maintenance() as superuser:
            superuser.execute("DROP ROLE stranger")
    assert log(database) == []


def test_default_privileges_give_nobody_the_log(databases: Databases, legacy: Database) -> None:
    database = databases.copy(legacy)
    run(database, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, app_rw, app_ro")
    run(database, "ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC, app_rw, app_ro")
    run(database, "ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC, app_ro")
    with database.connect() as connection:
        migrations.upgrade(connection, databases.project, REVISION)
        found = catalog.snapshot(connection)
        connection.commit()

    grants = {name for kind, name in found if kind == "grant" and "refresh" in name}
    assert grants == {
        "mv_refresh_log to <owner>",
        "mv_refresh_log_id_seq to <owner>",
        "mv_refresh_status to <owner>",
        "mv_refresh_status to app_ro",
        "mv_refresh_status to app_rw",
    }
    statement(database, "42501", "SELECT refresh_materialized_view('mv_realtime_revenue')", "SET ROLE app_ro")
    databases.drop(database)


@pytest.mark.parametrize(
    ("arguments", "sqlstate"),
    [
        pytest.param("'numbers'", "42809", id="a table"),
        pytest.param("'mv_refresh_status'", "42809", id="a view"),
        pytest.param("'m_key_idx'", "42809", id="an index"),
        pytest.param("'nothing'", "42P01", id="nothing"),
        pytest.param("4711::oid", "42809", id="an oid of nothing"),
        pytest.param("NULL", "42809", id="NULL"),
        pytest.param("'m', NULL", "22004", id="no limit given"),
        pytest.param("'m', '-1 s'", "22023", id="a negative limit"),
        pytest.param("'m', '2 years'", "22023", id="a limit that no server takes"),
        pytest.param("'theirs'", "42501", id="a view of another owner"),
    ],
)
def test_what_is_refused_is_an_error_of_the_statement(
    databases: Databases, database: Database, arguments: str, sqlstate: str
) -> None:
    with databases.maintenance(database.name.removeprefix("embedded/")) as superuser:
        superuser.execute("CREATE MATERIALIZED VIEW theirs AS SELECT 1 AS one")

    for role in ("gatebook_owner", "app_rw"):
        statement(database, sqlstate, f"SELECT refresh_materialized_view({arguments})", f"SET ROLE {role}")
    assert log(database) == []


def test_a_fraction_of_a_millisecond_is_a_limit(database: Database) -> None:
    with contextlib.closing(session(database)) as other, other.transaction():
        other.execute("SELECT refresh_materialized_view('m')")
        assert (
            call(database, "m", "SET statement_timeout = '10s'", lock_timeout="1 microsecond")["error"][:5] == "55P03"
        )


def test_it_runs_as_the_owner_with_a_search_path_of_its_own(database: Database) -> None:
    (row,) = run(
        database,
        "SELECT prosecdef, provolatile, proconfig FROM pg_proc WHERE proname = 'refresh_materialized_view'",
    )

    assert (row["prosecdef"], row["provolatile"]) == (True, "v")
    assert row["proconfig"][0] == "search_path=pg_catalog, public, pg_temp"


# -- the status


def test_the_status_tells_age_and_trouble(database: Database) -> None:
    def of(view: str) -> dict[str, Any]:
        (row,) = run(database, f"SELECT * FROM mv_refresh_status WHERE view_name = '{view}'")
        return row

    never = {"refreshed_at": None, "age": None, "duration_ms": None, "last_attempt_at": None, "last_error": None}
    run(database, SLOW.format(seconds=0.05))
    assert of("m") == {"view_name": "m", "is_populated": True} | never
    assert of("slow") == {"view_name": "slow", "is_populated": False} | never

    done = call(database, "slow")
    row = of("slow")
    assert (row["is_populated"], row["refreshed_at"], row["last_error"]) == (True, done["finished_at"], None)
    assert row["last_attempt_at"] == done["started_at"]
    assert 50 <= row["duration_ms"] == round((done["finished_at"] - done["started_at"]) / timedelta(milliseconds=1))
    assert timedelta() < row["age"] < timedelta(minutes=1)

    run(database, "ALTER MATERIALIZED VIEW slow RENAME TO quick")
    assert of("quick")["refreshed_at"] is None


def test_the_status_after_a_failure_keeps_the_last_success(database: Database) -> None:
    good = call(database)
    run(database, "INSERT INTO numbers VALUES (3, 'secret')")
    bad = call(database)

    (row,) = run(database, "SELECT * FROM mv_refresh_status WHERE view_name = 'm'", "SET ROLE app_ro")
    assert (row["refreshed_at"], row["last_attempt_at"]) == (good["finished_at"], bad["started_at"])
    assert row["last_error"] == "23505"

    run(database, "DELETE FROM numbers WHERE value = 'secret'")
    call(database)
    (row,) = run(database, "SELECT * FROM mv_refresh_status WHERE view_name = 'm'")
    assert row["last_error"] is None


def test_who_gave_up_while_another_succeeded_is_no_trouble(database: Database) -> None:
    run(database, SLOW.format(seconds=0.6))
    waiting = Waiting(database, "slow")
    waiting.start()
    until(database, waiting.pid, "PgSleep")
    gave_up = call(database, "slow", lock_timeout="50 ms")
    waiting.join(20)

    assert (gave_up["error"][:5], waiting.row["error"]) == ("55P03", None)
    assert waiting.row["started_at"] < gave_up["started_at"] < waiting.row["finished_at"]
    (row,) = run(database, "SELECT * FROM mv_refresh_status WHERE view_name = 'slow'")
    assert (row["last_error"], row["refreshed_at"]) == (None, waiting.row["finished_at"])


def test_the_status_finds_its_rows_by_index(database: Database) -> None:
    plan = run(database, "EXPLAIN SELECT * FROM mv_refresh_status", "SET enable_seqscan = off")

    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert text.count("idx_mv_refresh_log_view_name") == 2
    assert text.count("Index Cond: (view_name = ") == 2


def test_the_questions_of_the_manual_can_be_asked(database: Database) -> None:
    call(database)
    text = (ROOT / "docs" / "refreshing.md").read_text("utf-8")
    trouble, durations = text.partition("```sql\n")[2].partition("```")[0].strip().removesuffix(";").split(";\n")

    assert {row["view_name"] for row in run(database, trouble)} == set(VIEWS)
    assert [row["view_name"] for row in run(database, durations)] == ["m"]


# -- the revision


def test_down_and_up_leave_the_catalog_as_it_was(databases: Databases, refreshable: Database) -> None:
    database = databases.copy(refreshable)
    call(database, "mv_realtime_revenue")
    with database.connect() as connection:
        at = catalog.snapshot(connection)
        migrations.downgrade(connection, databases.project, BEFORE)
        below = catalog.snapshot(connection)
        migrations.upgrade(connection, databases.project, REVISION)
        assert catalog.snapshot(connection) == at
        migrations.downgrade(connection, databases.project, BEFORE)
        assert catalog.snapshot(connection) == below
        connection.commit()
    made = {name.partition(".")[0].partition(" ")[0] for _, name in at.keys() - below.keys()}
    assert made == {
        "mv_refresh_log",
        "mv_refresh_log_id_seq",
        "mv_refresh_status",
        "refresh_materialized_view(regclass,interval)",
    }
    assert all(below[key] == at[key] for key in below)
    databases.drop(database)


def test_everything_it_makes_carries_a_comment(refreshable: Database) -> None:
    with refreshable.connect() as connection:
        found = {key: value for key, value in catalog.snapshot(connection).items() if "refresh" in key[1]}
    described = {key: value["comment"] for key, value in found.items() if "comment" in value}

    assert [key for key, comment in described.items() if not comment] == []
    wrong = [
        key
        for key, comment in described.items()
        if key[0] == "column" and not comment.startswith(("INVARIANT: none. ", "INVARIANT: analytics_important. "))
    ]
    assert wrong == []
    refreshable.engine.dispose()


def test_a_view_that_others_built_upon_is_not_dropped_along(databases: Databases, refreshable: Database) -> None:
    database = databases.copy(refreshable)
    run(database, "CREATE VIEW theirs AS SELECT view_name FROM mv_refresh_log")
    with (
        database.connect() as connection,
        pytest.raises(migrations.MigrationFailed, match="2BP01"),
    ):
        migrations.downgrade(connection, databases.project, BEFORE)
    assert len(run(database, "SELECT 1 FROM mv_refresh_status")) == len(VIEWS)
    databases.drop(database)


# -- the module


def test_refresh_goes_on_after_a_failure(database: Database) -> None:
    run(database, "INSERT INTO numbers VALUES (3, 'twice')")

    done = refresh.refresh(database, ["m", "numbers", "mv_realtime_revenue"])

    assert [each.view for each in done] == ["m", "numbers", "mv_realtime_revenue"]
    assert [(each.error or "")[:6] for each in done] == ["23505:", "42809:", ""]
    assert [each.seconds is None for each in done] == [False, True, False]
    assert done[1].error == "42809: numbers is not a materialized view"
    (row,) = (row for row in log(database) if row["error"] is None)
    assert (done[2].rows, done[2].contents_checksum, done[2].was_concurrent) == (
        row["rows"], row["contents_checksum"], True,
    )  # fmt: skip


def test_refresh_sets_both_limits(database: Database) -> None:
    run(database, SLOW.format(seconds=30))
    with contextlib.closing(session(database)) as other:
        other.execute("SELECT pg_advisory_lock(20251115, hashtext('m'))")
        done = refresh.refresh(database, ["m", "slow"], lock_timeout_ms=50, statement_timeout_ms=400)

    assert [(each.error or "").partition(":")[0] for each in done] == ["55P03", "57014"]
    assert [each.seconds is None for each in done] == [True, False]


def test_refresh_says_when_the_connection_is_lost(databases: Databases, database: Database) -> None:
    run(database, SLOW.format(seconds=30))
    failures: list[Exception] = []

    def act() -> None:
        try:
            refresh.refresh(database, ["slow", "m"])
        except ConnectionFailed as error:
            failures.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    asleep = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    found = wait_for(lambda: run(database, asleep))
    with databases.maintenance() as superuser:
        superuser.execute("SELECT pg_terminate_backend(%s)", [found[0]["pid"]])
    thread.join(20)

    assert "the connection was lost while slow was refreshed" in str(failures[0])
    assert log(database) == []


def wait_for(what: Callable[[], Any]) -> Any:
    for _ in range(200):
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_an_interrupt_cancels_the_statement_on_the_server(database: Database) -> None:
    run(database, SLOW.format(seconds=60))
    words = [sys.executable, "-m", "gatebook", "refresh", "slow", "m", "--database", database.name]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        asleep = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        (found,) = wait_for(lambda: run(database, asleep))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

    assert process.returncode == 130
    assert run(database, f"SELECT 1 FROM pg_stat_activity WHERE pid = {found['pid']} AND state = 'active'") == []
    assert [row["error"] for row in log(database)] == ["57014: canceling statement due to user request"]


def test_views_come_after_those_they_read(database: Database) -> None:
    run(database, "CREATE MATERIALIZED VIEW c AS SELECT * FROM m")
    run(database, "CREATE VIEW between AS SELECT * FROM c")
    run(database, "CREATE MATERIALIZED VIEW b AS SELECT a.* FROM between AS a, mv_realtime_revenue")
    run(database, 'CREATE MATERIALIZED VIEW "A a" AS SELECT * FROM b')

    with database.connect() as connection:
        found = refresh.views(connection)

    assert found.index("m") < found.index("c") < found.index("b") < found.index('"A a"')
    assert sorted(found) == sorted([*VIEWS, "m", "c", "b", '"A a"'])


def test_last_is_the_newest_success(database: Database) -> None:
    with database.connect() as connection:
        assert refresh.last(connection, "m") is None
        assert refresh.last(connection, "nothing") is None
    call(database)
    good = call(database)
    run(database, "INSERT INTO numbers VALUES (3, 'twice')")
    call(database)

    with database.connect() as connection:
        assert refresh.last(connection, "m") == Recorded(
            refreshed_at=good["finished_at"],
            rows=3,
            contents_checksum=good["contents_checksum"],
            definition_md5=good["definition_md5"],
        )
        assert refresh.last(connection, "mv_realtime_revenue") is None


def test_the_log_is_read_newest_first_and_bounded(database: Database) -> None:
    for view in ("m", "mv_realtime_revenue", "m"):
        call(database, view)

    with database.connect() as connection:
        rows = refresh.log(connection)
        assert [row["view_name"] for row in rows] == ["m", "mv_realtime_revenue", "m"]
        assert list(rows[0]) == [
            "view_name", "started_at", "finished_at", "rows", "was_concurrent", "requested_by", "error",
        ]  # fmt: skip
        assert len(refresh.log(connection, "m")) == 2
        assert len(refresh.log(connection, limit=1)) == 1
        assert refresh.log(connection, "nothing") == ()


@pytest.mark.parametrize("read", [refresh.log, refresh.status, refresh.require], ids=lambda each: each.__name__)
def test_a_database_without_the_function_is_told_what_it_lacks(legacy: Database, read: Callable[[Any], object]) -> None:
    with legacy.connect() as connection:
        assert refresh.last(connection, "mv_realtime_revenue") is None
        with pytest.raises(ConfigurationError) as raised:
            read(connection)

    assert "no function refresh_materialized_view(regclass, interval), no table mv_refresh_log" in str(raised.value)
    assert "docs/refreshing.md" in str(raised.value)
    with pytest.raises(ConfigurationError):
        refresh.refresh(legacy, ["mv_realtime_revenue"])
    legacy.engine.dispose()


# -- the command


def test_the_command_refreshes_all(database: Database, command: Command) -> None:
    run(database, "INSERT INTO numbers VALUES (4, 'four')")

    done = command("refresh", "--database", database.name)

    assert (done.code, done.err) == (0, "")
    for view in [*VIEWS, "m"]:
        (line,) = (line for line in done.out.splitlines() if f" {view} " in line)
        assert "✓ PASS" in line
        assert "yes" in line
        assert "0:00:0" in line
    assert len(log(database)) == len(VIEWS) + 1
    assert len(contents(database)) == 4


def test_the_command_names_what_failed_and_goes_on(database: Database, command: Command) -> None:
    call(database)
    run(database, "INSERT INTO numbers VALUES (3, '[red]twice[/]')")

    done = command("refresh", "m", "mv_realtime_revenue", "--database", database.name)

    assert (done.code, done.err) == (1, "")
    assert '✗ FAIL m keeps its contents: 23505: duplicate key value violates unique constraint "m_key_idx"' in done.out
    assert "✓ PASS   mv_realtime_revenue" in done.out
    assert VIEWS[0] not in done.out


def test_the_command_keeps_to_its_limits(database: Database, command: Command) -> None:
    run(database, SLOW.format(seconds=30))

    done = command("refresh", "slow", "--database", database.name, "--statement-timeout-ms", "100")

    assert done.code == 1
    assert "57014: canceling statement due to statement timeout" in done.out


def test_the_command_shows_the_status(database: Database, command: Command) -> None:
    call(database)
    done = command("refresh", "--status", "--database", database.name)
    assert (done.code, done.err) == (0, "")
    (line,) = (line for line in done.out.splitlines() if " m " in line)
    assert "0:00:0" in line

    run(database, "INSERT INTO numbers VALUES (3, 'twice')")
    call(database)
    assert len(log(database)) == 2
    done = command("refresh", "m", "--status", "--database", database.name)
    assert done.code == 1
    assert "✗ FAIL   m " in done.out
    assert "23505" in done.out
    assert VIEWS[0] not in done.out
    assert command("refresh", VIEWS[0], "--status", "--database", database.name).code == 0
    assert len(log(database)) == 2


def test_a_view_that_cannot_be_read_is_trouble(database: Database, command: Command) -> None:
    run(database, SLOW.format(seconds=0))

    done = command("refresh", "slow", "--status", "--database", database.name)

    assert done.code == 1
    assert "not populated" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["mv_realtime_revenu"], "mv_realtime_revenu (did you mean 'mv_realtime_revenue'?)", id="typo"),
        pytest.param(["numbers"], "the database has no materialized view numbers", id="a table"),
        pytest.param(["m", "--status", "--schedule"], "exclude each other", id="two things at once"),
        pytest.param(["--schedule", "--unschedule"], "exclude each other", id="both ways"),
    ],
)
def test_wrong_use_is_refused(database: Database, command: Command, words: list[str], said: str) -> None:
    assert_refused(command("refresh", *words, "--database", database.name), said)
    assert log(database) == []


def test_databases_without_views_or_function_are_refused(
    databases: Databases, legacy_copy: Database, command: Command
) -> None:
    empty = databases.empty()

    assert_refused(command("refresh", "--database", empty.name), "the database has no materialized view")
    for words in ([], ["--status"]):
        assert_refused(
            command("refresh", *words, "--database", legacy_copy.name),
            "the database has no function refresh_materialized_view(regclass, interval)",
            "docs/refreshing.md",
        )
    databases.drop(empty)


# -- schedules without pg_cron


def test_without_pg_cron_crontab_lines_are_printed(database: Database, command: Command) -> None:
    done = command("refresh", "m", "mv_daily_revenue_summary", "--schedule", "--database", database.name)

    assert done.code == 0
    assert done.err.startswith("the extension pg_cron is not installed in this database. A crontab with these lines")
    lines = done.out.splitlines()
    assert [line[: line.index("GATEBOOK")] for line in lines] == ["0 * * * * ", "5 * * * * "]
    assert all(f"--database {database.name} " in line for line in lines)
    assert log(database) == []
    unscheduled = command("refresh", "--unschedule", "--database", database.name)
    assert (unscheduled.code, unscheduled.out.strip()) == (0, "pg_cron has no job of these views")


def test_a_crontab_line_runs_as_cron_would_run_it(database: Database, project: Project, tmp_path: Path) -> None:
    run(database, 'CREATE MATERIALIZED VIEW "It\'s 100% odd" AS SELECT * FROM numbers')
    line = refresh.crontab(project, database.name, {'"It\'s 100% odd"': "*/5 1-3 * JAN,MAR 0"})
    schedule, command = line[: line.index("GATEBOOK")], line[line.index("GATEBOOK") :]

    assert schedule == "*/5 1-3 * JAN,MAR 0 "
    assert r"100\% odd" in command
    bare = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")],
        cwd=tmp_path,
        env=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["view_name"] for row in log(database)] == ['"It\'s 100% odd"']


def test_a_crontab_for_a_variable_says_that_cron_does_not_know_it(project: Project) -> None:
    text = refresh.crontab(project, "DATABASE_URL", {"m": "@hourly"}, lock_timeout_ms=1, statement_timeout_ms=2)

    first, second = text.splitlines()
    assert first == "# Set DATABASE_URL in the crontab too: cron does not know the shell's variables."
    assert second.startswith("@hourly GATEBOOK_PROJECT=/")
    assert second.endswith(" refresh m --database DATABASE_URL --lock-timeout-ms 1 --statement-timeout-ms 2")


@pytest.mark.parametrize(
    ("view", "expression"),
    [
        pytest.param("m", "", id="empty"),
        pytest.param("m", "* * * *", id="four fields"),
        pytest.param("m", "* * * * * rm -rf", id="a command"),
        pytest.param("m", "* * * * *\n* * * * * true", id="two lines"),
        pytest.param("m", "0 * * * $(date)", id="a substitution"),
        pytest.param('"two\nlines"', "0 * * * *", id="a view of two lines"),
    ],
)
def test_what_is_no_schedule_gets_no_line(project: Project, view: str, expression: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be scheduled"):
        refresh.crontab(project, "embedded", {view: expression})


def test_the_limit_of_a_job_holds_for_its_statement(database: Database) -> None:
    """As one message, the way in which pg_cron sends it over a connection."""
    run(database, SLOW.format(seconds=30))

    run(database, refresh.job_command("slow", lock_timeout_ms=5_000, statement_timeout_ms=200))

    assert [row["error"] for row in log(database)] == ["57014: canceling statement due to statement timeout"]


def test_schedules_need_pg_cron(database: Database) -> None:
    with database.connect() as connection:
        assert refresh.no_pg_cron(connection) == "the extension pg_cron is not installed in this database"
        assert refresh.scheduled(connection) == ()
        assert refresh.unschedule(connection) == []
        with pytest.raises(ConfigurationError, match="pg_cron is not installed"):
            refresh.schedule(connection, {"m": "0 * * * *"})
