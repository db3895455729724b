"""The labels of the migration fixtures hold in a real database, and the validator gives what they say."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from conftest import Databases
from gatebook.database import Database
from gatebook.safety.linting import lint
from migration_fixtures import Fixture, fixtures
from migration_reality import SCHEMA, Reality, happens, state

FIXTURES = fixtures()
SECOND = "second_"  # of migrations_second.yaml, written for this database: all of them run to their end
SHOWN = {"LOST", "NARROWED", "CONSTRAINT", "SECURITY"}

# Labels that no run on this database confirms, and why. What is UNRESOLVED is never run: nobody knows what it would do.
NOT_SHOWN = {
    "in_except": "its branch runs when a statement fails",
    "text_branches": "its branch runs with --sql",
    "second_unknown_table": "the table is of another year",
    "upgrade_async": "Alembic 1.20 does not await upgrade()",
    "created_async": "a coroutine that is not awaited is a warning",
    "created_in_comp_cond": "its query finds a row",
    "created_in_suppress": "its making does not fail",
    "for_change_none": "its query finds one row",
    "drop_all": "its metadata holds no table; the application's would",
    "second_unknown_method": "its operation comes from the environment",
    "second_unknown_choice": "it is right every second time",
    "second_unknown_placeholder": "PostgreSQL cannot parse it",
}

# Where the validator does not give what the label says; each shall go.
DISPUTED = {
    "second_helper_uncalled": "a helper that nobody calls, and it fails",
    "second_inner_uncalled": "an inner function that nobody calls, and it fails",
}


@pytest.fixture(scope="module")
def template(databases: Databases) -> Iterator[Database]:
    """A small database with a few rows in every table."""
    database = databases.empty()
    with _connected(databases, database) as connection:
        connection.exec_driver_sql(SCHEMA)
        connection.commit()
    yield database
    databases.drop(database)


@contextmanager
def _connected(databases: Databases, database: Database) -> Iterator[sa.Connection]:
    """As superuser, who sees all rows whatever row security says."""
    assert databases.server.server_process is not None
    conninfo = databases.server.server_process.conninfo(database.name.removeprefix("embedded/"), user="postgres")
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


@pytest.mark.server
def test_labels_are_true(databases: Databases, template: Database, tmp_path: Path) -> None:
    """What is labelled as lost, narrowed or dropped really is, and what is labelled clean takes nothing."""
    with _connected(databases, template) as connection:
        before = state(connection)
        connection.rollback()

        def run(fixture: Fixture) -> Reality:
            with connection.begin() as transaction:
                found = happens(fixture.write(tmp_path), connection, before)
                transaction.rollback()
            return found

        found = {each.name: (each, run(each)) for each in FIXTURES if _can_be_run(each) and not each.commits}
        assert state(connection) == before

    assert _untrue(found) == {}
    ended = {name for name, (_, reality) in found.items() if reality.ended_early}
    assert {name for name in ended if name.startswith(SECOND)} == set()
    assert len(ended) < len(found) / 4


@pytest.mark.server
def test_labels_are_true_of_what_commits_by_itself(databases: Databases, template: Database, tmp_path: Path) -> None:
    def run(fixture: Fixture) -> Reality:
        copy = databases.copy(template)
        try:
            with _connected(databases, copy) as connection:
                before = state(connection)
                connection.rollback()
                return happens(fixture.write(tmp_path), connection, before)
        finally:
            databases.drop(copy)

    assert _untrue({each.name: (each, run(each)) for each in FIXTURES if _can_be_run(each) and each.commits}) == {}


def test_all_are_told_apart(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Every destructive one is caught, no other one is flagged."""
    caught, flagged = told_apart(tmp_path / "versions")
    bad, good = ([each for each in FIXTURES if each.verdict == verdict] for verdict in ("fail", "pass"))
    record_property("fixtures", f"fixtures caught: {len(caught)} of {len(bad)}, flagged: {len(flagged)} of {len(good)}")

    missed = {each.name for each in bad} - caught
    assert missed | flagged == set(DISPUTED)


def told_apart(folder: Path) -> tuple[set[str], set[str]]:
    """Names of the fixtures that should fail and do, and of those that should pass and fail."""
    failed = {
        Path(judgement.path).stem
        for judgement in lint([each.write(folder) for each in FIXTURES])
        if not judgement.passes
    }
    return (
        {each.name for each in FIXTURES if each.verdict == "fail"} & failed,
        {each.name for each in FIXTURES if each.verdict == "pass"} & failed,
    )


def _untrue(found: Mapping[str, tuple[Fixture, Reality]]) -> dict[str, Reality]:
    """Those whose label a whole run does not show, with what it did show."""
    return {
        name: reality
        for name, (fixture, reality) in found.items()
        if not reality.ended_early and not _is_shown(fixture, reality)
    }


def _can_be_run(fixture: Fixture) -> bool:
    is_judged = fixture.kinds & {*SHOWN, "clean", "acknowledged"}
    return bool(is_judged) and fixture.name not in NOT_SHOWN


def _is_shown(fixture: Fixture, reality: Reality) -> bool:
    if fixture.kind == "clean":
        return not reality.kinds
    return bool(reality.kinds & (SHOWN if fixture.kind == "acknowledged" else fixture.kinds))
