"""Generated legacy rows: the same from the same parameters, with all that makes a backfill hard, or none at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import SMALL, Databases
from gatebook import baseline, catalog, row_security, scenario
from gatebook.database import Database
from gatebook.declarations import ScenarioParameters
from gatebook.errors import ConfigurationError, ScenarioRefused

DOCUMENTED = "tenant_id = '00000000-0000-0000-0000-000000000001'"
EVENTS, ALLOCATIONS, LEDGER = "attribution_events", "attribution_allocations", "revenue_ledger"


@contextmanager
def every_row(database: Database) -> Iterator[sa.Connection]:
    with database.connect() as connection, row_security.all_rows(connection):
        yield connection
    database.engine.dispose()  # it may be a template


def sums(database: Database) -> dict[str, baseline.TableSum]:
    """Over all columns but the times of the channels that a migration brings, which are those of its run."""
    with every_row(database) as connection:
        columns = baseline.table_columns(connection)
        columns["channel_taxonomy"] = [name for name in columns["channel_taxonomy"] if not name.endswith("_at")]
        return baseline.table_sums(connection, columns)


def load(databases: Databases, *, progress: scenario.Progress | None = None, **changes: Any) -> Any:
    """Sums of a scenario in a database of its own, and what was loaded."""
    database = databases.empty()
    parameters = SMALL.model_copy(update=changes)
    loaded = scenario.load(database, databases.project, parameters, progress=progress)
    found = sums(database)
    databases.drop(database)
    return found, loaded


@pytest.fixture(scope="module")
def rows(legacy: Database) -> Iterator[sa.Connection]:
    with every_row(legacy) as connection:
        yield connection


def one(rows: sa.Connection, statement: str) -> Any:
    return catalog.execute(rows, f"SELECT {statement}").scalar_one()


# -- what the rows depend on


def test_the_same_parameters_make_the_same_rows_however_the_days_are_cut(
    databases: Databases, legacy: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[int, int, str]] = []
    monkeypatch.setattr(scenario, "EVENTS_A_CHUNK", 16)  # two days of two tenants with four events
    found, loaded = load(databases, progress=lambda done, total, name: steps.append((done, total, name)))

    assert found == sums(legacy)
    assert loaded.rows == {table: each.rows for table, each in found.items()}
    assert loaded.revision == "202511141311"
    assert loaded.seconds > 0
    assert [done for done, _, _ in steps] == list(range(len(steps)))
    assert {total for _, total, _ in steps} == {len(steps) - 1}
    assert [name for _, _, name in steps] == [
        "10_tenants",
        "20_documented_tenant",
        *["30_activity"] * 3,
        "40_operations",
        "45_first_refresh",
        "50_awkward_events",
        "60_awkward_days",
        "70_awkward_operations",
        "80_last_refresh",
        "done",
    ]


def test_another_seed_makes_other_rows_of_the_same_number(databases: Databases, legacy: Database) -> None:
    before = sums(legacy)
    found, _ = load(databases, seed=8)

    assert found["channel_taxonomy"] == before["channel_taxonomy"]  # the list of channels is nobody's choice
    for table in ("tenants", EVENTS, ALLOCATIONS, "dead_events", "reconciliation_runs"):
        assert found[table].columns["id"] != before[table].columns["id"]
    for table in ("tenants", EVENTS, "dead_events", "reconciliation_runs"):
        assert found[table].rows == before[table].rows


@pytest.mark.parametrize(
    ("days", "days_a_chunk", "chunks"),
    [
        pytest.param(5, 2, [(3, 4), (1, 2), (0, 0)], id="a rest"),
        pytest.param(4, 2, [(2, 3), (0, 1)], id="even"),
        pytest.param(3, 100, [(0, 2)], id="one chunk"),
        pytest.param(1, 1, [(0, 0)], id="one day"),
    ],
)
def test_chunks_cover_each_day_once_oldest_first(
    databases: Databases, days: int, days_a_chunk: int, chunks: list[tuple[int, int]]
) -> None:
    steps = list(scenario._steps(databases.project.params / "scenario", days, days_a_chunk))

    assert [(first, last) for path, first, last in steps if path.stem == "30_activity"] == chunks
    assert [path.name for path, _, _ in steps] == sorted(path.name for path, _, _ in steps)
    assert {(first, last) for path, first, last in steps if path.stem != "30_activity"} == {(0, days - 1)}


@pytest.fixture(scope="module")
def as_of(databases: Databases, legacy: Database) -> date:
    """The last day of the template's rows: that of the morning on which the tests began, should they go on past it."""
    settings = baseline.Store(databases.project, legacy.server).scenario() or {}
    return date.fromisoformat(settings["as_of"])


