"""What a project declares: whatever nobody would read, or could not be, is refused by name."""

from pathlib import Path

import pytest

from gatebook import parameters
from gatebook.canonical import Canonical
from gatebook.contract import Contract
from gatebook.declarations import Gates, RunParameters, load, load_gates, near_miss
from gatebook.errors import ConfigurationError
from gatebook.probes import Fixtures
from gatebook.project import Project

# -- params files


@pytest.mark.parametrize(
    "name", [path.name for path in sorted((Path(__file__).parent.parent / "params").glob("*.yaml"))]
)
def test_every_file_of_the_project_can_be_used(project: Project, name: str) -> None:
    from gatebook.governance import Governance
    from gatebook.governance_catalog import Rulebook, StyleGuide
    from gatebook.preflight import LegacyChecks

    special = {
        "api_contract.yaml": Contract,
        "canonical_schema.yaml": Canonical,
        "contract_mapping.yaml": Rulebook,
        "governance.yaml": Governance,
        "style_guide.yaml": StyleGuide,
        "fixtures.yaml": Fixtures,
        "gates.yaml": Gates,
        "preflight.yaml": LegacyChecks,
    }

    assert load(special.get(name, RunParameters), project.params / name)


def test_what_a_file_leaves_out_has_safe_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("database: DATABASE_URL\n", encoding="utf-8")
    found = load(RunParameters, path)

    assert found.for_notebooks() == {
        "database": "DATABASE_URL",
        "mode": "apply",
        "lock_timeout_ms": 5000,
        "statement_timeout_ms": 600000,
        "validator": "",
        "notes": "",
        "writers": "none",
    }
    assert (found.scenario, found.engine) == (None, "nbclient")


