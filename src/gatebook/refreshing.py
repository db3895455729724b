"""Trials of refreshing: on demand, as the schedule does it, both at once, and when it fails.

Unlike probes these are kept: a refresh is harmless, and only one that was committed has been recorded.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from itertools import pairwise

from gatebook import refresh
from gatebook.catalog import Rows
from gatebook.compare import REFRESH_LOCK, contents_checksum
from gatebook.database import Database
from gatebook.refresh import Refreshed
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

Limits = Mapping[str, int]
Trial = Callable[[Database, Limits], Verdict]

ROUNDS = 3
SHORT_WAIT_MS = 100

NOW = "SELECT pg_catalog.clock_timestamp()"
SINCE = """
SELECT view_name, started_at, finished_at, rows, error FROM mv_refresh_log
 WHERE view_name = ANY(%(views)s) AND coalesce(finished_at, started_at) >= %(since)s
 ORDER BY view_name, started_at, id
"""


def on_demand(*views: str) -> Trial:
    """Each view is refreshed, and its row in the log says so."""

    def trial(database: Database, limits: Limits) -> Verdict:
        what = f"{', '.join(views)} are refreshed on demand"
        return _judge(what, refresh.refresh(database, views, **limits))

    return trial


def as_scheduled(schedules: Mapping[str, str]) -> Trial:
    """What the schedule runs, word for word, refreshes each view; schedules: view -> cron expression."""

    def trial(database: Database, limits: Limits) -> Verdict:
        what = f"what the schedule runs refreshes {', '.join(schedules)}"
        with database.connect() as connection:
            jobs = {str(row["view"]) for row in refresh.scheduled(connection)}
        since = _now(database)
        _run_jobs(database, tuple(schedules), limits)
        done = {str(row["view_name"]): row for row in _log(database, tuple(schedules), since)}
        have: Rows = tuple(
            {
                "view": view,
                "schedule": expression,
                "by": "pg_cron" if view in jobs else "crontab: gatebook refresh --schedule",
                "rows": done[view]["rows"] if view in done else None,
                "error": done[view]["error"] if view in done else "no row in the log",
            }
            for view, expression in schedules.items()
        )
        failed = [f"{row['view']}: {row['error']}" for row in have if row["error"]]
        if failed or not have:
            return Fail(what, have, (), "; ".join(failed) or "nothing is scheduled")
        return Pass(what, have)

    return trial


def both_at_once(*views: str) -> Trial:
    """On demand and as scheduled, in two sessions at once: no failure, and no two refreshes of a view overlap."""

    def trial(database: Database, limits: Limits) -> Verdict:
        what = f"{', '.join(views)} are refreshed by two sessions at once"
        since = _now(database)
        problems: list[str] = []
        acts = (lambda: refresh.refresh(database, views, **limits), lambda: _run_jobs(database, views, limits))
        threads = [threading.Thread(target=_again, args=(act, problems)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = _log(database, views, since)
        problems += [f"{row['view_name']}: {row['error']}" for row in done if row["error"]]
        overlaps = [
            f"{later['view_name']} at {later['started_at']:%H:%M:%S.%f}"
            for earlier, later in pairwise(done)
            if earlier["view_name"] == later["view_name"] and later["started_at"] < earlier["finished_at"]
        ]
        have: Rows = tuple(
            {"view": view, "refreshes": sum(row["view_name"] == view for row in done), "overlaps": len(overlaps)}
            for view in views
        )
        want: Rows = tuple({"view": view, "refreshes": 2 * ROUNDS, "overlaps": 0} for view in views)
        if problems or overlaps:
            return Fail(what, have, want, "; ".join([*problems, *(f"overlapping: {each}" for each in overlaps)]))
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
        recorded = [row["error"] for row in _log(database, (view,), since)]
        have: Rows = (
            {
                "outcome": failed.error,
                "in the log": ", ".join(map(str, recorded)),
                "contents": _contents(database, view),
            },
        )
        want: Rows = ({"outcome": "55P03: …", "in the log": "the same", "contents": before},)
        if failed.error is None:
            return Unknown(what, have, want, "the refresh did not fail, so nothing is proven")
        if recorded != [failed.error]:
            return Fail(what, have, want, "the log does not say why")
        if have[0]["contents"] != before:
            return Fail(what, have, want, "the contents are others")
        return Pass(what, have, want)

    return trial


def can_be_read(*views: str) -> Examination:
    """Age and duration of the last refresh of each view are there for a query to read."""

    def examination(subject: Subject) -> Verdict:
        what = f"age and duration of the last refresh of {', '.join(views)}"
        have = tuple(row for row in refresh.status(subject.connection) if row["view_name"] in views)
        unknown = [row["view_name"] for row in have if row["age"] is None or row["duration_ms"] is None]
        missing = sorted(set(views) - {str(row["view_name"]) for row in have})
        if unknown or missing or not views:
            return Fail(what, have, (), f"not known of {', '.join([*map(str, unknown), *missing])}")
        return Pass(what, have)

    return examination


def _judge(what: str, done: list[Refreshed]) -> Verdict:
    have: Rows = tuple(
        {"view": each.view, "rows": each.rows, "seconds": each.seconds, "concurrently": each.was_concurrent}
        for each in done
    )
    failed = [f"{each.view}: {each.error}" for each in done if each.error]
    if failed or not done:
        return Fail(what, have, (), "; ".join(failed) or "no view was named")
    if not all(each.rows for each in done):
        return Unknown(what, have, (), "a view without rows proves nothing")
    return Pass(what, have)


def _run_jobs(database: Database, views: tuple[str, ...], limits: Limits) -> None:
    """The text of each job as a scheduler sends it: whole, on a connection of its own."""
    for view in views:
        with closing(database.open_session()) as session:
            session.autocommit = True
            session.execute(refresh.job_command(view, **limits).encode())


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
