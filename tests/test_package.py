"""The package as a whole: what it exports, how large its parts are, and who may know whom."""

import ast
import importlib
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import gatebook
from gatebook import errors

ROOT = Path(gatebook.__file__).parent

# From the bottom up. A module may import from its own layer and those below, never from above.
LAYERS: dict[str, tuple[str, ...]] = {
    "ground": ("errors", "project", "verdicts", "embedded_companion"),
    "read": (
        *("embedded", "database", "declarations", "parameters", "journal", "runs", "migrations"),
        *("catalog", "row_security", "baseline", "canonical", "pairing", "provenance"),
    ),
    "judge": (
        *(
            "history",
            "checks",
            "compare",
            "compliance",
            "contract",
            "explain",
            "isolation",
            "plans",
            "plan_changes",
            "timings",
            "probes",
            "preservation",
            "subject",
            "preflight",
            "evidence.results",
            "readiness",
            "views",
        ),
        *("safety", "safety.effects", "safety.locks", "safety.known", "safety.grammar", "safety.placeholders"),
        *("safety.predicates", "safety.types", "safety.definitions", "safety.dropping", "safety.creating"),
        *("safety.dynamic", "safety.functions", "safety.plpgsql", "safety.sql"),
        *("safety.things", "safety.texts", "safety.containers", "safety.files"),
        *("safety.calls", "safety.sqltypes", "safety.operations"),
        *("safety.execution", "safety.constructs", "safety.builtin", "safety.dispatch", "safety.modules"),
        *("safety.walk", "safety.binding", "safety.statements", "safety.expressions", "safety.python", "safety.hidden"),
        *("safety.reading", "safety.judge", "safety.report", "safety.linting", "validators"),
    ),
    "show": (
        *("display", "charts", "drawing", "drawing.sheet", "drawing.labels"),
        *("drawing.plan", "drawing.latencies", "drawing.growth", "drawing.refreshes", "drawing.rehearsals"),
    ),
    "notebook": (
        *("scenario", "applying", "activity", "refresh", "refreshing", "findings"),
        *("asking", "gate", "phase"),
        *("rehearsal", "rehearsal_losses", "rehearsal_rows", "rehearsal_stage", "rehearsal_watch"),
        *("review", "governance", "governance_catalog"),
    ),
    "run": (
        *("executing", "evidence", "evidence.pages", "evidence.junit", "evidence.keys", "evidence.manifest"),
        *("evidence.attestation", "evidence.archive", "evidence.verify", "evidence.signing", "evidence.diff"),
        *("evidence.said", "run"),
    ),
    "command": ("terminal", "cli", "__main__"),
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py")) if name_of(path)}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
modules = pytest.mark.parametrize("name", MODULES)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def imports(name: str) -> set[str]:
    """Modules of ours that a module imports when it runs; imports for type checkers are none."""
    for_types = {
        inner
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in set(ast.walk(TREES[name])) - for_types:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each.removeprefix("gatebook.") in MODULES else str(node.module) for each in inner}
    return {each.removeprefix("gatebook.") for each in found if each.startswith("gatebook.")}


def reached(name: str) -> set[str]:
    """Everything of ours that comes along with a module."""
    found: set[str] = set()
    left = [name]
    while left:
        new = imports(left.pop()) - found
        found |= new
        left += new
    return found


# -- what it exports


def test_few_names_are_exported_sorted_and_all_can_be_had() -> None:
    names = gatebook.__all__

    assert names == sorted(names)
    assert len(names) <= 12
    assert [name for name in names if getattr(gatebook, name, None) is None] == []
    with pytest.raises(AttributeError, match="module 'gatebook' has no attribute 'nothing'"):
        _ = gatebook.nothing  # type: ignore[attr-defined]


def test_names_for_type_checkers_are_the_exported_ones() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert names - {"TYPE_CHECKING", "Any"} == set(gatebook.__all__)


@modules
def test_every_module_can_be_imported_alone(name: str) -> None:
    if name not in ("__main__", "embedded_companion"):
        importlib.import_module(f"gatebook.{name}")


def test_importing_the_package_loads_nothing() -> None:
    script = "import sys, gatebook; print(sorted(name for name in sys.modules if name.startswith('gatebook')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "['gatebook']"


# -- how large its parts are


@modules
def test_modules_and_functions_stay_readable(name: str) -> None:
    lines = MODULES[name].read_text("utf-8").splitlines()
    functions = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > 60]

    assert len(lines) <= 400
    assert long == []


