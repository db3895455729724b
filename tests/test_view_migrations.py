"""The revisions of the views in databases as they are: there and back, runs that tie, rights and views of others."""

from collections.abc import Iterator

import psycopg
import pytest

from conftest import Databases, run_notebook, verdicts
from gatebook import catalog, migrations, row_security
from gatebook.catalog import execute
from gatebook.database import Database
from gatebook.declarations import load_gates
from gatebook.errors import MigrationFailed, PhaseRefused
from gatebook.project import Project

pytestmark = pytest.mark.server

BEFORE, CHANNELS, DAILY, LOG, LATEST, SCOPED = (
    *("202511151450", "202511151500", "202511151510"),
    *("202511151520", "202511151530", "202511151540"),
)
STATUS = "mv_reconciliation_status"
FOUR = ("mv_realtime_revenue", STATUS, "mv_channel_performance", "mv_daily_revenue_summary")


def move(database: Database, project: Project, to: str) -> None:
    with database.connect() as connection:
        here, there = (migrations.position(project, each) for each in (migrations.current(connection), to))
        (migrations.upgrade if there > here else migrations.downgrade)(connection, project, to)
        connection.commit()


def run(database: Database, *statements: str) -> None:
    with database.connect() as connection:
        with row_security.all_rows(connection):
            for statement in statements:
                execute(connection, statement)
        connection.commit()


def by_superuser(databases: Databases, database: Database, statements: str) -> None:
    with databases.maintenance(database.name.removeprefix("embedded/")) as connection:
        connection.execute(statements)


def one(database: Database, query: str) -> object:
    with database.connect() as connection, row_security.all_rows(connection):
        return execute(connection, query).scalar_one()


def snapshot(database: Database) -> catalog.Snapshot:
    with database.connect() as connection:
        return catalog.snapshot(connection)


@pytest.fixture
def before_views(migrated_copy: Database, databases: Databases) -> Database:
    """Phases 4 to 8 are there, the views are not."""
    move(migrated_copy, databases.project, BEFORE)
    return migrated_copy


# -- there and back


def test_each_revision_of_the_views_can_be_taken_back_and_made_again(before_views: Database, project: Project) -> None:
    """Down again from each, the catalog is what it was; up again, it is what the revision had made."""
    below = {}
    for revision in (CHANNELS, DAILY, LOG, LATEST, SCOPED):
        below[revision] = snapshot(before_views)
        move(before_views, project, revision)
        made = snapshot(before_views)
        move(before_views, project, project_before(project, revision))
        left = [row for row in catalog.diff(below[revision], snapshot(before_views)) if row["attribute"] != "populated"]
        assert left == [], f"down from {revision}"
        move(before_views, project, revision)
        assert catalog.diff(made, snapshot(before_views)) == (), f"up again to {revision}"


def project_before(project: Project, revision: str) -> str:
    chain = migrations.chain(project)
    return chain[chain.index(revision) - 1]


def test_views_are_dropped_without_what_they_do_not_own(before_views: Database, project: Project) -> None:
    """No CASCADE: somebody's own view over one of ours keeps the revision from being taken back, and says so."""
    move(before_views, project, DAILY)
    run(before_views, "CREATE VIEW mine AS SELECT tenant_id FROM mv_daily_revenue_summary")
    kept = snapshot(before_views)
    with pytest.raises(MigrationFailed, match="because other objects depend on it"):
        move(before_views, project, CHANNELS)

    assert catalog.diff(kept, snapshot(before_views)) == ()


def test_a_view_of_others_over_the_view_that_is_made_anew_stops_the_revision(
    before_views: Database, project: Project
) -> None:
    run(before_views, f"CREATE VIEW mine AS SELECT tenant_id FROM {STATUS}")
    move(before_views, project, LOG)
    kept = snapshot(before_views)
    with pytest.raises(MigrationFailed, match=f"cannot drop materialized view {STATUS} because other objects depend"):
        move(before_views, project, LATEST)

    assert catalog.diff(kept, snapshot(before_views)) == ()


