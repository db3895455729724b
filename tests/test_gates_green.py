"""The notebooks on a correctly migrated database: everything declared is green."""

import pytest

from conftest import Databases, run_notebook, verdicts
from gatebook.database import Database
from gatebook.declarations import load_gates
from gatebook.evidence.results import is_listed
from gatebook.project import Project


def test_specification_has_24_gates_and_51_tests(project: Project) -> None:
    gates = [gate for phase in load_gates(project).phases for gate in phase.gates if is_listed(gate.gate)]
    assert (len(gates), sum(len(gate.tests) for gate in gates)) == (24, 51)


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
