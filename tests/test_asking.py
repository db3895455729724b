"""What a notebook asks beside its gates: findings, values, responses, refreshes, plans, timings; and what is kept."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import Databases
from gatebook import contract, findings, journal, runs
from gatebook.catalog import Query, execute
from gatebook.database import Database
from gatebook.declarations import load_gates
from gatebook.display import Finding, Outcome
from gatebook.errors import ConfigurationError, PhaseRefused, QueryFailed, StatementRefused
from gatebook.evidence import results
from gatebook.phase import Phase
from gatebook.project import Project

pytestmark = pytest.mark.server

TENANT = "00000000-0000-0000-0000-000000000001"
AS_APP = {"role": "app_ro", "app.current_tenant_id": TENANT}
ALWAYS = {"start": "2000-01-01", "end": "2999-12-31"}


@pytest.fixture
def connection(untouched: Database) -> Iterator[sa.Connection]:
    with untouched.connect() as connection:
        yield connection


@pytest.fixture
def phase(untouched: Database, outputs: Path) -> Iterator[Phase]:  # noqa: ARG001 - its session folder lies there
    made = Phase("MV-4", database=untouched.name)
    yield made
    made.database.close()


def recorded(phase: Phase, event: str) -> list[Mapping[str, Any]]:
    return [each for each in phase.journal.read() if each["event"] == event]


# -- what a statement gives


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        pytest.param("SELECT 1 AS one, 'x' AS letter", ({"one": 1, "letter": "x"},), id="a row"),
        pytest.param("SELECT 1 AS one WHERE false", (), id="no row"),
        pytest.param("SELECT n FROM generate_series(1, 3) AS n", ({"n": 1}, {"n": 2}, {"n": 3}), id="rows"),
        pytest.param("SELECT 1 AS a; SELECT 2 AS b", ({"b": 2},), id="the last of several"),
        pytest.param(
            "CREATE TEMP TABLE t AS SELECT 1 AS a; TABLE t", ({"a": 1},), id="the last reads what the first made"
        ),
        pytest.param("CREATE TEMP TABLE t (a int)", ({"outcome": "CREATE TABLE"},), id="a statement without rows"),
        pytest.param("SELECT '100%' AS text WHERE 'a%' LIKE '%%'", ({"text": "100%"},), id="percent signs"),
        pytest.param("SELECT NULL::text AS nothing", ({"nothing": None},), id="NULL"),
        pytest.param("SELECT 0.10::numeric AS money", ({"money": Decimal("0.10")},), id="an exact number"),
    ],
)
def test_an_outcome_is_what_the_last_statement_returns(
    connection: sa.Connection, sql: str, rows: tuple[dict[str, Any], ...]
) -> None:
    assert findings.outcome(connection, sql, {}) == Outcome(sql, rows)


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        pytest.param("SELECT 1 / 0", "division by zero (SQLSTATE 22012)", id="while it runs"),
        pytest.param("SELECT 1; SELECT no", 'column "no" does not exist (SQLSTATE 42703)', id="the second"),
        pytest.param("SELEKT 1", 'syntax error at or near "SELEKT" (SQLSTATE 42601)', id="no SQL"),
    ],
)  # fmt: skip
def test_an_outcome_may_be_the_server_s_answer(connection: sa.Connection, sql: str, error: str) -> None:
    assert findings.outcome(connection, sql, {}) == Outcome(sql, (), error)
    assert findings.outcome(connection, "SELECT 1 AS one", {}).rows == ({"one": 1},)  # the connection can go on


@pytest.mark.parametrize(
    ("settings", "sql", "rows"),
    [
        pytest.param({"TimeZone": "Asia/Tokyo"}, "SELECT current_setting('TimeZone') AS zone", "Asia/Tokyo", id="zone"),
        pytest.param({"role": "app_ro"}, "SELECT current_user AS role", "app_ro", id="role"),
        pytest.param(AS_APP, "SELECT count(DISTINCT tenant_id) AS tenants FROM revenue_ledger", 1, id="whose rows"),
    ],
)
def test_settings_hold_for_one_outcome(
    connection: sa.Connection, settings: dict[str, str], sql: str, rows: object
) -> None:
    first, second = (findings.outcome(connection, sql, each) for each in (settings, {}))

    assert list(first.rows[0].values()) == [rows]
    assert list(second.rows[0].values()) != [rows]


def test_a_setting_that_cannot_be_is_an_outcome_too(connection: sa.Connection) -> None:
    found = findings.outcome(connection, "SELECT 1", {"role": "nobody"})

    assert found == Outcome("SELECT 1", (), 'role "nobody" does not exist (SQLSTATE 22023)')


def test_nothing_of_an_outcome_is_kept(connection: sa.Connection) -> None:
    deleted = findings.outcome(connection, "DELETE FROM reconciliation_runs; SELECT count(*) AS left_over FROM "
                                           "reconciliation_runs", {})  # fmt: skip
    after = findings.outcome(connection, "SELECT count(*) AS left_over FROM reconciliation_runs", {})

    assert deleted.rows == ({"left_over": 0},)
    assert after.rows[0]["left_over"] > 0


# -- findings


def test_a_finding_is_shown_and_recorded_and_judges_nothing(phase: Phase, project: Project) -> None:
    found = phase.finding("one is less than two", "SELECT 1 / 0", "SELECT 2 AS two, date '2026-01-31' AS day")
    (event,) = recorded(phase, "finding")
    outcomes = results.compute("r", started(phase), load_gates(project).phases)
    (outcome,) = [each for each in outcomes.phases if each.phase == "MV-4"]

    assert found == Finding(
        "one is less than two",
        Outcome("SELECT 1 / 0", (), "division by zero (SQLSTATE 22012)"),
        Outcome("SELECT 2 AS two, date '2026-01-31' AS day", ({"two": 2, "day": date(2026, 1, 31)},)),
    )
    assert (event["title"], event["phase"]) == ("one is less than two", "MV-4")
    assert event["naive"] == {
        "sql": "SELECT 1 / 0", "rows": [], "rows_seen": 0, "error": "division by zero (SQLSTATE 22012)"
    }  # fmt: skip
    assert event["corrected"]["rows"] == [{"two": 2, "day": "2026-01-31"}]
    assert [each["title"] for each in outcome.findings] == ["one is less than two"]
    assert phase.results == {}


def started(phase: Phase) -> list[Mapping[str, Any]]:
    """The journal of a session as that of a batch: it says where the notebook begins."""
    begins = {"event": "notebook_started", "notebook": phase.declared.notebook, "cells": []}
    return [begins, *phase.journal.read()]


def test_a_finding_keeps_no_more_than_fifty_rows_and_says_how_many_there_were(phase: Phase) -> None:
    phase.finding("many", "SELECT n FROM generate_series(1, 51) AS n", "SELECT 1")
    (event,) = recorded(phase, "finding")

    assert (len(event["naive"]["rows"]), event["naive"]["rows_seen"]) == (50, 51)


def test_a_finding_is_run_within_its_settings(phase: Phase) -> None:
    found = phase.finding(
        "own rows",
        "SELECT count(DISTINCT tenant_id) AS n FROM mv_realtime_revenue",
        "SELECT count(DISTINCT tenant_id) AS n FROM revenue_ledger",
        settings=AS_APP,
    )

    assert found.naive.error == "permission denied for materialized view mv_realtime_revenue (SQLSTATE 42501)"
    assert found.corrected.rows == ({"n": 1},)


@pytest.mark.parametrize("form", ["html", "text"])
def test_a_finding_shows_both_sides_and_escapes_them(phase: Phase, form: str) -> None:
    nasty = "<script>"
    found = phase.finding(nasty, f"SELECT '{nasty}' AS a", "SELECT 1 / 0")
    shown = found._repr_html_() if form == "html" else str(found)

    assert [word for word in ("as documented", "corrected", "division by zero") if word not in shown] == []
    assert (nasty in shown) == (form == "text")


# -- values and responses


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        pytest.param("SELECT 7", 7, id="a value"),
        pytest.param("SELECT 7 WHERE false", None, id="no row"),
        pytest.param("SELECT NULL", None, id="NULL"),
    ],
)
def test_a_value_is_the_one_of_a_query(phase: Phase, sql: str, value: object) -> None:
    assert phase.value(sql) == value


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        pytest.param("SELECT nothing", 'column "nothing" does not exist', id="no such column"),
        pytest.param("DELETE FROM tenants", "cannot execute DELETE in a read-only transaction", id="a write"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_read_is_a_message(phase: Phase, sql: str, problem: str) -> None:
    with pytest.raises(QueryFailed) as caught:
        phase.value(sql)

    assert caught.value.what == f"the database answered with an error: {problem}"
    assert caught.value.where == "phase.value"
    assert "mend the query" in caught.value.next_step


def test_a_request_is_a_response_of_the_api(phase: Phase) -> None:
    response = phase.request("daily-revenue", role="app_ro", tenant=TENANT, **ALWAYS)
    with phase.reading() as connection:
        execute(connection, "SET LOCAL ROLE app_ro")
        same = contract.respond(connection, phase.contract, "daily-revenue", tenant=TENANT, **ALWAYS)

    assert response == same
    assert response.problems == ()
    assert phase.value("SELECT current_user") == phase.server.role  # nobody stays somebody else


@pytest.mark.parametrize(
    ("role", "given", "error", "problem"),
    [
        pytest.param("nobody", {"tenant": TENANT}, QueryFailed, 'role "nobody" does not exist', id="no such role"),
        pytest.param("app_ro", {}, ConfigurationError, "daily-revenue needs tenant", id="nobody asks"),
    ],
)
def test_a_request_that_cannot_be_answered_is_a_message(
    phase: Phase, role: str, given: dict[str, str], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        phase.request("daily-revenue", role=role, **given, **ALWAYS)


# -- refreshes


def test_a_refresh_is_kept_shown_and_recorded(databases: Databases, migrated_copy: Database, outputs: Path) -> None:  # noqa: ARG001
    phase = Phase("MV-4", database=migrated_copy.name)
    before = len(phase.refresh_log())
    done = phase.refresh("mv_realtime_revenue", "mv_nothing")
    log = phase.refresh_log()
    (event,) = recorded(phase, "refreshed")
    nothing = phase.refresh("mv_realtime_revenue", unless_recorded=True)
    phase.database.close()

    assert [(each.view, each.error) for each in done] == [
        ("mv_realtime_revenue", None),
        ("mv_nothing", '42P01: relation "mv_nothing" does not exist'),
    ]
    assert (len(log), log[0]["view"], log[0]["rows"]) == (before + 1, "mv_realtime_revenue", done[0].rows)
    assert [each["view"] for each in event["views"]] == ["mv_realtime_revenue", "mv_nothing"]
    assert nothing == []


# -- plans


def finish_run(phase: Phase, *, database: str) -> Path:
    """What a batch leaves of this phase's plans: a finished run of a database."""
    folder = runs.create(phase.project)
    for plan in phase.folder.plans.glob("*.json"):
        (folder.plans / plan.name).write_bytes(plan.read_bytes())
    runs.write_whole(folder.path / "results.json", json.dumps({"facts": {"database": database}}))
    return folder.finish()


