"""Trials of refreshing: on demand, as the schedule does it, both at once, and when it fails.

Unlike probes these are kept: a refresh is harmless, and only one that was committed has been recorded.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from typing import Any

from gatebook import refresh
from gatebook.catalog import Query, Rows
from gatebook.compare import REFRESH_LOCK, contents_checksum
from gatebook.database import Database
from gatebook.project import Project
from gatebook.refresh import Refreshed
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

Limits = Mapping[str, int]
Trial = Callable[[Database, Limits], Verdict]

ROUNDS = 3
START_S = 60  # more than a command needs to start
SHORT_WAIT_MS = 100
NO_LOCK = "55P03"  # lock_not_available

FILES = """
SELECT v AS view, coalesce(pg_catalog.pg_relation_filenode(pg_catalog.to_regclass(v)), 0) AS file
  FROM pg_catalog.unnest(%(views)s::text[]) v
"""
DEFINITION = "SELECT pg_catalog.md5(pg_catalog.pg_get_viewdef(pg_catalog.to_regclass(%(view)s))) AS definition_md5"
AGES = """
SELECT s.view_name, s.refreshed_at, s.age, s.duration_ms, s.last_error,
       s.age = pg_catalog.statement_timestamp() - l.started_at
       AND s.duration_ms = (extract(epoch FROM l.finished_at - l.started_at) * 1000)::bigint AS is_true
  FROM mv_refresh_status s
  LEFT JOIN LATERAL (SELECT started_at, finished_at FROM mv_refresh_log
                      WHERE view_name = s.view_name AND error IS NULL
                      ORDER BY started_at DESC, id DESC LIMIT 1) l ON true
 WHERE s.view_name = ANY(%(views)s::text[]) ORDER BY s.view_name
"""
NOW = "SELECT pg_catalog.clock_timestamp()"
SINCE = """
SELECT view_name, started_at, finished_at, rows, error FROM mv_refresh_log
 WHERE view_name = ANY(%(views)s) AND coalesce(finished_at, started_at) >= %(since)s
 ORDER BY view_name, started_at, id
