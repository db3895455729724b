"""Trials of refreshing: green as migrated, and red for a function, a log or a view that is not what it says it is."""

from collections.abc import Callable, Mapping

import psycopg
import pytest

from conftest import Databases, subject_of
from gatebook import refreshing
from gatebook.catalog import execute
from gatebook.contract import load_contract
from gatebook.database import Database
from gatebook.phase import Phase
from gatebook.project import Project
from gatebook.refreshing import ROUNDS, Trial
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

pytestmark = pytest.mark.server

LIMITS = {"lock_timeout_ms": 5_000, "statement_timeout_ms": 60_000}
CHANNELS, DAILY, REALTIME = "mv_channel_performance", "mv_daily_revenue_summary", "mv_realtime_revenue"

BROKEN = """
CREATE TABLE numbers (n int);
INSERT INTO numbers VALUES (2);
CREATE MATERIALIZED VIEW mv_broken AS SELECT 1 / (n - 1) AS share FROM numbers;
UPDATE numbers SET n = 1
"""
EMPTY = "CREATE MATERIALIZED VIEW mv_empty AS SELECT 1 AS one WHERE false"

# The log of refreshes, and somebody who meddles with it.
MEDDLE = """
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {does}
END $$;
CREATE TRIGGER meddle BEFORE INSERT ON mv_refresh_log FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION meddle()
"""


def meddle(does: str, *, when: str = "true") -> str:
    return MEDDLE.format(does=does, when=when)


def change(database: Database, *statements: str) -> None:
    with database.connect() as connection:
        for statement in statements:
            execute(connection, statement)
        connection.commit()


def rewrite(database: Database, *changes: tuple[str, str]) -> None:
    """The function that refreshes, with other words in it."""
    with database.connect() as connection:
        text = str(
            execute(
                connection, "SELECT pg_get_functiondef('refresh_materialized_view(regclass,interval)'::regprocedure)"
            ).scalar_one()
        )
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        execute(connection, text)
        connection.commit()


def said(found: Verdict) -> tuple[type[Verdict], str]:
    return type(found), found.reason


@pytest.fixture(scope="module")
def schedules(project: Project) -> Mapping[str, str]:
    return {name: view.schedule for name, view in load_contract(project).views.items()}


# -- on demand


def test_views_are_refreshed_on_demand(migrated_copy: Database) -> None:
    found = refreshing.on_demand(CHANNELS, DAILY)(migrated_copy, LIMITS)

    assert said(found) == (Pass, "")
    assert [(row["view"], row["concurrently"]) for row in found.have] == [(CHANNELS, True), (DAILY, True)]
    assert all(row["rows"] > 0 and row["seconds"] > 0 for row in found.have)


@pytest.mark.parametrize(
    ("statements", "views", "verdict", "reason"),
    [
        pytest.param([BROKEN], ["mv_broken"], Fail, "mv_broken: 22012: division by zero", id="a view that fails"),
        pytest.param(
            [BROKEN], [DAILY, "mv_broken"], Fail, "mv_broken: 22012: division by zero", id="one of two that fails"
        ),
        pytest.param([], ["mv_nothing"], Fail, 'mv_nothing: 42P01: relation "mv_nothing" does not exist', id="no view"),
        pytest.param([], ["tenants"], Fail, "tenants: 42809: tenants is not a materialized view", id="a table"),
        pytest.param([], [], Fail, "no view was named", id="nothing was asked"),
        pytest.param([EMPTY], ["mv_empty"], Unknown, "a view without rows proves nothing", id="an empty view"),
        pytest.param(
            [meddle("NEW.rows := NEW.rows + 1; RETURN NEW;")],
            [DAILY],
            Fail,
            f"{DAILY}: the log says other than the view holds",
            id="a log that counts wrongly",
        ),
        pytest.param(
            [meddle("NEW.contents_checksum := '1'; RETURN NEW;")],
            [DAILY],
            Fail,
            f"{DAILY}: the log says other than the view holds",
            id="a log with another checksum",
        ),
        pytest.param(
            ["DELETE FROM mv_refresh_log", meddle("RETURN NULL;")],
            [DAILY],
            Fail,
            f"{DAILY}: the log has no row of it",
            id="a log that keeps nothing",
        ),
    ],
)
def test_what_is_not_refreshed_on_demand(
    migrated_copy: Database, statements: list[str], views: list[str], verdict: type[Verdict], reason: str
) -> None:
    change(migrated_copy, *statements)

    assert said(refreshing.on_demand(*views)(migrated_copy, LIMITS)) == (verdict, reason)


def test_a_refresh_that_lets_readers_wait_and_says_otherwise_is_red(migrated_copy: Database) -> None:
    rewrite(migrated_copy, ("'REFRESH MATERIALIZED VIEW CONCURRENTLY '", "'REFRESH MATERIALIZED VIEW '"))

    assert said(refreshing.on_demand(DAILY)(migrated_copy, LIMITS)) == (
        Fail,
        f"{DAILY}: readers had to wait, though the log says CONCURRENTLY",
    )


# -- as scheduled