def explained(phase: Phase, monkeypatch: pytest.MonkeyPatch, query: Query | str, **options: Any) -> list[str]:
    """What is shown of a plan."""
    shown: list[str] = []
    monkeypatch.setattr("gatebook.asking.show", lambda *things: shown.extend(map(str, things)))
    phase.explain("a-plan", query, **options)
    return shown


CHANNELS = "SELECT channel_code FROM channel_performance WHERE allocation_date >= current_date - 30"


def test_a_plan_is_kept_with_its_run_and_recorded(phase: Phase) -> None:
    plan = phase.explain(
        "a-plan", f"{CHANNELS}\n", settings=AS_APP | {"enable_seqscan": "off", "enable_bitmapscan": "off"}
    )
    (event,) = recorded(phase, "plan")

    assert (phase.folder.plans / "a-plan.json").read_text("utf-8") == plan.to_json()
    assert "idx_mv_channel_performance_unique" in plan.indexes
    assert (event["name"], event["sql"]) == ("a-plan", CHANNELS)
    assert (event["cost"], event["execution_ms"]) == (plan.total_cost, plan.execution_ms)


def test_a_plan_of_a_query_with_parameters(phase: Phase) -> None:
    query = contract.query(phase.contract, "channel-performance", {"tenant": TENANT, **ALWAYS})

    assert phase.explain("a-plan", query, settings=AS_APP).execution_ms > 0


