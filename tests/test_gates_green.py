"""The notebooks on a correctly migrated database: everything declared is green."""

import pytest

from conftest import Databases, run_notebook, verdicts
from gatebook.database import Database
from gatebook.declarations import load_gates
from gatebook.project import Project


@pytest.mark.parametrize(
    ("specification", "gates", "tests"), [("phases 4 to 8", 24, 51), ("the materialized views", 21, 39)]
)
def test_specifications_have_all_their_gates(project: Project, specification: str, gates: int, tests: int) -> None:
    phases = [phase for phase in load_gates(project).phases if phase.specification == specification]
    listed = [gate for phase in phases for gate in phase.listed]
    assert (len(listed), sum(len(gate.tests) for gate in listed)) == (gates, tests)


@pytest.mark.server
def test_every_declared_test_is_green_again_on_a_migrated_database(
    project: Project, databases: Databases, migrated: Database
) -> None:
    copy = databases.copy(migrated)
    for phase in load_gates(project).phases:
        run = run_notebook(phase.notebook, database=copy.name)
        assert verdicts(run) == dict.fromkeys(phase.tests, "PASS")
        assert run.red is None
    databases.drop(copy)
