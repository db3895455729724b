"""Refreshing materialized views through the one function of the database that does it, its log, and schedules.

The database brings refresh_materialized_view(regclass, interval), mv_refresh_log and mv_refresh_status; what they
have to do stands in docs/refreshing.md. The function keeps two refreshes of a view from overlapping and writes down
what it did, whoever calls it: these commands, an application, pg_cron, people.
"""

import re
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row

from gatebook import catalog
from gatebook.catalog import Query, Rows
from gatebook.compare import Recorded
from gatebook.database import EMBEDDED, Database
from gatebook.declarations import near_miss
from gatebook.errors import ConfigurationError, ConnectionFailed
from gatebook.migrations import LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS
from gatebook.project import HOME_VARIABLE, PROJECT_VARIABLE, Project

DEFAULT_SCHEDULE = "0 * * * *"
JOB_PREFIX = "gatebook: "  # of the names of jobs: what else pg_cron runs is never touched
CRONTAB_SCHEDULE = re.compile(r"@[a-z]+|[\w*/,-]+(?: +[\w*/,-]+){4}", re.ASCII)
LOG_ROWS = 50

# Row shape: one row for each object that is not there: missing
MISSING = """
SELECT wanted.name AS missing
  FROM (VALUES ('function refresh_materialized_view(regclass, interval)',
                pg_catalog.to_regprocedure('refresh_materialized_view(regclass, interval)') IS NULL),
               ('table mv_refresh_log', pg_catalog.to_regclass('mv_refresh_log') IS NULL),
               ('view mv_refresh_status', pg_catalog.to_regclass('mv_refresh_status') IS NULL)) wanted (name, lacks)
 WHERE wanted.lacks ORDER BY 1
"""

# A view that reads another one comes after it. The limit is for views that read each other in a circle.
VIEWS = (
    catalog.RELATIONS
    + """
SELECT o.name AS view
  FROM ours o
 WHERE o.relkind = 'm'
 ORDER BY (WITH RECURSIVE source (oid, depth) AS (
             SELECT o.oid, 0
              UNION
             SELECT d.refobjid, s.depth + 1
               FROM source s
               JOIN pg_catalog.pg_rewrite r ON r.ev_class = s.oid
               JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                    AND d.objid = r.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
              WHERE d.refobjid <> s.oid AND s.depth < 32)
           SELECT pg_catalog.max(depth) FROM source), o.name
"""
)

REFRESH = "SELECT * FROM refresh_materialized_view(%(view)s::pg_catalog.regclass, %(lock_timeout)s)"

LAST = """
SELECT finished_at AS refreshed_at, rows, contents_checksum, definition_md5
  FROM mv_refresh_log
 WHERE view_name = pg_catalog.to_regclass(%(view)s)::text AND error IS NULL AND finished_at IS NOT NULL
 ORDER BY started_at DESC, id DESC
 LIMIT 1
"""

LOG = """
SELECT view_name, started_at, finished_at, rows, was_concurrent, requested_by, error
  FROM mv_refresh_log
 WHERE view_name = pg_catalog.to_regclass(%(view)s)::text OR %(view)s::text IS NULL
 ORDER BY id DESC
 LIMIT %(limit)s
"""

STATUS = """
SELECT view_name, is_populated, refreshed_at, age, duration_ms, last_attempt_at, last_error
  FROM mv_refresh_status ORDER BY view_name
"""


