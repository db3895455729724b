"""What an application does between two phases: a declared change of rows, played once, and part of the chain."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Databases, copy_project, run_notebook, verdicts
from gatebook import catalog, history, migrations, row_security
from gatebook.activity import Activity
from gatebook.baseline import State, Store, TableSum
from gatebook.canonical import load_canonical
from gatebook.database import Database
from gatebook.declarations import Gates, load_gates
from gatebook.errors import ConfigurationError, DataChanged, MigrationFailed, PhaseRefused
from gatebook.phase import Phase
from gatebook.project import PROJECT_VARIABLE, Project

pytestmark = pytest.mark.server

UNTIL_8B = ("00_preflight", "04_tenants", "05_attribution_events", "06_attribution_allocations", "07_revenue_ledger",
            "08a_dead_events", "08b_revenue_state_transitions")  # fmt: skip
PLAYED = {"revenue_ledger", "revenue_state_transitions"}
BY_HAND = "UPDATE revenue_ledger SET amount_cents = amount_cents + 1 WHERE state = 'refunded'"


@pytest.fixture(scope="module")
def before_activity(databases: Databases, legacy: Database) -> Iterator[Database]:
    """Template: phases P to 8b are proven, and the application has done nothing yet."""
    made = databases.copy(legacy)
    for notebook in UNTIL_8B:
        assert run_notebook(notebook, database=made.name).red is None
    made.engine.dispose()
    yield made
    databases.drop(made)


@pytest.fixture
def database(databases: Databases, before_activity: Database) -> Iterator[Database]:
    copy = databases.copy(before_activity)
    yield copy
    databases.drop(copy)


@pytest.fixture
def store(databases: Databases, database: Database) -> Store:
    return Store(databases.project, database.server)


def play(database: Database, project: Project | None = None, **parameters: str) -> list[dict[str, object]]:
    """Play the activity of phase MV-1, and what its journal says of it."""
    phase = Phase("MV-1", database=database.name, project=project, **parameters)  # type: ignore[arg-type]
    try:
        phase.play()
        return [dict(event) for event in phase.journal.read() if event["event"] == "played"]
    finally:
        phase.database.close()


def by_superuser(databases: Databases, database: Database, statements: str) -> None:
    with databases.maintenance(database.name.removeprefix("embedded/")) as connection:
        connection.execute(statements)


def counted(database: Database, statement: str) -> int:
    with database.connect() as connection, row_security.all_rows(connection):
        number: int = catalog.execute(connection, f"SELECT count(*) FROM {statement}").scalar_one()
    database.engine.dispose()
    return number


# -- once


def test_an_activity_is_played_once_and_says_so(database: Database, store: Store) -> None:
    first, second = play(database), play(database)
    state = store.state("MV-1", "after")

    assert len(first) == 1
    assert {row["table"] for row in first[0]["rows"]} == PLAYED  # type: ignore[attr-defined]
    assert second == []
    assert state is not None
    assert state.revision == "202511151450"
    assert store.state("MV-1", "after") == state


def test_it_makes_what_only_comes_once_the_ledger_has_states(database: Database) -> None:
    seen = "(SELECT DISTINCT state, currency FROM revenue_ledger) AS kinds"
    before, transitions = counted(database, seen), counted(database, "revenue_state_transitions")
    play(database)

    assert counted(database, seen) > before
    assert counted(database, "revenue_state_transitions") > transitions == 0
    assert counted(database, "revenue_ledger WHERE state IN ('refunded', 'chargeback') AND previous_state IS NULL") == 0
    assert counted(database, "revenue_state_transitions t JOIN revenue_ledger e ON e.id = t.ledger_id "
                             "WHERE e.state <> t.to_state OR e.previous_state <> t.from_state") == 0  # fmt: skip


def test_the_same_scenario_plays_the_same(databases: Databases, database: Database, before_activity: Database) -> None:
    other = databases.copy(before_activity)
    first, second = play(database)[0]["rows"], play(other)[0]["rows"]
    one, two = (Store(databases.project, each.server).state("MV-1", "after") for each in (database, other))
    databases.drop(other)

    assert first == second
    assert one is not None
    assert two is not None
    assert one.data == two.data


def test_where_no_scenario_was_loaded_nothing_is_played(database: Database, store: Store) -> None:
    """Somebody's own database: its application does the work, and is not imitated."""
    (store.folder / "scenario.json").unlink()
    before = counted(database, "revenue_ledger WHERE state = 'captured'")

    assert play(database) == []
    assert store.state("MV-1", "after") is None
    assert counted(database, "revenue_ledger WHERE state = 'captured'") == before
    assert run_notebook("10_view_contract", database=database.name).red is None
    assert run_notebook("11_channel_performance", database=database.name).red is None


