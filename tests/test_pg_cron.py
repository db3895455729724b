"""Refreshes on a schedule by pg_cron, while others refresh the same views on demand.

pg_cron before 1.5 knows no seconds, so these tests wait for the next full minute, once for all. Both ways in which
it runs jobs are tried at the same time: over a connection, as by default, and in background workers.
"""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import postgres
from command import Command
from gatebook import catalog, migrations, refresh
from gatebook.database import Database, open_database
from gatebook.errors import ConfigurationError
from gatebook.project import Project

REVISION = "202511151520"
WORKERS = {"connection": "off", "worker": "on"}  # cron.use_background_workers
EVERY_VIEW = ["mv_channel_performance", "mv_daily_revenue_summary", "mv_realtime_revenue", "mv_reconciliation_status"]
OWN = """
    CREATE MATERIALIZED VIEW slow AS SELECT 1 AS one, pg_sleep(0.3)::text AS slept WITH NO DATA;
    CREATE MATERIALIZED VIEW stuck AS SELECT 1 AS one, pg_sleep(60)::text AS slept WITH NO DATA;
"""
JOBS = ["mv_realtime_revenue", "slow", "stuck"]
PATIENCE_S = 150


@dataclass
class Cron:
    """A server with pg_cron, and what happened on it."""

    server: postgres.Server
    database: Database
    before_the_grant: str = ""
    first: list[dict[str, Any]] = field(default_factory=list)
    second: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """As the superuser."""
        with psycopg.connect(self.server.url(postgres.SUPERUSER), autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def schedule(self, **entries: str) -> list[dict[str, Any]]:
        with self.database.connect() as connection:
            rows = refresh.schedule(connection, entries, statement_timeout_ms=1_000)
            connection.commit()
        return [dict(row) for row in rows]


@pytest.fixture(scope="module")
def version() -> int:
    version = postgres.installed_version()
    if not postgres.has_extension(version, "pg_cron"):
        pytest.skip(f"pg_cron is not installed: apt-get install postgresql-{version}-cron")
    return version


@pytest.fixture(scope="module")
def crons(version: int, project: Project) -> Iterator[dict[str, Cron]]:
    """Both servers, after a minute in which jobs and on-demand refreshes ran side by side."""
    with ExitStack() as stack:
        started = {mode: start(stack, version, mode, project) for mode in WORKERS}
        for cron in started.values():
            every = every_moment(cron)
            cron.first = cron.schedule(**dict.fromkeys(JOBS, "0 0 1 1 *"))
            cron.second = cron.schedule(**dict.fromkeys(JOBS, every))
        threads = [threading.Thread(target=refresh_until_jobs_ran, args=[cron]) for cron in started.values()]
        for each in threads:
            each.start()
        for each in threads:
            each.join(PATIENCE_S + 10)
        yield started
        for cron in started.values():
            cron.database.close()


def start(stack: ExitStack, version: int, mode: str, project: Project) -> Cron:
    settings = {
        "shared_preload_libraries": "pg_cron",
        "cron.database_name": postgres.DATABASE,
        "cron.host": "127.0.0.1",
    }
    settings["cron.use_background_workers"] = WORKERS[mode]
    server = stack.enter_context(postgres.serving(version=version, settings=settings))
    os.environ[f"CRON_{mode.upper()}"] = server.url()
    cron = Cron(server, open_database(f"CRON_{mode.upper()}", project=project))
    cron.ask("CREATE EXTENSION pg_cron")
    with cron.database.connect() as connection:
        migrations.upgrade(connection, project, REVISION)
        catalog.execute(connection, OWN)
        cron.before_the_grant = refresh.no_pg_cron(connection)
        connection.commit()
    cron.ask(f"GRANT USAGE ON SCHEMA cron TO {postgres.OWNER}")
    if mode == "connection":  # pg_cron gives no password, and connects without TLS
        trust = f"host {postgres.DATABASE} {postgres.OWNER} 127.0.0.1/32 trust"
        everyone = "hostssl all all 127.0.0.1/32 scram-sha-256"
        (path,) = cron.ask("SHOW hba_file")
        cron.ask(f"COPY (VALUES ('{trust}'), ('{everyone}')) TO '{path['hba_file']}'")
        cron.ask("SELECT pg_reload_conf()")
    else:  # where a limit that the job itself sets comes too late
        cron.ask(f"ALTER ROLE {postgres.OWNER} IN DATABASE {postgres.DATABASE} SET statement_timeout = '1s'")
    return cron


def every_moment(cron: Cron) -> str:
    (row,) = cron.ask("SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'")
    major, minor = row["extversion"].split("-")[0].split(".")[:2]
    return "2 seconds" if (int(major), int(minor)) >= (1, 5) else "* * * * *"


def refresh_until_jobs_ran(cron: Cron) -> None:
    """On demand, one refresh after the other, by the superuser: the log tells them apart from those of the jobs."""
    end = time.monotonic() + PATIENCE_S
    by_jobs: set[str] = set()
    while time.monotonic() < end and not by_jobs >= set(JOBS):
        cron.ask("SELECT refresh_materialized_view('slow', '20 s')")
        rows = cron.ask(f"SELECT view_name FROM mv_refresh_log WHERE requested_by = '{postgres.OWNER}'")
        by_jobs = {row["view_name"] for row in rows}
    cron.log = cron.ask("SELECT * FROM mv_refresh_log ORDER BY id")
    cron.runs = cron.ask("SELECT command, status FROM cron.job_run_details WHERE status <> 'running'")


modes = pytest.mark.parametrize("mode", WORKERS)


@modes
def test_jobs_run_and_write_the_log(crons: dict[str, Cron], mode: str) -> None:
    cron = crons[mode]
    by_jobs = [row for row in cron.log if row["requested_by"] == postgres.OWNER]

    assert {row["view_name"] for row in by_jobs} == set(JOBS)
    green = {row["view_name"] for row in by_jobs if row["error"] is None}
    assert green == {"mv_realtime_revenue", "slow"}
    assert cron.runs != []
    assert {run["status"] for run in cron.runs} == {"succeeded"}


@modes
def test_jobs_and_refreshes_on_demand_do_not_overlap(crons: dict[str, Cron], mode: str) -> None:
    rows = [row for row in crons[mode].log if row["view_name"] == "slow" and row["finished_at"]]

    assert {row["requested_by"] for row in rows} == {postgres.OWNER, postgres.SUPERUSER}
    assert [row["error"] for row in rows] == [None] * len(rows)
    intervals = sorted((row["started_at"], row["finished_at"]) for row in rows)
    assert [pair for pair in itertools.pairwise(intervals) if pair[1][0] < pair[0][1]] == []


@modes
def test_a_job_that_takes_too_long_is_ended(crons: dict[str, Cron], mode: str) -> None:
    """Over a connection by the job's own limit; in a worker, which arms its timer before that, by the role's."""
    (row, *_) = (row for row in crons[mode].log if row["view_name"] == "stuck")

    assert row["error"] == "57014: canceling statement due to statement timeout"
    assert 0.9 < (row["finished_at"] - row["started_at"]).total_seconds() < 20


@modes
def test_scheduling_again_changes_the_jobs(crons: dict[str, Cron], mode: str) -> None:
    cron = crons[mode]

    assert [row["view"] for row in cron.first] == [row["view"] for row in cron.second] == JOBS
    assert [row["jobid"] for row in cron.first] == [row["jobid"] for row in cron.second]
    assert {row["schedule"] for row in cron.first} == {"0 0 1 1 *"}
    assert {row["schedule"] for row in cron.second} == {every_moment(cron)}
    assert cron.second[1]["command"] == (
        "SET statement_timeout = 1000; SELECT refresh_materialized_view('slow', '5000 ms')"
    )


def test_who_may_not_use_it_is_told_how(crons: dict[str, Cron]) -> None:
    assert crons["worker"].before_the_grant == (
        f"role {postgres.OWNER} may not use pg_cron: GRANT USAGE ON SCHEMA cron TO {postgres.OWNER}"
    )


@pytest.mark.parametrize("expression", ["99 * * * *", "now", ""])
def test_an_expression_that_is_none_changes_nothing(crons: dict[str, Cron], expression: str) -> None:
    cron = crons["worker"]
    with cron.database.connect() as connection:
        before = refresh.scheduled(connection)
        with pytest.raises(ConfigurationError, match="pg_cron refuses to schedule slow at"):
            refresh.schedule(connection, {"stuck": "1 1 1 1 1", "slow": expression})
        connection.rollback()
        assert refresh.scheduled(connection) == before


def test_the_command_schedules_and_takes_away(crons: dict[str, Cron], command: Command) -> None:
    """The contract's hours for its views, the default for others; jobs that are not ours stay."""
    cron = crons["worker"]
    others = "SELECT jobname FROM cron.job WHERE jobname NOT LIKE 'gatebook: %' ORDER BY 1"
    cron.ask("SELECT cron.schedule('of somebody else', '0 0 1 1 *', 'SELECT 1')")
    with cron.database.connect() as connection:
        catalog.execute(connection, "SELECT cron.schedule('our own', '0 0 1 1 *', 'SELECT 1')")
        catalog.execute(connection, 'CREATE MATERIALIZED VIEW "It\'s odd" AS SELECT 1 AS one')
        connection.commit()

    done = command("refresh", "--schedule", "--database", "CRON_WORKER", "--lock-timeout-ms", "7")
    assert (done.code, done.err) == (0, "")
    with cron.database.connect() as connection:
        jobs = {row["view"]: row for row in refresh.scheduled(connection)}
    assert sorted(jobs) == sorted(['"It\'s odd"', *EVERY_VIEW, "slow", "stuck"])
    assert jobs["mv_daily_revenue_summary"]["schedule"] == "5 * * * *"
    assert jobs["slow"]["schedule"] == "0 * * * *"
    assert jobs['"It\'s odd"']["command"].endswith("""refresh_materialized_view('"It''s odd"', '7 ms')""")
    assert "pg_cron: 5 * * * *      mv_daily_revenue_summary" in done.out

    cron.ask(jobs['"It\'s odd"']["command"])
    (row,) = cron.ask("SELECT * FROM mv_refresh_log WHERE view_name LIKE '%odd%'")
    assert row["error"] is None

    with cron.database.connect() as connection:
        catalog.execute(connection, "DROP MATERIALIZED VIEW stuck")
        connection.commit()
    done = command("refresh", "stuck", "slow", "--unschedule", "--database", "CRON_WORKER")
    assert (done.code, done.out.strip()) == (0, "taken away from pg_cron: slow, stuck")
    done = command("refresh", "--unschedule", "--database", "CRON_WORKER")
    assert done.code == 0
    assert cron.ask("SELECT FROM cron.job WHERE jobname LIKE 'gatebook: %'") == []
    assert [row["jobname"] for row in cron.ask(others)] == ["of somebody else", "our own"]