def test_a_first_plan_is_compared_with_none(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = explained(phase, monkeypatch, CHANNELS, settings=AS_APP)

    assert shown.endswith("no earlier run of this database has kept this plan")


def test_a_plan_is_compared_with_that_of_the_newest_run(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    path = {"enable_seqscan": "off", "enable_bitmapscan": "off"}
    explained(phase, monkeypatch, CHANNELS, settings=AS_APP | path)
    earlier = finish_run(phase, database=str(phase.database))
    (same,) = explained(phase, monkeypatch, CHANNELS, settings=AS_APP | path)
    other, changes = explained(phase, monkeypatch, CHANNELS, settings=AS_APP | {"enable_indexonlyscan": "off"} | path)

    assert same.endswith(f"nodes, indexes and estimates are the same since run {earlier.name}")
    assert other.endswith(f"nodes, indexes and estimates have changed since run {earlier.name}")
    assert changes.startswith("What changed\n")
    assert "Index Only Scan" in changes


def test_a_plan_of_another_database_is_none_to_compare_with(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    explained(phase, monkeypatch, CHANNELS, settings=AS_APP)
    finish_run(phase, database="another")
    (shown,) = explained(phase, monkeypatch, CHANNELS, settings=AS_APP)

    assert shown.endswith("no earlier run of this database has kept this plan")


@pytest.mark.parametrize("name", ["", "a plan", "../plan", "a/plan", "plan.json", "plan\n"])
def test_a_plan_has_a_name_that_a_file_may_have(phase: Phase, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a plan"):
        phase.explain(name, "SELECT 1")
    assert list(phase.folder.plans.iterdir()) == []


@pytest.mark.parametrize(
    ("query", "error"),
    [
        pytest.param("DELETE FROM tenants", StatementRefused, id="a write"),
        pytest.param("SELECT 1; SELECT 2", StatementRefused, id="two queries"),
        pytest.param("SELECT nothing", QueryFailed, id="an error"),
    ],
)
def test_what_cannot_be_explained_or_measured_is_a_message(phase: Phase, query: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        phase.explain("a-plan", query)
    with pytest.raises(error):
        phase.measure({"a query": query}, executions=1)

    assert recorded(phase, "plan") == recorded(phase, "latencies") == []


# -- timings


def test_timings_are_taken_as_the_application_and_recorded(phase: Phase) -> None:
    query = contract.query(phase.contract, "daily-revenue", {"tenant": TENANT, **ALWAYS})
    measured = phase.measure(
        {"daily": query, "whose": "SELECT DISTINCT tenant_id FROM revenue_ledger"}, settings=AS_APP, executions=3
    )
    events = recorded(phase, "latencies")

    assert [(each.name, len(each.warm_ms), len(each.cold_ms)) for each in measured] == [
        ("daily", 3, 20),
        ("whose", 3, 20),
        ("SELECT 1", 3, 20),
    ]
    assert measured[1].rows == 1  # under row security, with a tenant
    assert [event["name"] for event in events] == ["daily", "whose", "SELECT 1"]
    assert events[0]["warm_ms"] == list(measured[0].warm_ms)


def test_a_gate_shows_the_queries_behind_plans_and_timings(phase: Phase) -> None:
    plan = phase.explain("a-plan", CHANNELS, settings=AS_APP)
    measured = phase.measure({"one": "SELECT 1 AS one", "two": "SELECT 2 AS two"}, executions=1)
    with phase.gate("MV-4.4") as gate:
        path = gate.takes_path("MV-4.4.1", plan, max_cost=1e9)
        levels = gate.meets_levels("MV-4.4.3", measured[0], measured[1], levels={50: 1e9})

    assert path.sql == CHANNELS
    assert levels.sql == "SELECT 1 AS one;\n\nSELECT 2 AS two"
    assert phase.sql_of() == ""


def test_a_setting_that_cannot_be_leaves_no_session_open(
    phase: Phase, databases: Databases, untouched: Database
) -> None:
    with pytest.raises(QueryFailed, match='role "nobody" does not exist'):
        phase.measure({"a query": "SELECT 1"}, settings={"role": "nobody"})
    name = untouched.name.removeprefix("embedded/")
    phase.database.engine.dispose()
    untouched.engine.dispose()
    with databases.maintenance() as superuser:
        left = superuser.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [name]).fetchone()

    assert left == (0,)


# -- divergences, and what was before


def test_divergences_now_and_before_a_phase(phase: Phase) -> None:
    before, now = phase.divergences(before="4", until="8b"), phase.divergences()

    assert (len(before.rows), before.note, before.title) == (75, "75 divergences", "Divergences before phase 4")
    assert (now.rows, now.note) == ((), "0 divergences")


def test_before_a_phase_at_which_nobody_looked_nothing_is_known(legacy_copy: Database, outputs: Path) -> None:  # noqa: ARG001
    phase = Phase("P", database=legacy_copy.name)
    with pytest.raises(PhaseRefused, match="nobody looked at this database before phase 4"):
        phase.divergences(before="4")
    phase.database.close()


# -- what earlier runs kept


@pytest.fixture
def mine(tmp_path: Path) -> Project:
    return Project.at(tmp_path, outputs=tmp_path / "outputs")


def run_of(project: Project, database: str, content: object, *, finished: bool = True) -> str:
    folder = runs.create(project)
    runs.write_whole(folder.path / "results.json", json.dumps({"facts": {"database": database}}))
    runs.write_whole(folder.plans / "a.json", json.dumps(content))
    return folder.finish().name if finished else folder.run_id


def test_what_the_newest_run_of_a_database_kept(mine: Project) -> None:
    """The name of a run begins with the second in which it was made."""
    old, new, of_another = (
        run_of(mine, database, content) for database, content in (("one", 1), ("one", 2), ("two", 3))
    )
    (mine.outputs / old).rename(mine.outputs / f"20260101T000000Z-{old[-6:]}")

    assert runs.kept(mine, "plans/a.json", database="one") == (new, 2)
    assert runs.kept(mine, "plans/a.json", database="two") == (of_another, 3)
    assert runs.kept(mine, "plans/a.json", database="three") is None
    assert runs.kept(mine, "plans/b.json", database="one") is None


def test_a_run_that_was_not_finished_kept_nothing(mine: Project) -> None:
    run_of(mine, "one", "cut off", finished=False)

    assert runs.kept(mine, "plans/a.json", database="one") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("results.json", "{", id="damaged results"),
        pytest.param("results.json", "{}", id="results that say nothing"),
        pytest.param("plans/a.json", '{"Plan": ', id="a damaged plan"),
    ],
)
def test_a_damaged_run_is_passed_over(mine: Project, name: str, text: str) -> None:
    damaged = run_of(mine, "one", "new")
    (mine.outputs / damaged / name).write_text(text)

    assert runs.kept(mine, "plans/a.json", database="one") is None


def test_without_outputs_nothing_was_kept(mine: Project) -> None:
    assert runs.kept(mine, "plans/a.json", database="one") is None
    assert journal.read(mine.outputs / "journal.jsonl") == []