def test_a_database_of_another_scenario_is_another(databases: Databases, database: Database) -> None:
    """What is known of a database belongs to that very one, the scenario it was filled with too."""
    empty = databases.empty()

    assert Store(databases.project, database.server).scenario() is not None
    assert Store(databases.project, empty.server).scenario() is None
    databases.drop(empty)


# -- part of the chain


def test_phases_before_and_after_it_stay_green(database: Database) -> None:
    play(database)
    assert run_notebook("10_view_contract", database=database.name).red is None
    assert run_notebook("11_channel_performance", database=database.name).red is None
    again = {name: run_notebook(name, database=database.name) for name in UNTIL_8B[1:]}

    assert {name: run.red for name, run in again.items()} == dict.fromkeys(again)
    found = verdicts(again["07_revenue_ledger"])
    assert (found["7.B.1"], found["7.D.1"]) == ("PASS", "PASS")
    assert verdicts(again["08b_revenue_state_transitions"])["8b.D.1"] == "PASS"


@pytest.mark.parametrize(
    ("notebook", "test"),
    [("07_revenue_ledger", "7.D.1"), ("08b_revenue_state_transitions", "8b.D.1"), ("04_tenants", "4.D.1")],
)
def test_a_change_that_nobody_declared_is_red_after_it(
    databases: Databases, database: Database, notebook: str, test: str
) -> None:
    play(database)
    by_superuser(databases, database, BY_HAND)
    run = run_notebook(notebook, database=database.name)

    assert verdicts(run)[test] == "FAIL"
    assert run.phase.results[test].verdict.reason.startswith("rows are not what phase MV-1 left: revenue_ledger: ")


def test_a_change_between_phase_and_activity_is_told_from_the_activity(
    databases: Databases, database: Database
) -> None:
    by_superuser(databases, database, "UPDATE tenants SET name = name || '!'")
    with pytest.raises(DataChanged, match="rows were changed since the phase before MV-1") as caught:
        play(database)
    assert "tenants" in caught.value.where
    play(database, writers="expected")
    found = run_notebook("04_tenants", database=database.name)

    assert found.phase.results["4.D.1"].verdict.reason.startswith("rows are not what phase 8b left: tenants: ")


def test_the_next_phase_starts_from_what_the_activity_left(databases: Databases, database: Database) -> None:
    play(database)
    assert run_notebook("10_view_contract", database=database.name).red is None
    by_superuser(databases, database, BY_HAND)
    with pytest.raises(DataChanged, match="rows were changed since the phase before MV-2") as caught:
        run_notebook("11_channel_performance", database=database.name)

    assert "revenue_ledger" in caught.value.where


def test_an_activity_comes_too_late_once_later_phases_are_applied(database: Database, store: Store) -> None:
    """Phases go on without it, since it proves nothing; rows in the middle of the chain are not changed afterwards."""
    assert run_notebook("11_channel_performance", database=database.name).red is None

    assert play(database) == []
    assert store.state("MV-1", "after") is None
    assert run_notebook("10_view_contract", database=database.name).red is None
    assert verdicts(run_notebook("11_channel_performance", database=database.name))["MV-2.D.1"] == "PASS"


# -- the backfill after it


def test_a_backfill_is_judged_by_what_its_own_phase_left(database: Database) -> None:
    """The activity changes currencies and states, which phase 7 had filled."""
    play(database)
    test = run_notebook("07_revenue_ledger", database=database.name).phase.results["7.B.1"]

    assert test.verdict.name == "PASS"
    assert all(row["rows_wrong"] == 0 for row in test.verdict.have)


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param("UPDATE revenue_ledger SET currency = 'XXX' WHERE state = 'authorized'", id="what was filled"),
        pytest.param("UPDATE tenants SET name = name || '!'", id="something else"),
    ],
)
def test_a_backfill_that_was_changed_by_hand_since_is_red(
    databases: Databases, database: Database, statements: str
) -> None:
    """Where anything was changed outside the phases, what they left says nothing of how it came about."""
    play(database)
    by_superuser(databases, database, statements)

    assert verdicts(run_notebook("07_revenue_ledger", database=database.name))["7.B.1"] == "FAIL"