def test_what_the_schedule_runs_refreshes_every_view(migrated_copy: Database, schedules: Mapping[str, str]) -> None:
    found = refreshing.as_scheduled(schedules)(migrated_copy, LIMITS)
    first, *others = found.have

    assert said(found) == (Pass, "")
    assert [(row["view"], row["schedule"]) for row in found.have] == list(schedules.items())
    assert first["run as"] == "its crontab line; not scheduled here"
    assert {row["run as"] for row in others} == {"the statement of a job; not scheduled here"}
    assert all(row["rows"] > 0 for row in found.have)


@pytest.mark.parametrize(
    ("statements", "wanted", "reason"),
    [
        pytest.param(
            [BROKEN],
            {REALTIME: "0 * * * *", "mv_broken": "0 * * * *"},
            "mv_broken: 22012: division by zero",
            id="a view that fails",
        ),
        pytest.param(
            [meddle("RETURN NULL;", when=f"NEW.view_name = '{DAILY}'")],
            {REALTIME: "0 * * * *", DAILY: "0 * * * *"},
            f"{DAILY}: no row in the log",
            id="a refresh that is not on record",
        ),
        pytest.param([], {}, "nothing is scheduled", id="nothing is scheduled"),
    ],
)
def test_what_the_schedule_does_not_refresh(
    migrated_copy: Database, statements: list[str], wanted: dict[str, str], reason: str
) -> None:
    change(migrated_copy, *statements)

    assert said(refreshing.as_scheduled(wanted)(migrated_copy, LIMITS)) == (Fail, reason)


# -- both at once

NO_LOCK = ("PERFORM pg_catalog.pg_advisory_xact_lock(20251115, pg_catalog.hashtext(entry.view_name));", "NULL;")
SLOWLY = (
    "IF NOT pg_catalog.pg_has_role(asker",
    "PERFORM pg_catalog.pg_sleep(0.1);\n            IF NOT pg_catalog.pg_has_role(asker",
)


def test_two_sessions_refresh_at_once_without_overlapping(migrated_copy: Database) -> None:
    found = refreshing.both_at_once(CHANNELS, DAILY)(migrated_copy, LIMITS)

    assert said(found) == (Pass, "")
    assert found.have == found.want == tuple(
        {"view": view, "refreshes": 2 * ROUNDS, "overlaps": 0} for view in (CHANNELS, DAILY)
    )  # fmt: skip


def test_a_function_that_takes_no_lock_is_caught(migrated_copy: Database) -> None:
    rewrite(migrated_copy, NO_LOCK, SLOWLY)
    found = refreshing.both_at_once(DAILY)(migrated_copy, LIMITS)

    assert said(found) == (Fail, f"refreshes of {DAILY} overlap")
    assert found.have[0]["overlaps"] > 0


def test_a_function_that_is_slow_and_takes_the_lock_is_not(migrated_copy: Database) -> None:
    rewrite(migrated_copy, SLOWLY)

    assert refreshing.both_at_once(DAILY)(migrated_copy, LIMITS).is_green


@pytest.mark.parametrize(
    ("statements", "view", "verdict", "reason"),
    [
        pytest.param(
            [BROKEN], "mv_broken", Fail, "; ".join(["mv_broken: 22012: division by zero"] * 2 * ROUNDS), id="failures"
        ),
        pytest.param([meddle("RETURN NULL;")], DAILY, Unknown, "refreshes are not on record", id="not on record"),
    ],
)
def test_what_goes_wrong_at_once(
    migrated_copy: Database, statements: list[str], view: str, verdict: type[Verdict], reason: str
) -> None:
    change(migrated_copy, *statements)

    assert said(refreshing.both_at_once(view)(migrated_copy, LIMITS)) == (verdict, reason)


def test_what_fails_in_a_thread_is_said(migrated_copy: Database) -> None:
    change(migrated_copy, "DROP VIEW mv_refresh_status")
    found = refreshing.both_at_once(DAILY)(migrated_copy, LIMITS)

    assert isinstance(found, Fail)
    assert found.reason.startswith("ConfigurationError: ")


# -- when it fails

FAILED = "NEW.error IS NOT NULL"
AFTERWARDS = """
CREATE FUNCTION gloss_over() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE mv_refresh_log SET error = 'it failed' WHERE id = NEW.id;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER gloss_over AFTER INSERT ON mv_refresh_log DEFERRABLE INITIALLY DEFERRED
   FOR EACH ROW WHEN (NEW.error IS NOT NULL) EXECUTE FUNCTION gloss_over()
"""


def test_a_refresh_that_fails_keeps_the_contents_and_says_why(migrated_copy: Database) -> None:
    found = refreshing.a_failure_keeps(DAILY)(migrated_copy, LIMITS)
    with migrated_copy.connect() as connection:
        error = execute(
            connection, f"SELECT last_error FROM mv_refresh_status WHERE view_name = '{DAILY}'"
        ).scalar_one()

    assert said(found) == (Pass, "")
    assert found.have[0]["outcome"].startswith("55P03: ")
    assert found.have[0]["outcome"] == found.have[0]["in the log"]
    assert error is None  # whoever watches the log finds no failure that was made on purpose


