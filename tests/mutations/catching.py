"""Making a mutation on a copy of a template, and running the notebooks that have to notice."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from conftest import Databases, copy_project, run_notebook
from gatebook import charts, governance_catalog, isolation, migrations, refreshing, timings, validators, views
from gatebook.catalog import Query
from gatebook.database import Database
from gatebook.declarations import PhaseDeclaration, load
from gatebook.display import TestResult
from gatebook.project import PROJECT_VARIABLE
from gatebook.verdicts import Unknown, Verdict
from mutations.mutation import CANONICAL, GATES, Edit, Mutation

CHARTS = ("before_and_after", "plan", "latency_distributions", "refresh_history")  # slow to draw, and judge nothing
TIMED = "MV-4.4.3"  # the one test that needs many executions
ASLEEP = "H.6.2"  # the one test that lets a second go by
# Tests that take long, and what makes them; they are left out where they are not named.
LONG = {
    "H.1.3": (isolation, "nothing_leaks"),
    "MV-4.5.2": (refreshing, "as_scheduled"),
    "MV-4.5.3": (refreshing, "both_at_once"),
    "F.2.1": (validators, "fixtures_behave"),
    "F.3.1": (validators, "ci_runs"),
    "F.3.2": (validators, "template_asks"),
}
# The same for examinations that nothing makes.
LONG_EXAMINATIONS = {
    "R.9.1": (governance_catalog, "whole_style_guide"),
    "R.9.2": (governance_catalog, "fields_have_allowed_types"),
}


class Copies:
    """Copies of the templates, the next of each made while notebooks run on this one.

    A template is a database that has had one phase and none after it; "" has had all.
    """

    def __init__(self, databases: Databases, legacy: Database, migrated: Database) -> None:
        self.databases = databases
        self.templates = {"": migrated, "P": legacy}
        self.worker = ThreadPoolExecutor(1)
        self.ready: dict[str, Future[Database]] = {}
        self.dropped: list[Future[None]] = []

    @contextmanager
    def mutated(self, mutation: Mutation) -> Iterator[Database]:
        copy = (self.ready.pop(mutation.at, None) or self._make(mutation.at)).result()
        self.ready[mutation.at] = self._make(mutation.at)
        try:
            with self.databases.maintenance(copy.name.removeprefix("embedded/")) as connection:
                connection.execute(mutation.sql)
            with edited(mutation.edits):
                yield copy
        finally:
            with self.databases.maintenance() as connection:
                connection.execute(mutation.undo)
            self._drop(copy)

    def close(self) -> None:
        for copy in self.ready.values():
            self._drop(copy.result())
        for each in self.dropped:
            each.result()
        self.worker.shutdown()

    def _make(self, at: str) -> Future[Database]:
        return self.worker.submit(self.databases.copy, self._template(at))

    def _drop(self, copy: Database) -> None:
        self.dropped.append(self.worker.submit(self.databases.drop, copy))

    def _template(self, at: str) -> Database:
        """One that is missing is made from that of the phase before."""
        if at not in self.templates:
            order = ["P", *(phase.phase for phase in GATES.moving())]
            made = self.databases.copy(self._template(order[order.index(at) - 1]))
            run_notebook(GATES.phase(at).notebook, database=made.name)
            self.templates[at] = made
        return self.templates[at]


@contextmanager
def catching(databases: Databases, legacy: Database, migrated: Database) -> Iterator[Copies]:
    """Everything that a table of mutations needs."""
    copies = Copies(databases, legacy, migrated)
    with in_a_hurry(databases):
        yield copies
        copies.close()


@contextmanager
def in_a_hurry(databases: Databases) -> Iterator[None]:
    """More than a thousand notebooks: what stays the same is read once, and nothing is drawn or waits for the disk."""
    read = cache(load)
    with pytest.MonkeyPatch.context() as patch, databases.maintenance() as connection:
        patch.setattr("gatebook.phase.load_canonical", lambda _project: CANONICAL)
        patch.setattr("gatebook.phase.load_gates", lambda _project: GATES)
        patch.setattr("gatebook.phase.load", read)
        patch.setattr("gatebook.contract.load", read)
        patch.setattr(migrations, "chain", cache(migrations.chain))
        patch.setattr(ScriptDirectory, "from_config", _Scripts())
        patch.setattr(os, "fsync", lambda _file: None)
        for name in CHARTS:
            patch.setattr(charts, name, lambda *_given, **_named: None)
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        yield
        connection.execute("ALTER SYSTEM RESET fsync")
        connection.execute("SELECT pg_reload_conf()")


class _Scripts:
    """ScriptDirectory.from_config, read once for each alembic.ini."""

    def __init__(self) -> None:
        self.read = ScriptDirectory.from_config
        self.known: dict[str | None, ScriptDirectory] = {}

    def __call__(self, config: Config) -> ScriptDirectory:
        if config.config_file_name not in self.known:
            self.known[config.config_file_name] = self.read(config)
        return self.known[config.config_file_name]


@contextmanager
def edited(edits: Iterable[Edit]) -> Iterator[None]:
    """A project whose files say something else, in place of ours."""
    if not edits:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="gatebook-edited-") as folder, pytest.MonkeyPatch.context() as patch:
        project = copy_project(Path(folder))
        for edit in edits:
            file = project / edit.path
            text = file.read_text(encoding="utf-8")
            assert edit.old in text, f"{edit.path} does not say {edit.old!r}"
            file.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
        patch.setenv(PROJECT_VARIABLE, folder)
        yield


def judge(mutation: Mutation, database: Database) -> dict[str, TestResult]:
    """The results of all notebooks that hold one of the tests, and of those that must come before: test -> result."""
    executions = timings.EXECUTIONS if TIMED in mutation.tests else 1
    found: dict[str, TestResult] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timings, "measure_all", _seldom(timings.measure_all, executions))
        for test in LONG.keys() - set(mutation.tests):
            patch.setattr(*LONG[test], _left_out)
        for test in LONG_EXAMINATIONS.keys() - set(mutation.tests):
            patch.setattr(*LONG_EXAMINATIONS[test], _left_out())
        if ASLEEP not in mutation.tests:
            patch.setattr(views, "answers_after", _awake(views.answers_after))
        for phase in notebooks(mutation):
            found |= run_notebook(phase.notebook, database=database.name).phase.results
    return found


def _seldom(measure_all: Callable[..., Any], executions: int) -> Callable[..., Any]:
    def measured(open_session: timings.OpenSession, queries: Mapping[str, Query], **options: Any) -> Any:
        return measure_all(open_session, queries, **options | {"executions": executions, "cold_executions": 1})

    return measured


def _awake(answers_after: Callable[..., Any]) -> Callable[..., Any]:
    def examination(query: str, want: Any, *, statements: Sequence[str]) -> Any:
        return answers_after(query, want, statements=[each for each in statements if "pg_sleep" not in each])

    return examination


def _left_out(*_given: Any) -> Callable[..., Verdict]:
    return lambda *_subject: Unknown("a test that takes long", reason="left out")


def notebooks(mutation: Mutation) -> list[PhaseDeclaration]:
    """In order; a phase that the copy has not had yet is applied before those that come after it are looked at."""
    holding = [phase for phase in GATES.phases if not phase.tests.keys().isdisjoint(mutation.tests)]
    until = GATES.phases.index(holding[-1])
    pending = GATES.phases[GATES.phases.index(GATES.phase(mutation.at)) + 1 : until] if mutation.at else []
    return [phase for phase in GATES.phases if phase in holding or (phase in pending and phase.revision is not None)]


def catch(mutation: Mutation, copies: Copies) -> None:
    """Fails unless every named test is red, and the first of them for the reason."""
    if copies.databases.server.server.major < mutation.since:
        pytest.skip(f"PostgreSQL {mutation.since} is the first to know such a thing")
    with copies.mutated(mutation) as database:
        results = judge(mutation, database)
    green = [test for test in mutation.tests if results[test].verdict.is_green]
    red = [test for test, result in results.items() if not result.verdict.is_green]
    said = results[mutation.tests[0]].verdict.reason
    assert not green, f"green in spite of it: {green}; red: {red}"
    assert mutation.reason in said, f"{mutation.tests[0]} says something else: {said}"