def test_a_backfill_is_still_read_where_nothing_was_played(databases: Databases, database: Database) -> None:
    assert verdicts(run_notebook("07_revenue_ledger", database=database.name))["7.B.1"] == "PASS"
    by_superuser(databases, database, "UPDATE revenue_ledger SET currency = 'XXX'")

    assert verdicts(run_notebook("07_revenue_ledger", database=database.name))["7.B.1"] == "FAIL"


# -- an activity changes rows and nothing else


def project_with(folder: Path, monkeypatch: pytest.MonkeyPatch, statements: str) -> Project:
    """The project, whose activity does one thing more."""
    root = copy_project(folder / "project")
    (root / "params" / "activity" / "20_more.sql").write_text(statements, "utf-8")
    monkeypatch.setenv(PROJECT_VARIABLE, str(root))
    return Project.find()


@pytest.mark.parametrize(
    ("statements", "where"),
    [
        pytest.param("CREATE TABLE more (id int)", "more.id", id="a table"),
        pytest.param("ALTER TABLE tenants ADD COLUMN more text", "tenants.more", id="a column"),
        pytest.param("GRANT SELECT ON mv_realtime_revenue TO PUBLIC", "mv_realtime_revenue to PUBLIC", id="a right"),
        pytest.param("CREATE INDEX more ON tenants (name)", "tenants.more", id="an index"),
        pytest.param("COMMENT ON TABLE tenants IS 'more'", "tenants", id="a comment"),
    ],
)
def test_an_activity_that_changes_the_schema_is_rolled_back(
    database: Database, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statements: str, where: str
) -> None:
    project = project_with(tmp_path, monkeypatch, statements)
    before = counted(database, "revenue_state_transitions")
    with pytest.raises(DataChanged) as caught:
        play(database, project)

    assert caught.value.what == "the activity of phase MV-1 changed the schema; it was rolled back"
    assert caught.value.where == where
    assert caught.value.next_step == "let the SQL in params/activity change rows alone"
    assert store.state("MV-1", "after") is None
    assert counted(database, "revenue_state_transitions") == before == 0