"""


def on_demand(*views: str) -> Trial:
    """Each view is refreshed, readers going on, and the log says of each what the view then holds."""

    def trial(database: Database, limits: Limits) -> Verdict:
        what = f"{', '.join(views)} are refreshed on demand"
        files = _files(database, views)
        done = refresh.refresh(database, views, **limits)
        problems = [f"{each.view}: {each.error}" for each in done if each.error]
        problems += [text for each in done if not each.error for text in _untrue(database, each, files[each.view])]
        have: Rows = tuple(
            {"view": each.view, "rows": each.rows, "seconds": each.seconds, "concurrently": each.was_concurrent}
            for each in done
        )
        if problems or not done:
            return Fail(what, have, (), "; ".join(problems) or "no view was named")
        if not all(each.rows for each in done):
            return Unknown(what, have, (), "a view without rows proves nothing")
        return Pass(what, have)

    return trial


def as_scheduled(schedules: Mapping[str, str]) -> Trial:
    """What the schedule runs refreshes each view; schedules: view -> cron expression.

    Where pg_cron has jobs, their own commands are run, and their times must be the wanted ones. Where it has none, the
    first view is refreshed by its crontab line, run by a shell in an environment as bare as cron's.
    """

    def trial(database: Database, limits: Limits) -> Verdict:
        what = f"what the schedule runs refreshes {', '.join(schedules)}"
        with database.connect() as connection:
            jobs = {str(row["view"]): row for row in refresh.scheduled(connection)}
        since = _now(database)
        by = {view: _as_scheduled(database, view, schedules, jobs, limits) for view in schedules}
        done = {str(row["view_name"]): row for row in _log(database, tuple(schedules), since)}
        have: Rows = tuple(
            {
                "view": view,
                "schedule": expression,
                "run as": by[view],
                "rows": done[view]["rows"] if view in done else None,
                "error": done[view]["error"] if view in done else "no row in the log",
            }
            for view, expression in schedules.items()
        )
        problems = [f"{row['view']}: {row['error']}" for row in have if row["error"]]
        problems += [
            f"{view}: pg_cron has it at {job['schedule']!r}{'' if job['is_active'] else ', switched off'}"
            for view, job in jobs.items()
            if view in schedules and (job["schedule"] != schedules[view] or not job["is_active"])
        ]
        if problems or not have:
            return Fail(what, have, (), "; ".join(problems) or "nothing is scheduled")
        return Pass(what, have)

    return trial


def both_at_once(*views: str) -> Trial:
    """On demand and as scheduled, in two sessions at once: no failure, and no two refreshes of a view overlap."""

    def trial(database: Database, limits: Limits) -> Verdict:
        what = f"{', '.join(views)} are refreshed by two sessions at once"
        since = _now(database)
        problems: list[str] = []
        patient = {**limits, "lock_timeout_ms": limits["statement_timeout_ms"]}  # the second waits for the first
        acts = (lambda: refresh.refresh(database, views, **patient), lambda: _run_jobs(database, views, patient))
        threads = [threading.Thread(target=_again, args=(act, problems)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = _log(database, views, since)
        problems += [f"{row['view_name']}: {row['error']}" for row in done if row["error"]]
        began = [row for row in done if row["finished_at"] is not None]
        overlaps = [
            str(later["view_name"])
            for earlier, later in pairwise(began)
            if earlier["view_name"] == later["view_name"] and later["started_at"] < earlier["finished_at"]
        ]
        have: Rows = tuple(
            {
                "view": view,
                "refreshes": sum(row["view_name"] == view for row in began),
                "overlaps": overlaps.count(view),
            }
            for view in views
        )
        want: Rows = tuple({"view": view, "refreshes": 2 * ROUNDS, "overlaps": 0} for view in views)
        if problems or overlaps:
            return Fail(
                what,
                have,
                want,
                "; ".join([*problems, *(f"refreshes of {view} overlap" for view in dict.fromkeys(overlaps))]),
            )
        return Pass(what, have, want) if have == want else Unknown(what, have, want, "refreshes are not on record")

    return trial


def a_failure_keeps(view: str) -> Trial:
    """While another session is at it, a refresh fails, keeps the old contents and says why in the log."""

    def trial(database: Database, limits: Limits) -> Verdict:
        what = f"a refresh of {view} that fails keeps the contents"
        before, since = _contents(database, view), _now(database)
        with closing(database.open_session()) as holder:
            holder.execute("SELECT pg_catalog.pg_advisory_lock(%s, pg_catalog.hashtext(%s))", (REFRESH_LOCK, view))
            (failed,) = refresh.refresh(database, [view], **{**limits, "lock_timeout_ms": SHORT_WAIT_MS})
        recorded, after = [row["error"] for row in _log(database, (view,), since)], _contents(database, view)
        refresh.refresh(database, [view], **limits)  # whoever watches the log must not find our failure the newest
        have: Rows = ({"outcome": failed.error, "in the log": ", ".join(map(str, recorded)), "contents": after},)
        want: Rows = ({"outcome": f"{NO_LOCK}: …", "in the log": "the same", "contents": before},)
        if failed.error is None:
            return Unknown(what, have, want, "the refresh did not fail, so nothing is proven")
        if recorded != [failed.error]:
            return Fail(what, have, want, "the log does not say why")
        if not failed.error.startswith(NO_LOCK):
            return Unknown(what, have, want, "it failed for another reason than the lock")
        if have[0]["contents"] != before:
            return Fail(what, have, want, "the contents are others")
        return Pass(what, have, want)

    return trial


def can_be_read(*views: str) -> Examination:
    """Age and duration of the last refresh of each view can be read, and are those of the log."""

    def examination(subject: Subject) -> Verdict:
        what = f"age and duration of the last refresh of {', '.join(views)}"
        have = Query(AGES, {"views": list(views)}).run(subject.connection)
        wrong = [str(row["view_name"]) for row in have if not row["is_true"]]
        missing = sorted(set(views) - {str(row["view_name"]) for row in have})
        if wrong or missing or not views:
            return Fail(what, have, (), f"not known, or not what the log says, of {', '.join([*wrong, *missing])}")
        return Pass(what, have)

    return examination


def _untrue(database: Database, done: Refreshed, file: int) -> list[str]:
    """Where the log does not say what the view holds, or a refresh that let readers go on did not."""
    with database.connect() as connection:
        recorded = refresh.last(connection, done.view)
        rows, checksum = contents_checksum(connection, done.view)
        definition = Query(DEFINITION, {"view": done.view}).run(connection)[0]["definition_md5"]
    newest = recorded.refreshed_at if recorded is not None else None
    if recorded is None or newest is None or done.finished_at is None or newest < done.finished_at:
        return [f"{done.view}: the log has no row of it"]
    said = (recorded.rows, recorded.contents_checksum, recorded.definition_md5)
    problems = [] if said == (rows, checksum, definition) else [f"{done.view}: the log says other than the view holds"]
    if done.was_concurrent and _files(database, [done.view])[done.view] != file:
        problems.append(f"{done.view}: readers had to wait, though the log says CONCURRENTLY")
    return problems


def _as_scheduled(
    database: Database, view: str, schedules: Mapping[str, str], jobs: Mapping[str, Any], limits: Limits
) -> str:
    """Run what refreshes the view on its schedule; how it was run."""
    if view in jobs:
        _run(database, str(jobs[view]["command"]))
        return f"job {jobs[view]['jobid']} of pg_cron"
    if jobs or view != next(iter(schedules)):
        _run_jobs(database, (view,), limits)
        return "the statement of a job; not scheduled here"
    line = refresh.crontab(Project.find(), database.name, {view: schedules[view]}, **limits).splitlines()[-1]
    command = line.split(maxsplit=5)[5].replace(r"\%", "%")
    bare = {name: os.environ[name] for name in ("HOME", "PATH", database.name) if name in os.environ}
    limit_s = limits["statement_timeout_ms"] / 1000 + START_S
    subprocess.run(["/bin/sh", "-c", command], env=bare, check=False, capture_output=True, timeout=limit_s)
    return "its crontab line; not scheduled here"


def _files(database: Database, views: Sequence[str]) -> dict[str, int]:
    """The file of each view: REFRESH gives it a new one, and CONCURRENTLY does not."""
    with database.connect() as connection:
        return {str(row["view"]): int(row["file"]) for row in Query(FILES, {"views": list(views)}).run(connection)}


def _run_jobs(database: Database, views: tuple[str, ...], limits: Limits) -> None:
    """The text of each job as a scheduler sends it: whole, on a connection of its own."""
    for view in views:
        _run(database, refresh.job_command(view, **limits))


def _run(database: Database, command: str) -> None:
    with closing(database.open_session()) as session:
        session.autocommit = True
        session.execute(command.encode())


def _again(act: Callable[[], object], problems: list[str]) -> None:
    try:
        for _ in range(ROUNDS):
            act()
    except Exception as error:  # a thread's error would be lost
        problems.append(f"{type(error).__name__}: {error}")


def _now(database: Database) -> datetime:
    with database.connect() as connection:
        moment: datetime = connection.exec_driver_sql(NOW).scalar_one()
        return moment


def _log(database: Database, views: tuple[str, ...], since: datetime) -> Rows:
    with database.connect() as connection:
        rows = connection.exec_driver_sql(SINCE, {"views": list(views), "since": since}).mappings()
        return tuple(dict(row) for row in rows)


def _contents(database: Database, view: str) -> str:
    with database.connect() as connection:
        rows, checksum = contents_checksum(connection, view)
        return f"{rows} rows, {checksum}"
