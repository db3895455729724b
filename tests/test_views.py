"""Examinations of the revisions that make views, each green as migrated and red for what it is there to find."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import Databases, copy_project, subject_of
from gatebook import compare, migrations, views
from gatebook.catalog import execute
from gatebook.compare import refresh_and_compare
from gatebook.contract import Contract, load_contract
from gatebook.database import Database
from gatebook.project import Project
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

pytestmark = pytest.mark.server

CHANNELS, DAILY, REALTIME, LATEST = (
    *("mv_channel_performance", "mv_daily_revenue_summary"),
    *("mv_realtime_revenue", "mv_reconciliation_status"),
)
FOUR = (REALTIME, LATEST, CHANNELS, DAILY)
ZONES = ["UTC", "Asia/Tokyo", "America/Los_Angeles"]
LIMITS = {"lock_timeout_ms": 5_000, "statement_timeout_ms": 60_000}


@pytest.fixture(scope="module")
def own(project: Project) -> Contract:
    return load_contract(project)


def after(subject: Subject, statements: str, examination: Examination) -> Verdict:
    """What is found once the statements were run, in a transaction that ends with the test."""
    execute(subject.connection, statements)
    return examination(subject)


def said(found: Verdict) -> tuple[type[Verdict], str]:
    return type(found), found.reason


# -- the place of a revision


@pytest.mark.parametrize(
    ("revision", "place", "verdict", "reason"),
    [
        pytest.param("202511151500", "202511151450", Pass, "", id="as it is"),
        pytest.param("202511131115", "202511131113", Fail, "after is 202511131114, wanted 202511131113", id="another"),
        pytest.param(
            "202511151505",
            "202511151500",
            Fail,
            "exists is False, wanted True; after is None, wanted 202511151500; applied is False, wanted True",
            id="no such revision",
        ),
    ],
)
def test_the_place_of_a_revision(
    subject: Subject, revision: str, place: str, verdict: type[Verdict], reason: str
) -> None:
    before = migrations.chain(subject.project)
    reason = reason.replace("202511131114", before[before.index("202511131115") - 1])

    assert said(views.follows(revision, after=place)(subject)) == (verdict, reason)


def test_a_revision_that_the_database_does_not_have_is_red(legacy_copy: Database, project: Project) -> None:
    with subject_of(legacy_copy, project) as subject:
        found = views.follows("202511151500", after="202511151450")(subject)

    assert said(found) == (Fail, "applied is False, wanted True")


def test_the_first_revision_follows_none(subject: Subject) -> None:
    first = migrations.chain(subject.project)[0]
    found = views.follows(first, after="base")(subject)

    assert said(found) == (Fail, "after is None, wanted base")


# -- words


@pytest.mark.parametrize(
    ("words", "verdict", "reason"),
    [
        pytest.param(["params/api_contract.yaml", CHANNELS], Pass, "", id="all of them"),
        pytest.param(["Contract", "x.yml", DAILY], Fail, f"it does not name x.yml, {DAILY}", id="two are missing"),
        pytest.param([], Fail, "it does not name anything", id="nothing was asked"),
    ],
)  # fmt: skip
def test_the_docstring_names_words(subject: Subject, words: list[str], verdict: type[Verdict], reason: str) -> None:
    found = views.docstring_names("202511151500", *words)(subject)

    assert said(found) == (verdict, reason)
    assert [row["word"] for row in found.want] == words


@pytest.mark.parametrize(
    ("comment", "verdict", "reason"),
    [
        pytest.param("'purpose: x. REFRESH: hourly'", Pass, "", id="whatever their case"),
        pytest.param("'Purpose: x'", Fail, "nothing of Refresh:", id="one is missing"),
        pytest.param("NULL", Fail, "nothing of Purpose:, Refresh:", id="no comment"),
    ],
)
def test_the_comment_states_words(subject: Subject, comment: str, verdict: type[Verdict], reason: str) -> None:
    statement = f"COMMENT ON MATERIALIZED VIEW {CHANNELS} IS {comment}"

    assert said(after(subject, statement, views.states(CHANNELS, "Purpose:", "Refresh:"))) == (verdict, reason)


def test_a_relation_that_is_not_there_states_nothing(subject: Subject) -> None:
    assert said(views.states("mv_nothing", "Purpose:")(subject)) == (Fail, "nothing of Purpose:")


# -- what migrations make


def test_migrations_make_what_the_contract_says_before_they_are_applied(
    legacy_copy: Database, project: Project, own: Contract
) -> None:
    """From before phase 4 up to the second view, in the transaction of the examination."""
    with subject_of(legacy_copy, project) as subject:
        found = views.makes(own, "202511151510", CHANNELS, DAILY)(subject)
        subject.connection.rollback()
        left = subject.revision

    assert isinstance(found, Pass)
    assert len(found.have) == 13
    assert left == "202511141311"


def other_contract(own: Contract, view: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Contract:
    columns = change(dict(own.view(view).columns))
    return own.model_copy(update={"views": {**own.views, view: own.view(view).model_copy(update={"columns": columns})}})


def with_another_type(columns: dict[str, Any]) -> dict[str, Any]:
    return columns | {"total_conversions": columns["total_conversions"].model_copy(update={"type": "integer"})}


def without_the_last(columns: dict[str, Any]) -> dict[str, Any]:
    return dict(list(columns.items())[:-1])


def in_another_order(columns: dict[str, Any]) -> dict[str, Any]:
    return dict(reversed(columns.items()))


@pytest.mark.parametrize("change", [with_another_type, without_the_last, in_another_order])
def test_other_columns_than_those_of_the_contract_are_red(
    subject: Subject, own: Contract, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    found = views.makes(other_contract(own, CHANNELS, change), "202511151510", CHANNELS, DAILY)(subject)

    assert said(found) == (Fail, "columns, their types or their order differ")


def test_without_a_view_nothing_is_proven(subject: Subject, own: Contract) -> None:
    assert said(views.makes(own, "202511151510")(subject)) == (Unknown, "no view was named")


def test_a_migration_that_fails_is_red_and_says_why(legacy_copy: Database, project: Project, own: Contract) -> None:
    with subject_of(legacy_copy, project) as subject:
        execute(subject.connection, f"CREATE TABLE {CHANNELS} (id int)")
        found = views.makes(own, "202511151510", CHANNELS)(subject)

    assert isinstance(found, Fail)
    assert f'relation "{CHANNELS}" already exists' in found.reason


# -- refreshing


def test_views_are_refreshed_concurrently(subject: Subject) -> None:
    found = views.refreshes_concurrently(*FOUR)(subject)

    assert isinstance(found, Pass)
    assert [row["view"] for row in found.have] == list(FOUR)


NO_INDEX = f'{CHANNELS}: cannot refresh materialized view "public.{CHANNELS}" concurrently'


@pytest.mark.parametrize(
    ("statements", "names", "verdict", "reason"),
    [
        pytest.param(f"DROP INDEX idx_{CHANNELS}_unique", [DAILY, CHANNELS], Fail, NO_INDEX, id="no index"),
        pytest.param(
            f"DROP INDEX idx_{CHANNELS}_unique; CREATE UNIQUE INDEX ON {CHANNELS} (tenant_id, channel_code, "
            "allocation_date) WHERE total_conversions > 0",
            [CHANNELS],
            Fail,
            NO_INDEX,
            id="a partial index",
        ),
        pytest.param(
            "SELECT 1", ["mv_nothing"], Fail, 'mv_nothing: relation "mv_nothing" does not exist', id="no view"
        ),
        pytest.param(
            "DELETE FROM reconciliation_runs", [LATEST], Unknown, "a view without rows proves nothing", id="no rows"
        ),
        pytest.param("SELECT 1", [], Unknown, "a view without rows proves nothing", id="nothing was asked"),
    ],
)
def test_views_that_are_not_refreshed(
    subject: Subject, statements: str, names: list[str], verdict: type[Verdict], reason: str
) -> None:
    assert said(after(subject, statements, views.refreshes_concurrently(*names))) == (verdict, reason)


TIED = """INSERT INTO reconciliation_runs (tenant_id, last_run_at, state)
SELECT tenant_id, max(last_run_at), 'completed' FROM reconciliation_runs GROUP BY tenant_id"""


@pytest.mark.parametrize(
    ("statements", "verdict", "reason"),
    [
        pytest.param([TIED], Pass, "", id="two runs that started together"),
        pytest.param([TIED, TIED], Pass, "", id="three"),
        pytest.param(
            [TIED, f"{TIED} HAVING false"],
            Unknown,
            "a statement wrote no row, so nothing is proven",
            id="one wrote none",
        ),
        pytest.param(
            ["DELETE FROM reconciliation_runs"], Unknown, "a view without rows proves nothing", id="an empty source"
        ),
    ],
)
def test_a_view_is_refreshed_after_writes(
    subject: Subject, statements: list[str], verdict: type[Verdict], reason: str
) -> None:
    assert said(views.refreshes_after(LATEST, statements=statements)(subject)) == (verdict, reason)


TOLD_APART = """DELETE FROM reconciliation_runs AS one USING reconciliation_runs AS other
 WHERE one.tenant_id = other.tenant_id AND one.last_run_at = other.last_run_at AND one.id < other.id"""


def test_the_first_form_of_the_view_breaks_and_that_is_seen(subject: Subject) -> None:
    """Before phase H, once its runs are told apart: two that start together and the refresh fails for good."""
    migrations.downgrade(subject.connection, subject.project, "202511151510")
    execute(subject.connection, TOLD_APART)
    execute(subject.connection, f"REFRESH MATERIALIZED VIEW {LATEST}")
    assert views.refreshes_concurrently(LATEST)(subject).is_green
    found = views.refreshes_after(LATEST, statements=[TIED])(subject)

    assert isinstance(found, Fail)
    assert found.reason.startswith(f"{LATEST}: ")
    assert "duplicate" in found.reason


OTHERWISE = "the query answers otherwise"
ONE = "SELECT count(*) AS runs FROM reconciliation_runs WHERE state = 'x'"


@pytest.mark.parametrize(
    ("query", "want", "statements", "verdict", "reason"),
    [
        pytest.param(
            ONE, [{"runs": 1}], [f"{TIED.replace('completed', 'x')} LIMIT 1"], Pass, "", id="as it must"
        ),
        pytest.param(
            ONE, [{"runs": 0}], [f"{TIED.replace('completed', 'x')} LIMIT 1"], Fail, OTHERWISE, id="otherwise"
        ),
        pytest.param(f"{ONE} HAVING false", [{"runs": 0}], [], Fail, OTHERWISE, id="no row"),
        pytest.param(
            ONE, [{"runs": 0}], [f"{TIED} HAVING false"], Unknown, "a statement reached no row, so nothing is proven",
            id="a statement without effect",
        ),
        pytest.param(
            ONE, [{"runs": 0}], ["ALTER TABLE tenants DISABLE TRIGGER USER"], Pass, "", id="a statement without rows"
        ),
    ],
)  # fmt: skip
def test_a_query_answers_after_statements(
    subject: Subject,
    query: str,
    want: Sequence[dict[str, Any]],
    statements: list[str],
    verdict: type[Verdict],
    reason: str,
) -> None:
    execute(subject.connection, "ALTER TABLE reconciliation_runs DROP CONSTRAINT ck_reconciliation_runs_state_valid")

    assert said(views.answers_after(query, want, statements=statements)(subject)) == (verdict, reason)


# -- the same everywhere


def made(view: str, columns: str, of: str, *, key: str) -> str:
    """A materialized view that can be refreshed concurrently."""
    return f"CREATE MATERIALIZED VIEW {view} AS SELECT {columns} FROM {of}; CREATE UNIQUE INDEX ON {view} ({key})"


def test_days_of_every_view_are_the_same_everywhere(subject: Subject) -> None:
    found = views.are_the_same_everywhere(FOUR, ZONES)(subject)

    assert isinstance(found, Pass)
    assert [(row["view"], row["refreshed_under"]) for row in found.have] == [
        (view, zone) for view in FOUR for zone in ZONES
    ]
    assert all(len({row["checksum"] for row in found.have if row["view"] == view}) == 1 for view in FOUR)


@pytest.mark.parametrize(
    "column",
    [
        pytest.param("date_trunc('day', created_at) AS day, count(*) AS n", id="date_trunc"),
        pytest.param("created_at::date AS day, count(*) AS n", id="cast"),
        pytest.param("to_char(created_at, 'YYYY-MM-DD') AS day, count(*) AS n", id="text"),
        pytest.param("extract(hour FROM created_at) AS day, count(*) AS n", id="hour"),
    ],
)
def test_days_of_the_session_are_caught(subject: Subject, column: str) -> None:
    found = after(
        subject,
        made("mv_days", column, "attribution_allocations GROUP BY 1", key="day"),
        views.are_the_same_everywhere(["mv_days", DAILY], ZONES),
    )

    assert isinstance(found, Fail)
    assert found.reason == "other contents: mv_days under Asia/Tokyo, mv_days under America/Los_Angeles"


def test_one_zone_or_an_empty_view_proves_nothing_or_little(subject: Subject) -> None:
    empty = made("mv_days", "created_at::date AS day", "attribution_allocations WHERE false", key="day")

    assert said(after(subject, empty, views.are_the_same_everywhere(["mv_days"], ZONES))) == (
        Unknown,
        "a view without rows proves nothing",
    )
    assert said(views.are_the_same_everywhere([], ZONES)(subject)) == (Unknown, "a view without rows proves nothing")
    assert said(views.are_the_same_everywhere([DAILY], [])(subject)) == (Unknown, "a view without rows proves nothing")


# -- there and back


@pytest.mark.parametrize("phase", ["MV-2", "MV-3", "H"])
def test_every_phase_of_the_views_comes_back(subject: Subject, phase: str) -> None:
    found = views.comes_back(phase)(subject)
    wanted = {key for key, each in subject.canonical.changes(phase).items() if each is not None}

    assert said(found) == (Pass, "")
    assert wanted <= {(row["kind"], row["object"]) for row in found.have}


def test_a_phase_that_was_not_applied_proves_nothing(legacy_copy: Database, project: Project) -> None:
    with subject_of(legacy_copy, project) as subject:
        found = views.comes_back("MV-2")(subject)

    assert said(found) == (Unknown, "revision 202511151500 is not in this database")


def rewritten(subject: Subject, folder: Path, revision: str, *changes: tuple[str, str]) -> Subject:
    """The same database, and a project in which a revision says something else."""
    project = copy_project(folder / "project")
    (path,) = (project / "alembic" / "versions").glob(f"{revision}_*.py")
    text = path.read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return replace(subject, project=Project.at(project, home=subject.project.home))


DROP_DAILY = 'op.execute("""DROP MATERIALIZED VIEW mv_daily_revenue_summary""")'
GIVE_BACK = 'op.execute("""GRANT SELECT ON mv_realtime_revenue, mv_reconciliation_status TO app_rw, app_ro""")'


@pytest.mark.parametrize(
    ("phase", "revision", "changes", "reason"),
    [
        pytest.param(
            "MV-3",
            "202511151510",
            [(DROP_DAILY, 'op.execute("""DROP INDEX idx_events_idempotency""")\n    ' + DROP_DAILY)],
            "downgrade changed what the phase did not make: index attribution_events.idx_events_idempotency removed; "
            "upgrade did not restore: index attribution_events.idx_events_idempotency removed",
            id="an index of others is dropped",
        ),
        pytest.param(
            "MV-3",
            "202511151510",
            [(DROP_DAILY, 'op.execute("""DROP INDEX idx_mv_daily_revenue_summary_unique""")'),
             ("CREATE MATERIALIZED VIEW mv_daily", "CREATE MATERIALIZED VIEW IF NOT EXISTS mv_daily")],
            "downgrade left column mv_daily_revenue_summary.currency, column mv_daily_revenue_summary.revenue_date, "
            "column mv_daily_revenue_summary.state, column mv_daily_revenue_summary.tenant_id, "
            "column mv_daily_revenue_summary.total_amount_cents, column mv_daily_revenue_summary.transaction_count, "
            "table mv_daily_revenue_summary",
            id="the view is left",
        ),
        pytest.param(
            "H",
            "202511151540",
            [(GIVE_BACK, "pass")],
            "downgrade made other than it was before the phase: grant mv_realtime_revenue to app_ro removed; "
            "grant mv_realtime_revenue to app_rw removed",
            id="rights that are not given back",
        ),
        pytest.param(
            "H",
            "202511151530",
            [("AND latest.last_run_at = run.last_run_at\n", "AND latest.last_run_at = run.updated_at\n")],
            "downgrade made other than it was before the phase: table mv_reconciliation_status changed definition",
            id="a view with another definition than before",
        ),
    ],
)  # fmt: skip
def test_a_way_back_that_is_another_is_red(
    subject: Subject, tmp_path: Path, phase: str, revision: str, changes: list[tuple[str, str]], reason: str
) -> None:
    assert said(views.comes_back(phase)(rewritten(subject, tmp_path, revision, *changes))) == (Fail, reason)


def test_a_downgrade_that_does_nothing_proves_nothing(subject: Subject, tmp_path: Path) -> None:
    other = rewritten(
        subject,
        tmp_path,
        "202511151510",
        (DROP_DAILY, "pass"),
        ("CREATE MATERIALIZED VIEW mv_daily", "CREATE MATERIALIZED VIEW IF NOT EXISTS mv_daily"),
        ("CREATE UNIQUE INDEX idx", "CREATE UNIQUE INDEX IF NOT EXISTS idx"),
    )

    assert said(views.comes_back("MV-3")(other)) == (Unknown, "the downgrade took nothing away")


def test_a_downgrade_that_takes_a_stranger_along_is_red(
    databases: Databases, migrated_copy: Database, tmp_path: Path
) -> None:
    """With CASCADE, as the documents have it. Without it, PostgreSQL refuses, and that is told."""
    with subject_of(migrated_copy, databases.project) as subject:
        migrations.downgrade(subject.connection, subject.project, "202511151510")
        execute(subject.connection, f"CREATE VIEW stranger AS SELECT * FROM {DAILY}")
        subject.connection.commit()
        refused = views.comes_back("MV-3")(subject)
        subject.connection.rollback()
        cascade = (DROP_DAILY, DROP_DAILY.replace('summary"', 'summary CASCADE"'))
        taken = views.comes_back("MV-3")(rewritten(subject, tmp_path, "202511151510", cascade))

    assert isinstance(refused, Fail)
    assert "cannot drop materialized view mv_daily_revenue_summary because other objects depend on it" in refused.reason
    assert isinstance(taken, Fail)
    assert taken.reason.startswith("downgrade changed what the phase did not make: column stranger.currency removed; ")
    assert "; upgrade did not restore: column stranger.currency removed; " in taken.reason


def test_other_contents_after_the_way_back_are_red(subject: Subject, tmp_path: Path) -> None:
    """A view of the same definition that holds something else each time it is made."""
    chance = ("sum(amount_cents)::bigint", "sum(amount_cents)::bigint + (random() * 1000000000)::bigint")
    other = rewritten(subject, tmp_path, "202511151510", chance)
    migrations.downgrade(subject.connection, other.project, "202511151500")
    migrations.upgrade(subject.connection, other.project, "202511151510")

    assert said(views.comes_back("MV-3")(other)) == (Fail, "the contents of a view are not what they were")


def test_a_view_that_is_stale_comes_back_all_the_same(subject: Subject) -> None:
    """Others may write meanwhile: it is refreshed before it is taken back, so that only the way back is judged."""
    execute(subject.connection, "UPDATE revenue_ledger SET amount_cents = amount_cents + 1 WHERE state = 'refunded'")

    assert said(views.comes_back("MV-3")(subject)) == (Pass, "")


# -- every key

SOME = "CREATE MATERIALIZED VIEW mv_some AS SELECT tenant_id"


@pytest.mark.parametrize(
    ("statements", "verdict", "reason"),
    [
        pytest.param("SELECT 1", Pass, "", id="all are there"),
        pytest.param(
            f"{SOME} FROM {DAILY} WHERE tenant_id <> '00000000-0000-0000-0000-000000000001'",
            Fail,
            "1 missing",
            id="one is missing",
        ),
        pytest.param(
            f"{SOME} FROM {DAILY} UNION SELECT gen_random_uuid()",
            Fail,
            "1 extra",
            id="one too many",
        ),
        pytest.param(
            "DELETE FROM revenue_state_transitions; DELETE FROM revenue_ledger",
            Unknown,
            "both sides are empty, so nothing was compared",
            id="both are empty",
        ),
    ],
)
def test_every_key_of_the_source_is_in_the_view(
    subject: Subject, statements: str, verdict: type[Verdict], reason: str
) -> None:
    view = "mv_some" if "mv_some" in statements else DAILY
    execute(subject.connection, statements)
    comparison = views.every_key(view, "revenue_ledger WHERE state <> 'authorized'", key="tenant_id")
    found = compared(subject.connection, comparison)

    assert type(found) is verdict
    assert reason in found.reason


def compared(connection: sa.Connection, comparison: compare.Comparison) -> Verdict:
    """In the transaction as it is: the view is refreshed where it can be, and both sides are read."""
    if comparison.view == DAILY:
        execute(connection, f"REFRESH MATERIALIZED VIEW {DAILY}")
    return compare.verdict("every tenant", comparison, compare.compare(connection, comparison))


@pytest.fixture
def committed(migrated_copy: Database) -> Iterator[sa.Connection]:
    with migrated_copy.connect() as connection:
        yield connection


def test_every_key_holds_in_the_snapshot_of_a_refresh(committed: sa.Connection) -> None:
    found = refresh_and_compare(
        committed,
        views.every_key(
            CHANNELS, "attribution_allocations WHERE created_at > now() - interval '80 days'", key="tenant_id"
        ),
        what="every tenant",
        **LIMITS,
    )

    assert found.is_green, found.reason