def test_an_activity_that_fails_leaves_nothing(
    database: Database, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = project_with(tmp_path, monkeypatch, "SELECT 1 / 0")
    with pytest.raises(MigrationFailed, match="phase MV-1 failed; nothing of it was kept: division by zero"):
        play(database, project)

    assert store.state("MV-1", "before") is None
    assert counted(database, "revenue_state_transitions") == 0


def test_an_activity_reads_the_settings_of_its_scenario(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = """UPDATE tenants SET name = concat_ws(', ', current_setting('scenario.tenants'),
        current_setting('scenario.days'), current_setting('scenario.seed'), current_setting('scenario.as_of'))"""
    play(database, project_with(tmp_path, monkeypatch, statement))

    assert counted(database, "tenants WHERE name ~ '^2, 5, 7, [0-9]{4}-[0-9]{2}-[0-9]{2}$'") == counted(
        database, "tenants"
    )


def test_a_phase_without_a_revision_applies_none(database: Database) -> None:
    phase = Phase("MV-1", database=database.name)
    with pytest.raises(ConfigurationError, match="phase MV-1 applies no revision"):
        phase.apply()
    phase.database.close()


def test_an_activity_removes_no_checks_of_a_migration(databases: Databases) -> None:
    """It looks for drift and for writes as a phase does; only what it may change is another."""
    overridden = {name for name in vars(Activity) if name.startswith("_") and not name.startswith("__")}

    assert overridden == {"_act", "_refuse_conflicts", "_refuse_loss"}
    assert load_gates(databases.project).phase("MV-1").activity == "activity"


# -- what is known of a database


GATES = Gates.model_validate(
    {
        "phases": [
            {"phase": name, "title": name, "notebook": f"notebook {name}", "gates": [], **how}
            for name, how in {
                "4": {"revision": "a"},
                "look": {},
                "work": {"activity": "w"},
                "5": {"revision": "b"},
                "more work": {"activity": "m"},
                "6": {"revision": "c"},
            }.items()
        ]
    }
)


def left(store: Store, phase: str, rows: int) -> State:
    kept = State("r", {}, {"t": TableSum(rows, str(rows), {})})
    for moment in ("before", "after"):
        store.save_state(phase, moment, kept)
    return kept


@pytest.fixture
def shelf(databases: Databases, tmp_path: Path) -> Iterator[Store]:
    """A store that holds what a test puts there."""
    database = databases.empty()
    yield Store(Project.at(tmp_path, home=tmp_path / "home"), database.server)
    databases.drop(database)


def test_what_moves_a_database_is_migrations_and_activities() -> None:
    assert [phase.phase for phase in GATES.moving()] == ["4", "work", "5", "more work", "6"]
    assert [phase.phase for phase in GATES.migrating()] == ["4", "5", "6"]


@pytest.mark.parametrize(
    ("known", "phase", "wanted"),
    [
        pytest.param([], "4", None, id="the first has none before it"),
        pytest.param(["4"], "work", "4", id="before an activity"),
        pytest.param(["4", "work"], "5", "work", id="an activity that was played"),
        pytest.param(["4"], "5", "4", id="an activity that was not played"),
        pytest.param(["work"], "5", "work", id="an activity alone"),
        pytest.param(["4", "work"], "6", None, id="the phase before was applied by somebody else"),
        pytest.param(["4", "5"], "6", "5", id="the nearest"),
    ],
)
def test_what_the_last_phase_before_left(shelf: Store, known: list[str], phase: str, wanted: str | None) -> None:
    states = {name: left(shelf, name, rows) for rows, name in enumerate(known)}

    assert history.left_before(shelf, GATES, phase) == (states[wanted] if wanted else None)


@pytest.mark.parametrize(
    ("known", "phase", "steps"),
    [
        pytest.param(["4", "work", "5", "more work", "6"], "4", ["4", "work", "5", "more work", "6"], id="all"),
        pytest.param(["4", "5", "6"], "4", ["4", "5", "6"], id="nothing was played"),
        pytest.param(["4", "work", "6"], "4", ["4", "work"], id="up to the first that is not known"),
        pytest.param(["4", "work", "5"], "5", ["5"], id="from one on"),
        pytest.param([], "4", [], id="nothing is known"),
    ],
)
def test_the_history_of_a_database_passes_over_activities_that_were_not_played(
    shelf: Store, known: list[str], phase: str, steps: list[str]
) -> None:
    for rows, name in enumerate(known):
        left(shelf, name, rows)

    assert [step.phase for step in history.since(shelf, GATES, phase).steps] == steps


def test_what_is_known_of_an_activity_ends_with_the_phases_before_it(databases: Databases, database: Database) -> None:
    project, store = databases.project, Store(databases.project, database.server)
    gates, canonical = load_gates(project), load_canonical(project)
    play(database)
    with database.connect() as connection:
        history.forget_what_is_gone(connection, store, project, gates, canonical)
        assert store.state("MV-1", "after") is not None
        for to in ("202511151440", "202511151450"):
            move = migrations.downgrade if to == "202511151440" else migrations.upgrade
            move(connection, project, to)
        history.forget_what_is_gone(connection, store, project, gates, canonical)

    assert store.state("8b", "after") is None
    assert store.state("MV-1", "after") is None
    assert store.state("8a", "after") is not None


# -- a phase of several revisions


@pytest.mark.parametrize("revision", ["202511151520", "202511151530"])
def test_a_database_in_the_middle_of_a_phase_is_refused(
    databases: Databases, migrated_copy: Database, revision: str
) -> None:
    """Somebody has applied a part of phase H: the phase would look at half of what it makes."""
    with migrated_copy.connect() as connection:
        migrations.downgrade(connection, databases.project, revision)
        connection.commit()
    with pytest.raises(PhaseRefused) as caught:
        run_notebook("12h_view_isolation", database=migrated_copy.name)

    assert caught.value.what == f"phase H starts from revision 202511151510; the database stands at {revision}"
    assert caught.value.next_step == "run the phases before it first, or `alembic upgrade 202511151510`"


def test_a_phase_of_several_revisions_is_one_transaction(
    databases: Databases, migrated_copy: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last revision fails at its end: nothing of the first two is kept."""
    with migrated_copy.connect() as connection:
        migrations.downgrade(connection, databases.project, "202511151510")
        connection.commit()
        before = catalog.snapshot(connection)
    root = copy_project(tmp_path / "project")
    (path,) = (root / "alembic" / "versions").glob("202511151540_*.py")
    text = path.read_text("utf-8")
    path.write_text(
        text.replace("\n\n\ndef downgrade", '\n    op.execute("""SELECT 1 / 0""")\n\n\ndef downgrade'), "utf-8"
    )
    monkeypatch.setenv(PROJECT_VARIABLE, str(root))
    with pytest.raises(MigrationFailed, match="upgrade to 202511151540 failed; nothing of it was kept: division"):
        run_notebook("12h_view_isolation", database=migrated_copy.name)
    with migrated_copy.connect() as connection:
        assert migrations.current(connection) == "202511151510"
        assert catalog.diff(before, catalog.snapshot(connection)) == ()


def test_a_phase_that_was_taken_back_can_be_applied_again(databases: Databases, migrated_copy: Database) -> None:
    """The way back leaves a view without rows, which only the phase itself can fill: that is no drift."""
    with migrated_copy.connect() as connection:
        migrations.downgrade(connection, databases.project, "202511151510")
        connection.commit()
        assert not catalog.snapshot(connection)["table", "mv_reconciliation_status"]["populated"]

    assert run_notebook("12h_view_isolation", database=migrated_copy.name).red is None
    assert verdicts(run_notebook("12_daily_revenue", database=migrated_copy.name))["MV-3.S.1"] == "PASS"


def test_a_view_that_was_emptied_since_is_drift(databases: Databases, migrated_copy: Database) -> None:
    by_superuser(databases, migrated_copy, "REFRESH MATERIALIZED VIEW mv_channel_performance WITH NO DATA")
    found = verdicts(run_notebook("30_readiness", database=migrated_copy.name))

    assert found["R.4.1"] == "FAIL"


# -- logs


def test_rows_of_a_log_come_and_are_no_break_of_the_chain(migrated_copy: Database) -> None:
    phase = Phase("MV-4", database=migrated_copy.name)
    before = counted(migrated_copy, "mv_refresh_log")
    phase.refresh("mv_realtime_revenue")
    phase.database.close()

    assert counted(migrated_copy, "mv_refresh_log") == before + 1
    for notebook, test in (("04_tenants", "4.D.1"), ("12h_view_isolation", "H.D.1")):
        assert verdicts(run_notebook(notebook, database=migrated_copy.name))[test] == "PASS"
    assert verdicts(run_notebook("30_readiness", database=migrated_copy.name))["R.4.2"] == "PASS"


LATER = '''"""A later revision that does something to the log of refreshes."""

from alembic import op

revision = "202511151550"
down_revision = "202511151540"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""{statement}""")


def downgrade() -> None:
    pass
'''


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        pytest.param("DELETE FROM mv_refresh_log", "mv_refresh_log: ", id="rows are lost"),
        pytest.param("UPDATE mv_refresh_log SET rows = 0", "differing: rows", id="values are changed"),
        pytest.param("TRUNCATE mv_refresh_log", "0 after", id="it is emptied"),
    ],
)
def test_a_phase_that_loses_rows_of_a_log_is_rolled_back(
    migrated_copy: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, reason: str
) -> None:
    """No phase promises to keep a log as it was, and none may take anything from it while it runs."""
    root = copy_project(tmp_path / "project")
    (root / "alembic" / "versions" / "202511151550_more.py").write_text(LATER.format(statement=statement), "utf-8")
    gates = root / "params" / "gates.yaml"
    declared = """
  - phase: L
    title: Later
    notebook: 12h_view_isolation_again
    revision: "202511151550"
    gates:
      - {gate: L.D, title: Data, tests: {L.D.1: {kind: data, says: kept}}}
"""
    text = gates.read_text("utf-8")
    assert text.count("\n  - phase: MV-4\n") == 1
    gates.write_text(text.replace("\n  - phase: MV-4\n", f"{declared}  - phase: MV-4\n"), "utf-8")
    schema = root / "params" / "canonical_schema.yaml"
    schema.write_text(schema.read_text("utf-8").replace('"MV-3", "H"]', '"MV-3", "H", "L"]'), "utf-8")
    monkeypatch.setenv(PROJECT_VARIABLE, str(root))
    before = counted(migrated_copy, "mv_refresh_log WHERE rows > 0")
    phase = Phase("L", database=migrated_copy.name)
    with pytest.raises(DataChanged, match="phase L would have changed rows that were there before") as caught:
        phase.apply()
    phase.database.close()

    assert reason in caught.value.where
    assert counted(migrated_copy, "mv_refresh_log WHERE rows > 0") == before > 0