@pytest.mark.parametrize(
    ("model", "text", "what"),
    [
        pytest.param(
            RunParameters,
            "database: x\nlock_timout_ms: 3\n",
            "mine.yaml cannot be used: unknown key 'lock_timout_ms' (did you mean 'lock_timeout_ms'?)",
            id="near miss",
        ),
        pytest.param(
            RunParameters,
            "database: x\nscenario: {tenant: 3}\n",
            "mine.yaml cannot be used: unknown key 'scenario.tenant' (did you mean 'tenants'?)",
            id="nested near miss",
        ),
        pytest.param(
            RunParameters,
            "database: x\nqqqq: 3\n",
            "mine.yaml cannot be used: unknown key 'qqqq'",
            id="nothing near",
        ),
        pytest.param(
            Gates,
            "phases:\n- {phase: '4', title: t, notebook: n, gates: [{gate: '4.1', title: t, tests: "
            "{4.1.1: {kind: catalog, says: s, constrain: c}}}]}\n",
            "mine.yaml cannot be used: unknown key 'phases.0.gates.0.tests.4.1.1.constrain' "
            "(did you mean 'constraint'?)",
            id="deeply nested near miss",
        ),
        pytest.param(
            Gates,
            "phases:\n- {phase: 4, title: t, notebook: n, gates: []}\n",
            "mine.yaml cannot be used: phases.0.phase: Input should be a valid string",
            id="a number for a name",
        ),
        pytest.param(
            RunParameters,
            "database: x\nlock_timeout_ms: '5'\n",
            "mine.yaml cannot be used: lock_timeout_ms: Input should be a valid integer",
            id="text for a number",
        ),
        pytest.param(
            RunParameters,
            "database: x\nlock_timeout_ms: 0\n",
            "mine.yaml cannot be used: lock_timeout_ms: Input should be greater than or equal to 1",
            id="a limit of nothing",
        ),
        pytest.param(
            RunParameters,
            "database: x\nmode: aply\n",
            "mine.yaml cannot be used: mode: Input should be 'apply'",
            id="unknown mode",
        ),
        pytest.param(
            RunParameters,
            "mode: apply\nvalidator: 3\n",
            "mine.yaml cannot be used: database: Field required; validator: Input should be a valid string",
            id="two problems",
        ),
        pytest.param(
            RunParameters,
            "database: x\ndatabase: y\n",
            "the file is not YAML: the key 'database' stands twice",
            id="a key twice",
        ),
        pytest.param(
            Gates,
            "phases:\n- {phase: '4', title: t, notebook: n, gates: [{gate: '4.1', title: t, tests: "
            "{4.1.1: {kind: catalog, says: a}, 4.1.1: {kind: catalog, says: b}}}]}\n",
            "the file is not YAML: the key '4.1.1' stands twice",
            id="a test twice",
        ),
        pytest.param(
            RunParameters,
            "database: [x\nmode: apply\n",
            "the file is not YAML: expected ',' or ']', but got ':'",
            id="not YAML",
        ),
        pytest.param(
            RunParameters,
            "database: \x00\n",
            "the file is not YAML: unacceptable character #x0000: special characters are not allowed",
            id="control character",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, model: type, text: str, what: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(model, path)

    assert caught.value.what == what
    assert caught.value.where.startswith(str(path))


def test_the_line_of_what_is_not_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("database: x\nnotes: a: b\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(RunParameters, path)

    assert str(caught.value) == (
        f"the file is not YAML: mapping values are not allowed here\n  where: {path}, line 2\n  next:  mend that line"
    )


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"text\n"])
def test_a_file_without_keys_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        load(RunParameters, path)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"database: \xff\n")
    with pytest.raises(ConfigurationError, match="the file is not UTF-8 text"):
        load(RunParameters, path)
    with pytest.raises(ConfigurationError, match="the file cannot be read: No such file or directory"):
        load(RunParameters, tmp_path / "absent.yaml")
    with pytest.raises(ConfigurationError, match="the file cannot be read: Is a directory"):
        load(RunParameters, tmp_path)


def test_declarations_cannot_be_changed_afterwards(project: Project) -> None:
    gates = load_gates(project)
    with pytest.raises(ValueError, match="frozen"):
        gates.phases = []


# -- gates


def test_phases_in_the_order_of_a_run(project: Project) -> None:
    gates = load_gates(project)
    before = gates.before("5")

    first = ["4", "5", "6", "7", "8a", "8b"]
    assert [phase.phase for phase in gates.phases] == [
        *("P", "G", *first, "C", "MV-1", "MV-2", "MV-3", "H", "MV-4", "VAL", "R"),
    ]
    assert [phase.phase for phase in gates.migrating()] == [*first, "MV-2", "MV-3", "H"]
    assert [phase.phase for phase in gates.moving()] == [*first, "MV-1", "MV-2", "MV-3", "H"]
    assert before is not None
    assert (before.phase, gates.before("4")) == ("4", None)


def test_an_activity_lies_between_two_migrations_and_need_not_be_proven(project: Project) -> None:
    """Its rows are a scenario's; elsewhere nothing is played, so that it can hold up nobody."""
    gates = load_gates(project)
    before = gates.before("MV-2")

    assert before is not None
    assert before.phase == "8b"
    assert gates.phase("MV-1").revision is None
    assert gates.starts_at("MV-1") == gates.starts_at("MV-2") == before.revision
    assert [gates.starts_at(phase) for phase in ("P", "4", "5")] == [None, None, "202511151400"]


@pytest.mark.parametrize(
    ("phase", "specification", "listed"),
    [
        pytest.param("8a", "phases 4 to 8", ["8a.1", "8a.2", "8a.3"], id="of the first specification"),
        pytest.param("MV-1", "the materialized views", ["MV-1.1", "MV-1.2", "MV-1.3", "MV-1.4"], id="of the second"),
        pytest.param("H", None, [], id="the workbook's own, numbered though they are"),
        pytest.param("P", None, [], id="the workbook's own"),
    ],
)
def test_gates_of_a_specification_end_in_a_number(
    project: Project, phase: str, specification: str | None, listed: list[str]
) -> None:
    declared = load_gates(project).phase(phase)

    assert declared.specification == specification
    assert [gate.gate for gate in declared.listed] == listed


def test_ids_are_unique_and_say_where_they_belong(project: Project) -> None:
    gates = load_gates(project)
    tests = [test for phase in gates.phases for test in phase.tests]

    assert len(tests) == len(set(tests)) == sum(len(gate.tests) for phase in gates.phases for gate in phase.gates)
    for phase in gates.phases:
        families = {gate.gate.partition(".")[0] for gate in phase.gates}
        assert {family for family in families if family.partition("-")[0] != phase.phase.partition("-")[0]} <= {"F"}
        for gate in phase.gates:
            assert list(gate.tests) == [f"{gate.gate}.{number + 1}" for number in range(len(gate.tests))]


def test_what_must_be_rejected_says_why_and_nothing_else_does(project: Project) -> None:
    tests = [test for phase in load_gates(project).phases for test in phase.tests.items()]
    reasons = {name: (test.sqlstate, test.constraint, test.column) for name, test in tests}
    rejected = {name for name, test in tests if test.kind == "rejected"}
    by_policy = {"R.5.4"}  # a policy has no name in the error

    assert {name for name, reason in reasons.items() if any(reason)} == rejected
    assert {name for name in rejected if reasons[name][1:] == (None, None)} == by_policy
    assert {name for name, test in tests if test.table} == rejected


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        pytest.param(lambda gates: gates.phase("8"), "no phase 8 is declared", id="phase"),
        pytest.param(lambda gates: gates.phase("4").gate("4.I"), "phase 4 declares no gate 4.I", id="gate"),
    ],
)
def test_an_unknown_phase_or_gate_is_named(project: Project, ask: object, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask(load_gates(project))  # type: ignore[operator]

    assert caught.value.what.startswith(message)
    assert "(did you mean " in caught.value.what
    assert caught.value.next_step.startswith("declare it there, or use one of: ")


def test_near_miss_is_silent_when_nothing_is_near() -> None:
    assert near_miss("databse", ["database", "mode"]) == " (did you mean 'database'?)"
    assert near_miss("zzz", ["database", "mode"]) == ""


# -- parameters of a notebook

DECLARED = 'database = "embedded"  # str\nlock_timeout_ms: int = 5_000\nrun = ""\n'


@pytest.mark.parametrize(
    "history",
    [
        pytest.param(["", DECLARED], id="nothing injected"),
        pytest.param(["", DECLARED, '# Parameters\ndatabase = "X"\nrun = "r"\n', "phase = 1"], id="known ones"),
        pytest.param(["", DECLARED, "", "# Parameters\nlock_timeout_ms = 1\n"], id="an empty cell between"),
        pytest.param([], id="no notebook"),
    ],
)
def test_known_parameters_are_accepted(history: list[str]) -> None:
    parameters.refuse_unknown(history)


def test_an_unknown_parameter_is_refused_with_its_near_miss() -> None:
    injected = '# Parameters\ndatabse = "X"\nzzz = 3\nrun = ""\n'
    with pytest.raises(ConfigurationError) as caught:
        parameters.refuse_unknown(["", DECLARED, injected])

    assert caught.value.what == "unknown parameter databse (did you mean 'database'?), zzz"
    assert caught.value.next_step == "use one of: database, lock_timeout_ms, run"


def test_outside_of_a_kernel_there_is_nothing_to_refuse() -> None:
    parameters.refuse_unknown()
