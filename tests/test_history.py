"""Sequences that a single look does not see: between phases, after the last, and by another application."""

import pytest

from conftest import Databases, run_notebook, verdicts
from gatebook import history, preflight
from gatebook.baseline import Store
from gatebook.canonical import load_canonical
from gatebook.database import Database
from gatebook.declarations import load_gates
from gatebook.errors import ConfigurationError, DataChanged, PhaseRefused
from gatebook.migrations import downgrade, upgrade

LOSE_ROWS = "DELETE FROM revenue_ledger WHERE id IN (SELECT id FROM revenue_ledger ORDER BY id LIMIT 3)"
OPEN_TABLE = "GRANT ALL ON tenants TO PUBLIC"


@pytest.fixture
def after_phase_5(legacy_copy: Database) -> Database:
    for notebook in ("00_preflight", "04_tenants", "05_attribution_events"):
        assert run_notebook(notebook, database=legacy_copy.name).red is None
    return legacy_copy


def by_superuser(databases: Databases, database: Database, sql: str) -> None:
    with databases.maintenance(database.name.removeprefix("embedded/")) as connection:
        connection.execute(sql)


@pytest.mark.server
def test_rows_lost_between_two_phases_stop_the_next_one(databases: Databases, after_phase_5: Database) -> None:
    by_superuser(databases, after_phase_5, LOSE_ROWS)
    with pytest.raises(DataChanged, match="rows were changed since the phase before 6") as error:
        run_notebook("06_attribution_allocations", database=after_phase_5.name)
    assert "revenue_ledger" in error.value.where


@pytest.mark.server
def test_expected_writers_are_told_and_do_not_stop_a_phase(databases: Databases, after_phase_5: Database) -> None:
    by_superuser(databases, after_phase_5, LOSE_ROWS)
    run = run_notebook("06_attribution_allocations", database=after_phase_5.name, writers="expected")
    assert run.red is None
    again = run_notebook("05_attribution_events", database=after_phase_5.name, writers="expected")
    assert verdicts(again)["5.D.1"] == "PASS"
    assert "writers are expected" in again.phase.results["5.D.1"].verdict.reason


@pytest.mark.server
def test_a_schema_changed_between_two_phases_stops_the_next_one(databases: Databases, after_phase_5: Database) -> None:
    by_superuser(databases, after_phase_5, OPEN_TABLE)
    with pytest.raises(PhaseRefused, match="the schema was changed since the phase before 6") as error:
        run_notebook("06_attribution_allocations", database=after_phase_5.name, writers="expected")
    assert "grant tenants to PUBLIC added" in error.value.where


@pytest.mark.server
@pytest.mark.parametrize("phase", ["4", "7", "8a"])
def test_earlier_phases_look_at_the_database_as_it_is_now(
    databases: Databases, migrated_copy: Database, phase: str
) -> None:
    by_superuser(databases, migrated_copy, f"{LOSE_ROWS}; {OPEN_TABLE}")
    notebook = load_gates(databases.project).phase(phase).notebook
    found = verdicts(run_notebook(notebook, database=migrated_copy.name))
    assert (found[f"{phase}.D.1"], found[f"{phase}.S.1"]) == ("FAIL", "FAIL")


@pytest.mark.server
def test_readiness_is_red_over_a_gutted_database(databases: Databases, migrated_copy: Database) -> None:
    by_superuser(databases, migrated_copy, "DELETE FROM revenue_ledger")
    found = verdicts(run_notebook("30_readiness", database=migrated_copy.name))
    assert found["R.4.2"] == "FAIL"


@pytest.mark.server
def test_what_is_known_ends_with_a_downgrade(databases: Databases, migrated_copy: Database) -> None:
    project = databases.project
    gates, canonical = load_gates(project), load_canonical(project)
    store = Store(project, migrated_copy.server)
    with migrated_copy.connect() as connection:
        assert all(history.is_proven(store, phase) for phase in gates.migrating())
        downgrade(connection, project, "202511141311")
        upgrade(connection, project, "202511151450")
        connection.commit()
        history.forget_what_is_gone(connection, store, project, gates, canonical)
    assert [phase.phase for phase in gates.migrating() if history.is_proven(store, phase)] == []
    found = verdicts(run_notebook("04_tenants", database=migrated_copy.name))
    assert (found["4.1.1"], found["4.D.1"], found["4.S.1"]) == ("PASS", "UNKNOWN", "UNKNOWN")