def test_nothing_is_dated_after_the_last_day(rows: sa.Connection, as_of: date) -> None:
    timestamps = [
        (row["table"], row["column"])
        for table in baseline.table_columns(rows)
        for row in ({"table": table} | dict(each) for each in catalog.columns(table).run(rows))
        if row["type"] == "timestamp with time zone" and row["table"] != "channel_taxonomy"
    ]
    latest = max(value for t, c in timestamps if (value := one(rows, f"max({c}) FROM {t}")) is not None)

    assert len(timestamps) > 10
    assert latest < datetime.combine(as_of + timedelta(days=1), time(), UTC)


# -- the scenario of the source documents


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        (f"count(*) FROM {ALLOCATIONS} WHERE {DOCUMENTED}", 2700),
        (f"count(*) FROM {LEDGER} WHERE {DOCUMENTED}", 1350),
        (f"count(*) FROM {EVENTS} WHERE {DOCUMENTED}", 900),
        (f"count(DISTINCT created_at::date) FROM {ALLOCATIONS} WHERE {DOCUMENTED}", 90),
        (f"min(n) FROM (SELECT count(*) n FROM {ALLOCATIONS} WHERE {DOCUMENTED} GROUP BY created_at::date) d", 30),
        (f"max(n) FROM (SELECT count(*) n FROM {ALLOCATIONS} WHERE {DOCUMENTED} GROUP BY created_at::date) d", 30),
        (f"min(n) FROM (SELECT count(*) n FROM {LEDGER} WHERE {DOCUMENTED} GROUP BY verified_at::date) d", 15),
        (f"max(n) FROM (SELECT count(*) n FROM {LEDGER} WHERE {DOCUMENTED} GROUP BY verified_at::date) d", 15),
        (f"count(DISTINCT channel_code) FROM {ALLOCATIONS} WHERE {DOCUMENTED}", 3),
        (f"bool_and(is_verified) FROM {LEDGER} WHERE {DOCUMENTED}", True),
    ],
)
def test_the_documented_tenant(rows: sa.Connection, statement: str, value: Any) -> None:
    assert one(rows, statement) == value


def test_the_documented_tenant_ends_on_the_last_day(rows: sa.Connection, as_of: date) -> None:
    assert one(rows, f"max(created_at)::date FROM {ALLOCATIONS} WHERE {DOCUMENTED}") == as_of


@pytest.mark.parametrize("state", ["captured", "refunded", "chargeback"])
def test_five_entries_a_day_are_meant_for_each_state(rows: sa.Connection, state: str) -> None:
    wanted = f"{DOCUMENTED} AND model_metadata ->> 'ledger_state' = '{state}'"

    assert one(rows, f"count(*) FROM {ALLOCATIONS} WHERE {wanted}") == 450
    assert (
        one(rows, f"max(n) FROM (SELECT count(*) n FROM {ALLOCATIONS} WHERE {wanted} GROUP BY created_at::date) d") == 5
    )


# -- rows that break a naive migration


@pytest.mark.parametrize(
    ("statement", "least"),
    [
        pytest.param(f"{EVENTS} WHERE session_id IS NULL", 6, id="no session"),
        pytest.param(f"{EVENTS} WHERE length(external_event_id) > 255", 5, id="external id over 255"),
        pytest.param(
            f"{EVENTS} WHERE length(concat_ws(':', tenant_id, 'ext', external_event_id)) IN (255, 256)",
            2,
            id="external ids that just fit and just do not",
        ),
        pytest.param(f"{EVENTS} WHERE external_event_id IS NULL AND correlation_id IS NULL", 4, id="no id at all"),
        pytest.param(
            f"{EVENTS} WHERE external_event_id IS NULL AND correlation_id IS NOT NULL", 2, id="correlation only"
        ),
        pytest.param(f"{EVENTS} WHERE external_event_id = ''", 1, id="empty external id"),
        pytest.param(f"{EVENTS} WHERE external_event_id LIKE '%''%\"%'", 1, id="quotes"),
        pytest.param(f"{EVENTS} WHERE external_event_id LIKE '%<img%'", 1, id="markup"),
        pytest.param(f"{EVENTS} WHERE revenue_cents = 2147483647", 3, id="largest amounts"),
        pytest.param(f"{EVENTS} WHERE revenue_cents = 0", 2, id="amounts of nothing"),
        pytest.param(f"{EVENTS} WHERE jsonb_typeof(raw_payload) <> 'object'", 3, id="payloads that are no object"),
        pytest.param(f"{LEDGER} WHERE is_verified AND verified_at IS NULL", 1, id="verified without a time"),
        pytest.param(f"{LEDGER} WHERE NOT is_verified AND verified_at IS NOT NULL", 1, id="open with a time"),
        pytest.param("dead_events WHERE length(error_code) > 100", 3, id="long error codes"),
        pytest.param("dead_events WHERE error_code = ''", 1, id="empty error code"),
        pytest.param("dead_events WHERE coalesce(error_detail ->> 'message', '') = ''", 6, id="no message"),
        pytest.param("dead_events WHERE jsonb_typeof(error_detail -> 'message') = 'object'", 1, id="nested message"),
        pytest.param("tenants WHERE name LIKE '%<script>%'", 1, id="markup in a name"),
        pytest.param("channel_taxonomy WHERE code <> btrim(code)", 1, id="blanks around a code"),
        pytest.param(
            f"tenants t WHERE NOT EXISTS (SELECT FROM {EVENTS} e WHERE e.tenant_id = t.id)", 1, id="idle tenant"
        ),
    ],
)
def test_awkward_rows_are_there(rows: sa.Connection, statement: str, least: int) -> None:
    assert one(rows, f"count(*) FROM {statement}") >= least