# -- two runs of a tenant that started at the same time

TOLD_APART = """DELETE FROM reconciliation_runs AS one USING reconciliation_runs AS other
 WHERE one.tenant_id = other.tenant_id AND one.last_run_at = other.last_run_at AND one.id < other.id"""


@pytest.mark.parametrize(
    ("statements", "is_populated"),
    [pytest.param([], False, id="they tie"), pytest.param([TOLD_APART], True, id="they are told apart")],
)
def test_the_way_back_from_the_latest_run_leaves_the_view_empty_where_it_must(
    migrated_copy: Database, project: Project, statements: list[str], *, is_populated: bool
) -> None:
    run(migrated_copy, *statements)
    move(migrated_copy, project, LATEST)
    move(migrated_copy, project, LOG)

    assert one(migrated_copy, f"SELECT relispopulated FROM pg_class WHERE relname = '{STATUS}'") is is_populated
    if is_populated:
        assert one(migrated_copy, f"SELECT count(*) FROM {STATUS}") == one(
            migrated_copy, "SELECT count(DISTINCT tenant_id) FROM reconciliation_runs"
        )
    move(migrated_copy, project, SCOPED)
    assert one(migrated_copy, f"SELECT count(*) > 0 FROM {STATUS}") is True


def test_another_failure_on_the_way_back_is_not_passed_over(migrated_copy: Database, project: Project) -> None:
    """Only runs that tie leave the view empty; whatever else keeps it from being filled stops the downgrade."""
    run(
        migrated_copy,
        "ALTER TABLE reconciliation_runs RENAME TO runs",
        "CREATE VIEW reconciliation_runs AS SELECT id, tenant_id, state, updated_at, "
        "CASE WHEN 1 / (length(tenant_id::text) - 36) = 1 THEN last_run_at END AS last_run_at FROM runs",
    )
    with pytest.raises(MigrationFailed, match="division by zero"):
        move(migrated_copy, project, LOG)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        pytest.param("last_run_at = last_run_at + interval '1 hour'", "the one that started last", id="started last"),
        pytest.param("updated_at = updated_at + interval '1 hour'", "the one changed last", id="changed last"),
        pytest.param("state = state", "the greatest id", id="greatest id"),
    ],
)
def test_the_latest_run_is_one_and_always_the_same(migrated_copy: Database, changes: str, wanted: str) -> None:
    """Of three that started together, one is moved ahead."""
    tenant = "(SELECT min(tenant_id::text)::uuid FROM reconciliation_runs)"
    run(
        migrated_copy,
        f"""INSERT INTO reconciliation_runs (id, tenant_id, last_run_at, updated_at, state)
            SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, {tenant}, timestamptz '2999-01-01 00:00+00',
                   timestamptz '2999-01-01 00:00+00', 'completed' FROM generate_series(1, 3) AS n""",
        f"UPDATE reconciliation_runs SET {changes} WHERE id = '00000000-0000-4000-8000-000000000001'",
        f"REFRESH MATERIALIZED VIEW CONCURRENTLY {STATUS}",
    )
    found = one(migrated_copy, f"SELECT reconciliation_run_id::text FROM {STATUS} WHERE tenant_id = {tenant}")

    assert found == f"00000000-0000-4000-8000-00000000000{3 if wanted == 'the greatest id' else 1}"


# -- rights that a database gives by itself


def rights(database: Database, role: str) -> list[str]:
    """The relations of ours that a role may read, INSERT into, and so on, by any right at all."""
    with database.connect() as connection:
        rows = execute(
            connection,
            "SELECT c.relname || ' ' || p FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%(names)s) "
            "AND has_table_privilege(%(role)s, c.oid, p) ORDER BY 1",
            {"role": role, "names": [*FOUR, "mv_refresh_log"]},
        )
        return [str(row[0]) for row in rows]