@pytest.mark.server
@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE dead_events DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE revenue_ledger NO FORCE ROW LEVEL SECURITY",
        "CREATE POLICY open ON revenue_ledger USING (true)",
        "GRANT SELECT ON tenants TO PUBLIC",
        "REVOKE SELECT ON attribution_events FROM app_ro",
        "DROP MATERIALIZED VIEW mv_realtime_revenue",
    ],
)
def test_faults_from_before_phase_4_are_divergences(databases: Databases, legacy_copy: Database, sql: str) -> None:
    by_superuser(databases, legacy_copy, sql)
    for phase in load_gates(databases.project).phases[:7]:
        run_notebook(phase.notebook, database=legacy_copy.name)
    run = run_notebook("09_canonical_schema", database=legacy_copy.name)
    assert run.red is not None
    assert "FAIL" in {verdicts(run)["C.1.2"], verdicts(run)["C.1.3"]}


@pytest.mark.server
def test_a_test_is_run_once_by_the_method_for_its_kind(migrated_copy: Database) -> None:
    run = run_notebook("04_tenants", database=migrated_copy.name)
    phase, catalog, checks = run.phase, run.catalog, run.checks
    with phase.gate("4.1") as gate:
        gate.test("4.1.1", catalog.columns("tenants"), checks.has_column("api_key_hash"))
        with pytest.raises(ConfigurationError, match=r"test 4\.1\.1 was run already"):
            gate.test("4.1.1", catalog.columns("tenants"), checks.has_column("api_key_hash"))
    with pytest.raises(ConfigurationError, match=r"gate 4\.1 is closed"):
        gate.test("4.1.2", catalog.columns("tenants"), checks.has_column("api_key_hash"))
    with phase.gate("4.3") as gate, pytest.raises(ConfigurationError, match="declared as 'rejected'"):
        gate.query("4.3.1", "SELECT 1 WHERE false")
    with phase.gate("4.3") as gate, pytest.raises(ConfigurationError, match="expects table 'attribution_events'"):
        gate.rejects_null("4.3.1", "attribution_events", "currency")
    phase.database.close()


@pytest.mark.server
def test_every_test_shows_the_sql_it_ran(databases: Databases, migrated_copy: Database) -> None:
    without = []
    for phase in load_gates(databases.project).phases:
        run = run_notebook(phase.notebook, database=migrated_copy.name)
        without += [test for test, result in run.phase.results.items() if not result.sql]
    # what is judged from facts of the server, from stored states and proofs or from a parameter asks nothing
    own = ["P.1.1", "P.1.2", "C.1.1", "R.1.2", "R.2.1", "R.6.1", "R.8.2"]
    contract_and_migrations = ["MV-1.2.1", "MV-1.3.1", "MV-2.6.1"]
    files = ["F.2.1", "F.3.1", "F.3.2", "G.3.1"]
    files += [test for test in without if test.startswith(("G.0.", "G.1.", "VAL"))]
    assert len(files) == 4 + 3 + 4 + 18
    assert sorted(without) == sorted(own + contract_and_migrations + files)


@pytest.mark.server
def test_a_question_for_a_phase_that_does_not_exist_is_unknown_and_no_silence(
    legacy_copy: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stray = preflight.LegacyCheck(says="rows", needs="nothing", until="44", sql="SELECT 0")
    monkeypatch.setattr(preflight, "load", lambda *_: preflight.LegacyChecks(checks={"stray": stray}))
    found = run_notebook("00_preflight", database=legacy_copy.name).phase.results["P.3.2"].verdict
    assert found.name == "UNKNOWN"
    assert found.reason.startswith("no phase 44 is declared")