@dataclass(frozen=True)
class Refreshed:
    """One attempt to refresh a view: the row that the log holds of it.

    rows, contents_checksum  None when it failed, and for a role that is not the owner of the view
    finished_at              None when it did not begin: another refresh of the view ran for longer than the limit
    error                    SQLSTATE and message; the view then holds what it held before
    """

    view: str
    error: str | None = None
    rows: int | None = None
    contents_checksum: str | None = None
    was_concurrent: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def seconds(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


def views(connection: sa.Connection) -> list[str]:
    """The materialized views of the database, in an order in which each is refreshed after those it reads."""
    return [str(row["view"]) for row in Query(VIEWS).run(connection)]


def select(connection: sa.Connection, names: Collection[str], *, with_jobs: bool = False) -> list[str]:
    """The named views in the order of views(), or all of them.

    with_jobs  also those that are gone and still have a job
    Errors     ConfigurationError for a name that the database does not have, or where it has none at all
    """
    known = views(connection)
    if with_jobs:
        known += [str(row["view"]) for row in scheduled(connection) if row["view"] not in known]
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        said = f" {unknown[0]}{near_miss(unknown[0], known)}" if unknown else ""
        raise ConfigurationError(
            f"the database has no materialized view{said}",
            where=_where(connection),
            next_step=f"name one of: {', '.join(known)}" if known else "check that it is the database you mean",
        )
    return [name for name in known if name in names or not names]


def refresh(
    database: Database,
    views: Iterable[str],
    *,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
) -> list[Refreshed]:
    """Refresh one view after the other, each in a transaction of its own; a failure does not stop the next.

    views   as in SQL: quoted where they must be
    Errors  ConfigurationError where the database has no function for it, ConnectionFailed. An interrupt cancels the
            statement on the server, which keeps the old contents.
    """
    with database.connect() as connection:
        require(connection)
    with closing(database.open_session()) as session:
        session.autocommit = True
        session.execute(f"SET statement_timeout = {int(statement_timeout_ms)}")
        return [_refresh(session, database, view, timedelta(milliseconds=lock_timeout_ms)) for view in views]


def _refresh(session: psycopg.Connection[Any], database: Database, view: str, lock_timeout: timedelta) -> Refreshed:
    try:
        with session.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(REFRESH, {"view": view, "lock_timeout": lock_timeout}).fetchone() or {}
    except psycopg.Error as error:
        if session.closed:
            raise ConnectionFailed(
                f"the connection was lost while {view} was refreshed; it holds what it held before",
                where=str(database),
                next_step="look into the server's log, then refresh again",
            ) from error
        return Refreshed(view, error=f"{error.sqlstate}: {error.diag.message_primary}")
    wanted = ("error", "rows", "contents_checksum", "was_concurrent", "started_at", "finished_at")
    return Refreshed(view, **{name: row[name] for name in wanted})


def last(connection: sa.Connection, view: str) -> Recorded | None:
    """The last refresh of a view that succeeded; None where none is on record, or nothing keeps a record."""
    if any(row["missing"] == "table mv_refresh_log" for row in Query(MISSING).run(connection)):
        return None
    rows = Query(LAST, {"view": view}).run(connection)
    return Recorded(**rows[0]) if rows else None


def log(connection: sa.Connection, view: str | None = None, *, limit: int = LOG_ROWS) -> Rows:
    """The newest attempts, those that ended last first; only the owner of the log may read it.

    Shape  view_name, started_at, finished_at, rows, was_concurrent, requested_by, error
    """
    require(connection)
    return Query(LOG, {"view": view, "limit": limit}).run(connection)


def status(connection: sa.Connection) -> Rows:
    """How old each view is, and whether its last refresh failed.

    Shape  view_name, is_populated, refreshed_at, age, duration_ms, last_attempt_at, last_error (a SQLSTATE)
    """
    require(connection)
    return Query(STATUS).run(connection)


def require(connection: sa.Connection) -> None:
    """Errors  ConfigurationError naming what the database lacks for refreshing"""
    missing = [str(row["missing"]) for row in Query(MISSING).run(connection)]
    if missing:
        raise ConfigurationError(
            f"the database has no {', no '.join(missing)}",
            where=_where(connection),
            next_step="upgrade it to a revision that makes them; docs/refreshing.md says what they have to do",
        )


def _where(connection: sa.Connection) -> str:
    return f"database {catalog.execute(connection, 'SELECT pg_catalog.current_database()').scalar_one()}"


# -- schedules

PG_CRON = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_cron') AS is_installed,
       coalesce(pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace('cron'), 'USAGE'), false) AS may_use,
       current_user::text AS role
"""

SCHEDULED = """
SELECT j.jobid, pg_catalog.substr(j.jobname::text, pg_catalog.length(%(prefix)s::text) + 1) AS view, j.schedule,
       j.active AS is_active, j.command
  FROM cron.job j
 WHERE pg_catalog.starts_with(j.jobname::text, %(prefix)s) AND j.username = current_user
   AND j.database = pg_catalog.current_database()
 ORDER BY view