@pytest.mark.parametrize("privileges", ["SELECT", "ALL"])
def test_default_privileges_open_no_materialized_view_and_no_log(
    databases: Databases, before_views: Database, privileges: str
) -> None:
    run(before_views, f"ALTER DEFAULT PRIVILEGES GRANT {privileges} ON TABLES TO PUBLIC, app_rw, app_ro")
    for revision in (CHANNELS, DAILY):  # not even until the last revision
        move(before_views, databases.project, revision)
        assert {name for role in ("app_ro", "app_rw") for name in rights(before_views, role)} <= {
            f"{view} SELECT" for view in FOUR[:2]
        }
    move(before_views, databases.project, SCOPED)

    assert [rights(before_views, role) for role in ("app_ro", "app_rw")] == [[], []]


def test_all_gates_are_green_where_the_application_reads_new_tables_by_default(
    legacy_copy: Database, project: Project
) -> None:
    """Such a right was given before phase 4; the materialized views stay closed, and nothing counts as undeclared."""
    run(legacy_copy, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app_ro")
    red = {
        phase.phase: run_notebook(phase.notebook, database=legacy_copy.name).red for phase in load_gates(project).phases
    }

    assert red == dict.fromkeys(red)


@pytest.fixture
def reporter(databases: Databases, server: Database) -> Iterator[str]:  # noqa: ARG001 - roles are the server's
    """A role that nobody declared; it loses its rights with the databases of the test."""
    with databases.maintenance() as superuser:
        superuser.execute("CREATE ROLE reporter NOLOGIN")
        yield "reporter"
        superuser.execute("DROP ROLE reporter")


def test_rights_of_a_role_that_nobody_declared_are_told(
    reporter: str, databases: Databases, migrated_copy: Database
) -> None:
    """One that was given in a new view, and one that a view lost when it was made anew."""
    move(migrated_copy, databases.project, BEFORE)
    by_superuser(databases, migrated_copy, f"GRANT SELECT ON {STATUS} TO {reporter}")
    with pytest.raises(PhaseRefused, match="the schema was changed since the phase before MV-2") as caught:
        run_notebook("11_channel_performance", database=migrated_copy.name)
    move(migrated_copy, databases.project, SCOPED)
    seen = run_notebook("12h_view_isolation", database=migrated_copy.name)

    assert caught.value.where == f"grant {STATUS} to {reporter} added"
    assert one(migrated_copy, f"SELECT has_table_privilege('{reporter}', '{STATUS}', 'SELECT')") is False
    assert verdicts(seen)["H.S.1"] == "UNKNOWN"  # nobody looked before


# -- what else a database holds


THIRD = """CREATE MATERIALIZED VIEW mv_mine AS SELECT tenant_id, sum(allocated_revenue_cents) AS cents
  FROM attribution_allocations GROUP BY tenant_id"""


def test_a_materialized_view_of_others_is_left_alone(databases: Databases, before_views: Database) -> None:
    run(before_views, THIRD, "CREATE UNIQUE INDEX ON mv_mine (tenant_id)")
    before = {key: each for key, each in snapshot(before_views).items() if "mv_mine" in key[1]}
    move(before_views, databases.project, SCOPED)
    after = {key: each for key, each in snapshot(before_views).items() if "mv_mine" in key[1]}
    run(before_views, "SELECT refresh_materialized_view('mv_mine')")

    assert after == before
    assert (
        one(before_views, "SELECT refreshed_at IS NOT NULL FROM mv_refresh_status WHERE view_name = 'mv_mine'") is True
    )


def test_a_materialized_view_of_others_that_the_application_reads_is_red(
    databases: Databases, migrated_copy: Database
) -> None:
    by_superuser(databases, migrated_copy, f"SET ROLE gatebook_owner; {THIRD}; GRANT SELECT ON mv_mine TO app_ro")
    found = run_notebook("12h_view_isolation", database=migrated_copy.name).phase.results

    assert found["H.1.1"].verdict.reason.startswith("rows of others are shown by mv_mine (")
    assert found["H.3.3"].verdict.name == "FAIL"


# -- days, windows, and who sees all rows


def test_the_window_of_channels_is_today_and_ninety_utc_days(migrated_copy: Database) -> None:
    """The last instant that is too old, the first that is not; cut in UTC, wherever the session lives."""
    start = "(date_trunc('day', now() AT TIME ZONE 'UTC') - interval '90 days') AT TIME ZONE 'UTC'"
    tenant = "(SELECT min(tenant_id::text)::uuid FROM attribution_allocations)"
    moved = f"""WITH two AS (SELECT id, row_number() OVER (ORDER BY id) AS nth FROM attribution_allocations
                               WHERE tenant_id = {tenant} ORDER BY id LIMIT 2)
                UPDATE attribution_allocations AS one SET created_at = {start}
                       - CASE nth WHEN 1 THEN interval '1 microsecond' ELSE interval '0' END
                  FROM two WHERE one.id = two.id"""
    run(
        migrated_copy,
        f"DELETE FROM attribution_allocations WHERE created_at < {start} + interval '2 days'",
        moved,
        "SET LOCAL TimeZone = 'Pacific/Kiritimati'; REFRESH MATERIALIZED VIEW mv_channel_performance",
    )
    first = "(now() AT TIME ZONE 'UTC')::date - 90"

    assert one(migrated_copy, f"SELECT min(allocation_date) = {first} FROM mv_channel_performance") is True
    assert one(
        migrated_copy, f"SELECT sum(total_allocations) FROM mv_channel_performance WHERE allocation_date = {first}"
    ) == 1  # fmt: skip


def test_currencies_are_never_added_up_and_authorized_entries_have_no_row(migrated_copy: Database) -> None:
    states = one(migrated_copy, "SELECT string_agg(DISTINCT state, ', ' ORDER BY state) FROM mv_daily_revenue_summary")
    groups = one(migrated_copy, "SELECT count(*) FROM mv_daily_revenue_summary")
    kinds = """SELECT count(DISTINCT (tenant_id, (verification_timestamp AT TIME ZONE 'UTC')::date, state, currency))
                 FROM revenue_ledger WHERE state <> 'authorized'"""

    assert states == "captured, chargeback, refunded"
    assert groups == one(migrated_copy, kinds)
    assert one(migrated_copy, "SELECT count(DISTINCT currency) FROM mv_daily_revenue_summary") == 3


def test_writers_go_on_while_the_views_are_made(before_views: Database, project: Project) -> None:
    """Until the migration commits, it holds nothing on its sources that somebody who writes would wait for."""
    with before_views.connect() as connection:
        migrations.upgrade(connection, project, DAILY)
        with psycopg.connect(before_views.conninfo) as writer:
            writer.execute("SET lock_timeout = '1s'")
            for table in ("attribution_allocations", "revenue_ledger"):
                writer.execute(f"UPDATE {table} SET updated_at = updated_at WHERE false")
        connection.rollback()


def test_a_view_that_was_filled_by_one_who_sees_one_tenant_is_red(migrated_copy: Database) -> None:
    """Under row security an owner may see a part of the rows: then a refresh keeps a part, and nothing complains."""
    tenant = "00000000-0000-0000-0000-000000000001"
    run(
        migrated_copy,
        f"CREATE POLICY one ON revenue_ledger AS RESTRICTIVE TO CURRENT_USER USING (tenant_id = '{tenant}')",
        "REFRESH MATERIALIZED VIEW mv_daily_revenue_summary",
        "DROP POLICY one ON revenue_ledger",
    )
    assert one(migrated_copy, "SELECT count(DISTINCT tenant_id) FROM mv_daily_revenue_summary") == 1

    assert verdicts(run_notebook("13_view_validation", database=migrated_copy.name))["MV-4.3.3"] == "FAIL"
