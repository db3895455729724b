"""The notebooks as files: what readers rely on in each of them, and that they and gates.yaml name the same tests."""

import ast
import json
import re
from collections import Counter
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4.rwbase import rejoin_lines

from gatebook import __all__ as exported
from gatebook.declarations import RunParameters, load_gates
from gatebook.project import Project

ROOT = Path(__file__).resolve().parent.parent
PATHS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
PHASES = {phase.notebook: phase for phase in load_gates(Project.at(ROOT)).phases}
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.Try, ast.Lambda)

notebooks = pytest.mark.parametrize("name", PATHS)


@cache
def read(name: str) -> nbformat.NotebookNode:
    """As it is in the file: nbformat.read would repair what is missing."""
    return rejoin_lines(nbformat.from_dict(json.loads(PATHS[name].read_text("utf-8"))))


def code(name: str) -> list[Any]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def trees(name: str) -> list[ast.Module]:
    return [ast.parse(cell.source) for cell in code(name)]


def is_parameters(cell: Any) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def calls(name: str) -> list[ast.Call]:
    """All calls in the order of the notebook."""
    found = [node for tree in trees(name) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if isinstance(node.func, ast.Attribute | ast.Name)]


def called(name: str, target: str) -> list[str]:
    """First arguments of the calls of `target.method(...)`, or of `target(...)`, as they stand in the notebook."""
    found = []
    for tree in trees(name):
        here = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _target(node) == target]
        found += sorted(here, key=lambda node: (node.lineno, node.col_offset))
    return [ast.literal_eval(node.args[0]) for node in found]


def _target(call: ast.Call) -> str:
    if isinstance(call.func, ast.Name):
        return call.func.id
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        owner = call.func.value.id
        return f"{owner}.{call.func.attr}" if owner == "phase" else owner
    return ""


# -- the files


def test_every_phase_has_its_notebook_and_every_notebook_its_phase() -> None:
    assert list(PATHS) == [phase.notebook for phase in PHASES.values()]  # and they sort in the order of a run


@notebooks
def test_is_a_valid_notebook_of_format_4_5_without_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)

    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.id for cell in code(name) if cell.outputs or cell.execution_count is not None] == []


@notebooks
def test_cell_ids_are_slugs_and_used_once(name: str) -> None:
    ids = [cell.id for cell in read(name).cells]

    assert [each for each in ids if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each)] == []
    assert [each for each, times in Counter(ids).items() if times > 1] == []
    assert (ids[0], ids[-1]) == ("title", "close-phase")


@notebooks
def test_no_cell_is_empty_and_no_text_knows_this_machine(name: str) -> None:
    for cell in read(name).cells:
        assert cell.source.strip(), cell.id
        assert not re.search(r"(^|[\s\"'(])(~|/\w+)/|://|password", cell.source), cell.id


# -- parameters


@notebooks
def test_there_is_one_parameters_cell_of_literals_with_a_comment_each(name: str) -> None:
    (cell,) = [cell for cell in read(name).cells if is_parameters(cell)]
    assert read(name).cells[1] == cell
    for line, statement in zip(cell.source.splitlines(), ast.parse(cell.source).body, strict=True):
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)
        kind = type(ast.literal_eval(statement.value)).__name__
        assert re.search(rf"  # {kind}[:,] ", line), line


@notebooks
def test_parameters_are_those_that_a_run_gives(name: str) -> None:
    (cell,) = [cell for cell in code(name) if is_parameters(cell)]
    given = {target.id for statement in ast.parse(cell.source).body for target in statement.targets}

    assert given <= {*RunParameters(database="x").for_notebooks(), "run"}
    assert given >= {"database", "mode", "run", "lock_timeout_ms", "statement_timeout_ms"}


@notebooks
def test_every_parameter_is_used(name: str) -> None:
    (cell,) = [cell for cell in code(name) if is_parameters(cell)]
    given = {target.id for statement in ast.parse(cell.source).body for target in statement.targets}
    used = {
        node.id
        for tree in trees(name)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }

    assert given - used == set()


# -- code


@notebooks
def test_code_cells_are_short_and_at_most_three_in_a_row(name: str) -> None:
    rows = [list(cells) for kind, cells in groupby(read(name).cells, key=lambda cell: cell.cell_type) if kind == "code"]

    assert [cell.id for cell in code(name) if len(cell.source.splitlines()) > 10] == []
    assert [cells[0].id for cells in rows if len(cells) > 3] == []


@notebooks
def test_code_holds_no_logic(name: str) -> None:
    found = [
        f"{type(node).__name__} in {cell.id}"
        for cell in code(name)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, LOGIC)
    ]

    assert found == []