def test_most_functions_are_short() -> None:
    sizes = sorted(
        (node.body[-1].end_lineno or 0) - node.body[0].lineno + 1
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )

    assert sizes[len(sizes) // 2] <= 12


@modules
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert len(ast.get_docstring(TREES[name]) or "") >= 15


@modules
def test_callers_name_their_options(name: str) -> None:
    """No boolean goes by its place alone, but where a library calls us."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef) and node.name not in ("construct_mapping", "start", "stop", "note"):
            flags = [each.arg for each in node.args.args if each.annotation and ast.unparse(each.annotation) == "bool"]
            assert flags == [], node.name


@modules
def test_database_text_never_decides(name: str) -> None:
    """Errors are told apart by type or SQLSTATE; assert is not for callers; nothing is printed."""
    called = {
        node.func.id for node in ast.walk(TREES[name]) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert [node.lineno for node in ast.walk(TREES[name]) if isinstance(node, ast.Assert)] == []
    assert called & {"print", "eval", "exec", "breakpoint"} == set()


# -- who may know whom


def test_every_module_has_its_layer() -> None:
    placed = [name for names in LAYERS.values() for name in names]

    assert sorted(placed) == sorted(MODULES)


@modules
def test_imports_point_down(name: str) -> None:
    height = {each: place for place, names in enumerate(LAYERS.values()) for each in names}

    assert sorted(each for each in imports(name) if height[each] > height[name]) == []


def test_imports_form_no_circle() -> None:
    list(TopologicalSorter({name: imports(name) for name in MODULES}).static_order())


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [
        pytest.param("checks", set(MODULES) - {"verdicts"}, id="a check knows rows and verdicts"),
        pytest.param("verdicts", set(MODULES), id="verdicts know nothing"),
        pytest.param("catalog", set(MODULES), id="the catalog knows nothing"),
        pytest.param("display", set(MODULES) - {"verdicts"}, id="show knows verdicts"),
        pytest.param("charts", {"database", "explain", "phase", "gate", "run"}, id="pictures know what was measured"),
        pytest.param("drawing.sheet", set(MODULES), id="a sheet knows nothing"),
        pytest.param("plans", set(MODULES) - {"verdicts"}, id="a plan knows its document"),
        pytest.param("plan_changes", set(MODULES) - {"plans", "verdicts"}, id="plans are compared without a server"),
        pytest.param("probes", {"phase", "gate", "run", "display", "database"}, id="a probe is given its connection"),
        pytest.param("canonical", {"database", "migrations", "phase", "run"}, id="the specification is pure"),
        pytest.param("preservation", {"phase", "gate", "run", "display"}, id="preservation judges states"),
        pytest.param("evidence.results", {"database", "phase", "run", "catalog"}, id="results know the journal"),
        pytest.param("evidence.pages", {"database", "phase", "run", "catalog"}, id="pages know results"),
        pytest.param("phase", {"run", "executing", "evidence.pages", "terminal"}, id="a notebook knows no batch"),
        pytest.param("run", {"phase", "gate", "terminal"}, id="a batch knows journals, not phases"),
        pytest.param("embedded_companion", set(MODULES), id="the companion stands alone"),
    ],
)
def test_what_must_not_be_known(name: str, forbidden: set[str]) -> None:
    assert reached(name) & forbidden == set()


@pytest.mark.parametrize(("name", "by"), [("cli", {"__main__"}), ("terminal", {"cli"}), ("phase", set())])
def test_who_alone_may_import(name: str, by: set[str]) -> None:
    assert {each for each in MODULES if name in imports(each)} == by


@pytest.mark.parametrize("word", ["tenant", "revenue", "attribution", "ledger", "dead_event"])
def test_the_engine_knows_nothing_of_its_first_subject(word: str) -> None:
    """What is audited stands in params/, notebooks/ and alembic/; docstrings may give examples."""
    found = []
    for name, tree in TREES.items():
        docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)}
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        identifiers = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
        found += [(name, text) for text in [*texts, *identifiers] if word in text.lower() and text not in docs]

    assert [each for each in found if each[0] not in ("cli", "declarations", "scenario", "terminal")] == []


# -- errors


def drawn() -> dict[str, tuple[str, str]]:
    """The tree in the docstring: class -> (parent, text)."""
    found: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"((?:[│ ]   )*)(?:[├└]── )?([A-Z]\w+) +(.+)", line)
        if match and match[2] != "What":
            depth = len(match[1]) // 4 + ("── " in line)
            path = [*path[:depth], match[2]]
            found[match[2]] = (path[-2] if depth else "Exception", match[3])
    return found


def classes() -> dict[str, type[Exception]]:
    return {name: each for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    assert {name: parent for name, (parent, _) in drawn().items()} == {
        name: each.__bases__[0].__name__ for name, each in classes().items()
    }
    assert list(drawn()) == list(classes())


def test_the_tree_of_errors_says_what_the_classes_say() -> None:
    for name, (_, text) in list(drawn().items())[1:]:
        words = re.sub(r"^exit code \d: ", "", text)
        assert (classes()[name].__doc__ or "").rstrip(".").lower() == words.lower()
    codes = {name: int(text[10]) for name, (_, text) in drawn().items() if text.startswith("exit code ")}
    assert codes == {"GatebookError": 2, "PhaseRed": 1}
    assert {name: classes()[name].exit_code for name in codes} == codes
    assert {name for name, each in classes().items() if each.exit_code != 2} == {"PhaseRed"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({}, "what", id="what"),
        pytest.param({"where": "there"}, "what\n  where: there", id="where"),
        pytest.param({"where": "there", "next_step": "do"}, "what\n  where: there\n  next:  do", id="next step"),
    ],
)
def test_an_error_says_what_where_and_what_next(fields: dict[str, str], text: str) -> None:
    error = errors.PhaseRefused("what", **fields)

    assert str(error) == text
    assert error._render_traceback_() == [f"PhaseRefused: {text}"]


@modules
def test_every_error_of_ours_says_where_or_what_next(name: str) -> None:
    ours = set(classes())
    bare = [
        node.lineno
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in ours
        and not {keyword.arg for keyword in node.exc.keywords} & {"where", "next_step"}
    ]

    assert bare == []