def test_ids_that_differ_only_late_or_only_in_case_are_there(rows: sa.Connection) -> None:
    alike = f"(SELECT FROM {EVENTS} GROUP BY tenant_id, {{}} HAVING count(DISTINCT external_event_id) > 1) g"

    assert one(rows, f"count(*) FROM {alike.format('left(external_event_id, 255)')}") >= 1
    assert one(rows, f"count(*) FROM {alike.format('lower(btrim(external_event_id))')}") >= 1


def test_shares_of_an_event_sum_to_its_revenue(rows: sa.Connection) -> None:
    wrong = f"""count(*) FROM (
        SELECT FROM {ALLOCATIONS} a JOIN {EVENTS} e ON e.id = a.event_id
         GROUP BY e.id, a.model_version
        HAVING sum(a.allocated_revenue_cents) <> max(e.revenue_cents) OR abs(sum(a.allocation_ratio) - 1) > 0.0001) w"""

    assert one(rows, wrong) == 0


# -- only into an empty database


def test_a_database_that_is_not_empty_is_refused_and_left_alone(databases: Databases) -> None:
    database = databases.empty()
    with database.connect() as connection:
        catalog.execute(connection, "CREATE TABLE mine (a int); INSERT INTO mine VALUES (1)")
        connection.commit()
        before = catalog.snapshot(connection)
    with pytest.raises(ScenarioRefused) as caught:
        scenario.load(database, databases.project, SMALL)
    with database.connect() as connection:
        assert catalog.snapshot(connection) == before
        assert one(connection, "count(*) FROM mine") == 1
    databases.drop(database)

    assert caught.value.what == "the database is not empty (1 tables), so no scenario is loaded into it"


def test_a_revision_without_tables_is_not_empty_either(databases: Databases) -> None:
    database = databases.empty()
    with database.connect() as connection:
        catalog.execute(connection, "CREATE TABLE alembic_version AS SELECT 'x'::varchar(32) AS version_num")
        connection.commit()
    with pytest.raises(ScenarioRefused, match="not empty"):
        scenario.load(database, databases.project, SMALL)
    databases.drop(database)


def test_what_fails_half_way_leaves_nothing(databases: Databases) -> None:
    database = databases.empty()

    def stop(done: int, _total: int, _name: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scenario.load(database, databases.project, SMALL, progress=stop)
    with database.connect() as connection:
        assert catalog.tables().run(connection) == ()
    databases.drop(database)


def test_no_date_no_scenario(databases: Databases) -> None:
    database = databases.empty()
    with pytest.raises(ScenarioRefused, match="as_of '2025-02-30' is not a date"):
        scenario.load(database, databases.project, SMALL.model_copy(update={"as_of": "2025-02-30"}))
    databases.drop(database)


def test_today_is_the_day_in_utc() -> None:
    assert scenario._as_of("today") == datetime.now(UTC).date()
    assert ScenarioParameters().as_of == "today"


def test_only_an_embedded_database_is_made_anew(databases: Databases) -> None:
    embedded = databases.empty()
    foreign = Database(name="DATABASE_URL", conninfo=embedded.conninfo)
    with pytest.raises(ConfigurationError, match="only a database of the embedded server can be made anew"):
        scenario.load(foreign, databases.project, SMALL.model_copy(update={"reset": True}))
    foreign.close()
    databases.drop(embedded)