@notebooks
def test_names_are_bound_once_and_nothing_is_changed_in_place(name: str) -> None:
    bound: list[str] = []
    for node in (node for tree in trees(name) for node in ast.walk(tree)):
        assert not isinstance(node, ast.AugAssign | ast.Delete | ast.NamedExpr)
        targets = node.targets if isinstance(node, ast.Assign) else []
        assert all(isinstance(target, ast.Name) for target in targets)
        bound += [target.id for target in targets]
        bound += [alias.asname or alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []

    assert [each for each, times in Counter(bound).items() if times > 1] == []


@notebooks
def test_only_the_package_is_imported_and_all_of_it_is_used(name: str) -> None:
    imports = [node for tree in trees(name) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    (found,) = imports
    names = [alias.name for alias in found.names]
    source = "\n".join(cell.source for cell in code(name))

    assert isinstance(found, ast.ImportFrom)
    assert found.module == "gatebook"
    modules = {path.stem for path in (ROOT / "src" / "gatebook").glob("*.py")}
    assert set(names) <= set(exported) | modules
    assert [each for each in names if not re.search(rf"\b{each}\b[.(]", source)] == []


# -- gates


@notebooks
def test_the_notebook_opens_applies_and_closes_its_phase(name: str) -> None:
    phase = PHASES[name]
    last = code(name)[-1]

    assert called(name, "Phase") == [phase.phase]
    assert [cell.source for cell in code(name) if "phase.apply()" in cell.source] == (
        ["phase.apply()"] if phase.revision else []
    )
    assert last.source == "phase.close()"


@notebooks
def test_it_runs_every_declared_gate_and_test_once_and_no_other(name: str) -> None:
    phase = PHASES[name]

    assert called(name, "phase.gate") == [gate.gate for gate in phase.gates]
    assert called(name, "gate") == list(phase.tests)


@notebooks
def test_each_gate_stands_alone_between_claim_and_reading(name: str) -> None:
    cells = read(name).cells
    for gate in PHASES[name].gates:
        slug = f"gate-{gate.gate.replace('.', '-').lower()}"
        own = [cell for cell in cells if cell.id == slug or cell.id.startswith(f"{slug}-")]
        places = [cells.index(cell) for cell in own]
        assert places == list(range(places[0], places[-1] + 1)), slug
        assert (own[0].id, own[0].cell_type) == (slug, "markdown")
        assert [cell.cell_type for cell in own[1:-1]] == ["code"] * (len(own) - 2)
        assert own[-2].id == f"{slug}-tests"
        assert f'phase.gate("{gate.gate}")' in own[-2].source
        assert (own[-1].id, own[-1].cell_type) == (f"{slug}-reading", "markdown")
        assert own[-1].source.startswith("*Reading a red table:* ")


@pytest.mark.parametrize(
    ("name", "gate"), [(name, gate.gate) for name, phase in PHASES.items() for gate in phase.gates]
)
def test_the_claim_before_a_gate_is_short_and_says_why(name: str, gate: str) -> None:
    (cell,) = [cell for cell in read(name).cells if cell.id == f"gate-{gate.replace('.', '-').lower()}"]
    heading, _, text = cell.source.partition("\n\n")

    assert heading.startswith(f"## Gate {gate} – ")
    assert 20 <= len(re.findall(r"[\w'’-]*\w[\w'’-]*", text)) <= 60


@notebooks
def test_the_title_says_what_is_proven_needed_and_left(name: str) -> None:
    first = read(name).cells[0].source

    assert first.startswith("# ")
    assert re.search(r"^Proves ", first, re.MULTILINE)
    assert re.search(r"^\*\*Needs\*\* ", first, re.MULTILINE)
    assert re.search(r"^\*\*Leaves behind\*\* ", first, re.MULTILINE)
    assert sum(line.startswith("# ") for cell in read(name).cells for line in cell.source.splitlines()) == 1


@notebooks
def test_sql_probed_and_declared_reasons_agree(name: str) -> None:
    """What a notebook expects of a rejected write is what gates.yaml declares: by SQLSTATE, constraint or column."""
    declared = {test: each for test, each in PHASES[name].tests.items() if each.kind == "rejected"}
    states = {"rejects_null": "23502", "rejects_duplicate": "23505", "rejects_check": "23514"}
    for call in calls(name):
        if isinstance(call.func, ast.Attribute) and call.func.attr in states:
            test = ast.literal_eval(call.args[0])
            assert declared.pop(test).sqlstate == states[call.func.attr]

    assert set(declared) <= {"R.5.4", "R.6.1"}