"""


def no_pg_cron(connection: sa.Connection) -> str:
    """Why pg_cron cannot run refreshes of this database for this role; empty when it can."""
    (found,) = Query(PG_CRON).run(connection)
    if not found["is_installed"]:
        return "the extension pg_cron is not installed in this database"
    if not found["may_use"]:
        return f"role {found['role']} may not use pg_cron: GRANT USAGE ON SCHEMA cron TO {found['role']}"
    return ""


def scheduled(connection: sa.Connection) -> Rows:
    """The jobs of pg_cron that refresh views of this database for this role.

    Shape  jobid, view, schedule, is_active, command; none where pg_cron cannot be used
    """
    return () if no_pg_cron(connection) else Query(SCHEDULED, {"prefix": JOB_PREFIX}).run(connection)


def schedule(
    connection: sa.Connection,
    entries: Mapping[str, str],
    *,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
) -> Rows:
    """One job of pg_cron for each view, made anew or changed; the caller commits. Returns all scheduled().

    entries  view -> cron expression, as pg_cron takes it
    Errors   ConfigurationError where pg_cron cannot be used or refuses an expression
    """
    require(connection)
    problem = no_pg_cron(connection)
    if problem:
        raise ConfigurationError(problem, where="pg_cron", next_step="use crontab lines instead")
    for view, expression in entries.items():
        command = job_command(view, lock_timeout_ms=lock_timeout_ms, statement_timeout_ms=statement_timeout_ms)
        job = {"name": f"{JOB_PREFIX}{view}", "schedule": expression, "command": command}
        try:
            catalog.execute(connection, "SELECT cron.schedule(%(name)s, %(schedule)s, %(command)s)", job)
        except sa.exc.DBAPIError as error:
            raise ConfigurationError(
                f"pg_cron refuses to schedule {view} at {expression!r}: {str(error.orig).splitlines()[0]}",
                where="pg_cron",
                next_step="give minute, hour, day of the month, month and day of the week, such as '0 * * * *'",
            ) from error
    return scheduled(connection)


def unschedule(connection: sa.Connection, views: Collection[str] | None = None) -> list[str]:
    """Remove the jobs of these views, or of all; the views that had one. The caller commits."""
    found = [row for row in scheduled(connection) if views is None or row["view"] in views]
    for row in found:
        catalog.execute(connection, "SELECT cron.unschedule(%(job)s::bigint)", {"job": row["jobid"]})
    return [str(row["view"]) for row in found]


def job_command(view: str, *, lock_timeout_ms: int, statement_timeout_ms: int) -> str:
    """What a job of pg_cron runs: a statement cannot limit its own time, so the limit comes before it."""
    literal = view.replace("'", "''")
    return (
        f"SET statement_timeout = {int(statement_timeout_ms)}; "
        f"SELECT refresh_materialized_view('{literal}', '{int(lock_timeout_ms)} ms')"
    )


def crontab(
    project: Project,
    database: str,
    entries: Mapping[str, str],
    *,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
) -> str:
    """The same schedule as lines for `crontab -e`, where the database has no pg_cron. Nothing is written anywhere.

    Errors  ConfigurationError for an expression that is none: whatever follows it in the line would run
    """
    limits = f"--lock-timeout-ms {int(lock_timeout_ms)} --statement-timeout-ms {int(statement_timeout_ms)}"
    folders = {PROJECT_VARIABLE: project.root, HOME_VARIABLE: project.home}
    settings = " ".join(f"{name}={shlex.quote(str(path))}" for name, path in folders.items())
    is_embedded = database == EMBEDDED or database.startswith(f"{EMBEDDED}/")
    lines = [] if is_embedded else [f"# Set {database} in the crontab too: cron does not know the shell's variables."]
    for view, expression in entries.items():
        if not CRONTAB_SCHEDULE.fullmatch(expression) or not view.isprintable():
            raise ConfigurationError(
                f"{view!r} cannot be scheduled at {expression!r} by a crontab",
                where="crontab",
                next_step="give minute, hour, day of the month, month and day of the week, such as '0 * * * *'",
            )
        words = [sys.executable, "-m", "gatebook", "refresh", view, "--database", database]
        command = f"{settings} {shlex.join(words)} {limits}".replace("%", r"\%")  # cron ends the line at a bare %
        lines.append(f"{expression} {command}")
    return "\n".join(lines)
