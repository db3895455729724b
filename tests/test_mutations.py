"""Each mutation is made on a copy of a correctly migrated database: a gate goes red, and it is the one named.

The notebooks that hold the named tests are run. Phases 4 to 8a are judged by what the next phase found, so faults
that are theirs are made while they are the last one: `at` names that phase.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from operator import attrgetter

import pytest

from conftest import Databases, run_notebook
from gatebook import migrations
from gatebook.database import Database
from gatebook.declarations import load
from gatebook.display import TestResult
from mutations import CANONICAL, GATES, MUTATIONS, Mutation


@pytest.fixture(scope="module", autouse=True)
def in_a_hurry(databases: Databases) -> Iterator[None]:
    """More than a thousand notebooks: files that stay the same are read once, and nothing waits for the disk."""
    with pytest.MonkeyPatch.context() as patch, databases.maintenance() as connection:
        patch.setattr("gatebook.phase.load_canonical", lambda _project: CANONICAL)
        patch.setattr("gatebook.phase.load_gates", lambda _project: GATES)
        patch.setattr("gatebook.phase.load", cache(load))
        patch.setattr(migrations, "chain", cache(migrations.chain))
        patch.setattr(os, "fsync", lambda _file: None)
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        yield
        connection.execute("ALTER SYSTEM RESET fsync")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def after(databases: Databases, legacy: Database, migrated: Database) -> dict[str, Database]:
    """Templates: phase -> a database that has had it and none after it; "" -> one that has had all."""
    found = {"": migrated, "P": legacy}
    database = legacy
    for phase in GATES.migrating()[:-1]:
        database = databases.copy(database)
        run_notebook(phase.notebook, database=database.name)
        found[phase.phase] = database
    return found


class Copies:
    """Copies of the templates, the next of each made while notebooks run on this one."""

    def __init__(self, databases: Databases, templates: dict[str, Database], worker: Executor) -> None:
        self.databases = databases
        self.templates = templates
        self.worker = worker
        self.ready: dict[str, Future[Database]] = {}
        self.dropped: list[Future[None]] = []

    @contextmanager
    def mutated(self, mutation: Mutation) -> Iterator[Database]:
        copy = (self.ready.pop(mutation.at, None) or self._make(mutation.at)).result()
        self.ready[mutation.at] = self._make(mutation.at)
        try:
            with self.databases.maintenance(copy.name.removeprefix("embedded/")) as connection:
                connection.execute(mutation.sql)
            yield copy
        finally:
            self._drop(copy)

    def close(self) -> None:
        for copy in self.ready.values():
            self._drop(copy.result())
        for each in self.dropped:
            each.result()

    def _make(self, at: str) -> Future[Database]:
        return self.worker.submit(self.databases.copy, self.templates[at])

    def _drop(self, copy: Database) -> None:
        self.dropped.append(self.worker.submit(self.databases.drop, copy))


@pytest.fixture(scope="module")
def copies(databases: Databases, after: dict[str, Database]) -> Iterator[Copies]:
    with ThreadPoolExecutor(1) as worker:
        made = Copies(databases, after, worker)
        yield made
        made.close()


def judge(database: Database, tests: list[str]) -> dict[str, TestResult]:
    """The results of all notebooks that hold one of the tests, run in order: test -> result."""
    found = {}
    for phase in GATES.phases:
        if not phase.tests.keys().isdisjoint(tests):
            found.update(run_notebook(phase.notebook, database=database.name).phase.results)
    return found


@pytest.mark.server
@pytest.mark.parametrize("mutation", MUTATIONS, ids=attrgetter("name"))
def test_a_gate_goes_red(mutation: Mutation, copies: Copies) -> None:
    if copies.databases.server.server.major < mutation.since:
        pytest.skip(f"PostgreSQL {mutation.since} is the first to know such a thing")
    with copies.mutated(mutation) as database:
        results = judge(database, mutation.tests)
    green = [test for test in mutation.tests if results[test].verdict.is_green]
    red = [test for test, result in results.items() if not result.verdict.is_green]
    assert not green, f"green in spite of it: {green}; red: {red}"
    assert mutation.reason in results[mutation.tests[0]].verdict.reason


def test_the_table_is_long_and_says_nothing_twice() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 150


def test_every_test_of_the_audit_goes_red_for_some_mutation() -> None:
    named = {test for mutation in MUTATIONS for test in mutation.tests}
    declared = {test for phase in GATES.phases if phase.phase != "P" for test in phase.tests}
    # these look at what was kept of earlier phases, or at a name, and not at the database
    assert declared - named == {"C.1.1", "R.1.2", "R.8.2"}