@pytest.mark.parametrize(
    ("spoil", "verdict", "reason"),
    [
        pytest.param(
            lambda database: rewrite(database, NO_LOCK),
            Unknown,
            "the refresh did not fail, so nothing is proven",
            id="it does not fail",
        ),
        pytest.param(
            lambda database: change(database, meddle("NEW.error := '42501: no'; RETURN NEW;", when=FAILED)),
            Unknown,
            "it failed for another reason than the lock",
            id="another reason",
        ),
        pytest.param(
            lambda database: change(database, meddle("RETURN NULL;", when=FAILED)),
            Unknown,
            "the refresh did not fail, so nothing is proven",
            id="a failure that leaves no trace",
        ),
        pytest.param(
            lambda database: change(database, AFTERWARDS),
            Fail,
            "the log does not say why",
            id="another reason in the log",
        ),
        pytest.param(
            lambda database: change(
                database,
                meddle(
                    "UPDATE revenue_ledger SET amount_cents = amount_cents + 1 WHERE state = 'refunded'; "
                    f"REFRESH MATERIALIZED VIEW {DAILY}; RETURN NEW;",
                    when=FAILED,
                ),
            ),
            Fail,
            "the contents are others",
            id="other contents",
        ),
    ],
)
def test_a_failure_that_is_not_told_or_not_harmless(
    migrated_copy: Database, spoil: Callable[[Database], None], verdict: type[Verdict], reason: str
) -> None:
    spoil(migrated_copy)

    assert said(refreshing.a_failure_keeps(DAILY)(migrated_copy, LIMITS)) == (verdict, reason)


# -- how old they are


def test_age_and_duration_can_be_read(migrated_copy: Database, project: Project, schedules: Mapping[str, str]) -> None:
    with subject_of(migrated_copy, project) as subject:
        found = refreshing.can_be_read(*schedules)(subject)

    assert said(found) == (Pass, "")
    assert {row["view_name"] for row in found.have} == set(schedules)


NOT_KNOWN = "not known, or not what the log says, of"


@pytest.mark.parametrize(
    ("statement", "views", "reason"),
    [
        pytest.param(
            f"DELETE FROM mv_refresh_log WHERE view_name = '{DAILY}'",
            [CHANNELS, DAILY],
            f"{NOT_KNOWN} {DAILY}",
            id="never refreshed",
        ),
        pytest.param("SELECT 1", [CHANNELS, "mv_nothing"], f"{NOT_KNOWN} mv_nothing", id="no such view"),
        pytest.param(
            f"UPDATE mv_refresh_log SET error = '22012: x' WHERE view_name = '{DAILY}'",
            [DAILY],
            f"{NOT_KNOWN} {DAILY}",
            id="failures alone",
        ),
        pytest.param("SELECT 1", [], f"{NOT_KNOWN} ", id="nothing was asked"),
    ],
)
def test_an_age_that_cannot_be_read(
    databases: Databases, untouched: Database, statement: str, views: list[str], reason: str
) -> None:
    with subject_of(untouched, databases.project) as subject:
        execute(subject.connection, statement)
        found = refreshing.can_be_read(*views)(subject)

    assert said(found) == (Fail, reason)


def test_a_view_that_tells_another_age_than_the_log_is_red(databases: Databases, untouched: Database) -> None:
    with subject_of(untouched, databases.project) as subject:
        text = execute(subject.connection, "SELECT pg_get_viewdef('mv_refresh_status'::regclass)").scalar_one()
        changed = str(text).replace("statement_timestamp() - ", "'1 day'::interval + statement_timestamp() - ")
        assert changed != text
        execute(subject.connection, f"CREATE OR REPLACE VIEW mv_refresh_status AS {changed}")
        found = refreshing.can_be_read(DAILY)(subject)

    assert said(found) == (Fail, f"{NOT_KNOWN} {DAILY}")


# -- in a gate


def raises(error: Exception) -> Trial:
    def trial(_database: Database, _limits: Mapping[str, int]) -> Verdict:
        raise error

    return trial


@pytest.mark.parametrize(
    ("trial", "verdict", "reason"),
    [
        pytest.param(refreshing.on_demand(DAILY), "PASS", "", id="green"),
        pytest.param(refreshing.on_demand(), "FAIL", "no view was named", id="red"),
        pytest.param(
            raises(psycopg.errors.UndefinedFunction("no such function\nLINE 1")),
            "UNKNOWN",
            "the database answered with an error: no such function",
            id="an error of the server",
        ),
    ],
)
def test_a_trial_in_a_gate(
    migrated_copy: Database, outputs: object, trial: Trial, verdict: str, reason: str  # noqa: ARG001
) -> None:  # fmt: skip
    phase = Phase("MV-4", database=migrated_copy.name)
    with phase.gate("MV-4.5") as gate:
        found = gate.tries("MV-4.5.1", trial)
    phase.database.close()

    assert (found.verdict.name, found.verdict.reason) == (verdict, reason)
