"""Real servers for the tests: an embedded server of their own, databases copied from templates in a moment."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import psycopg
import pytest
from psycopg import sql

from command import Command
from gatebook import catalog, scenario
from gatebook.baseline import Store
from gatebook.canonical import load_canonical
from gatebook.catalog import Snapshot
from gatebook.database import Database, open_database
from gatebook.declarations import ScenarioParameters, load_gates
from gatebook.embedded import OWNER
from gatebook.errors import PhaseRed
from gatebook.project import HOME_VARIABLE, OUTPUTS_VARIABLE, PROJECT_VARIABLE, Project
from gatebook.subject import Subject

ROOT = Path(__file__).resolve().parent.parent
SMALL = ScenarioParameters(tenants=2, days=5, events_per_day=4, seed=7, as_of="today")

# Explained skips. Anything else that is skipped fails the run in CI.
NEEDS_MOUNT = "a disk that fills up is mounted, which not every machine lets a test do; limits on files are tested too"
PLENTY_BYTES = 4 * 1024**3

ALLOWED_SKIPS: dict[str, str] = {
    "tests/test_outputs.py::test_full_disk_is_refused_before_the_start": NEEDS_MOUNT,
    "tests/test_outputs.py::test_disk_that_fills_up_in_the_middle_leaves_no_finished_run": NEEDS_MOUNT,
}


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """The tests' own embedded server lives here, in memory where there is plenty: copies of databases are many.

    A folder of its own, not pytest's: another run of pytest would take those away from the server's user.
    """
    memory = Path("/dev/shm")
    is_plenty = memory.is_dir() and shutil.disk_usage(memory).free > PLENTY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="gatebook-tests-", dir=memory if is_plenty else None))
    folder.chmod(0o711)
    yield folder
    for _ in range(100):  # the server stops after its last user, and not while files are taken from under it
        if not (folder / "server" / "data" / "postmaster.pid").exists():
            break
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def environment(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels and commands that tests start find the tests' server, never the one of the project."""
    before = dict(os.environ)
    os.environ |= {
        HOME_VARIABLE: str(home),
        OUTPUTS_VARIABLE: str(tmp_path_factory.mktemp("outputs")),
        PROJECT_VARIABLE: str(ROOT),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    os.environ.pop("DATABASE_URL", None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def project(environment: None) -> Project:  # noqa: ARG001 - the variables must be set first
    """The project itself, with the tests' own server and outputs."""
    return Project.find(ROOT)


@pytest.fixture(scope="session")
def server(project: Project) -> Iterator[Database]:
    """Keeps the tests' server up; its default database stays empty."""
    database = open_database("embedded", project=project)
    yield database
    database.close()


class Databases:
    """Makes databases on the tests' server: empty ones, or copies of a template in a fraction of a second."""

    def __init__(self, project: Project, server: Database) -> None:
        self.project = project
        self.server = server
        self._number = 0
        self._templates: dict[str, str] = {}

    def empty(self) -> Database:
        self._number += 1
        return open_database(f"embedded/test_{self._number}", project=self.project, create=True)

    def copy(self, template: Database) -> Database:
        """A copy with the same rows, catalog, states and proofs."""
        self._number += 1
        name = f"test_{self._number}"
        template.engine.dispose()
        source = template.name.removeprefix("embedded/")
        with self.maintenance() as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}")
            names = [sql.Identifier(each) for each in (name, source, OWNER)]
            connection.execute(statement.format(*names))
        made = open_database(f"embedded/{name}", project=self.project)
        states = Store(self.project, template.server).folder
        if states.exists():
            shutil.copytree(states, Store(self.project, made.server).folder)
        for each in (template, made):
            each.engine.dispose()  # nobody is connected to either
        return made

    def drop(self, database: Database) -> None:
        shutil.rmtree(Store(self.project, database.server).folder, ignore_errors=True)
        database.engine.dispose()
        with self.maintenance() as connection:
            name = sql.Identifier(database.name.removeprefix("embedded/"))
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        database.close()

    @contextlib.contextmanager
    def maintenance(self, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """The server's superuser, for what only a test may do."""
        assert self.server.server_process is not None
        conninfo = self.server.server_process.conninfo(database, user="postgres")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            yield connection


@pytest.fixture(scope="session")
def databases(project: Project, server: Database) -> Databases:
    return Databases(project, server)


@pytest.fixture(scope="session")
def legacy(databases: Databases) -> Iterator[Database]:
    """Template: the small scenario at the revision before phase 4. Copy it, never change it."""
    database = databases.empty()
    scenario.load(database, databases.project, SMALL)
    database.engine.dispose()
    yield database
    database.close()


@pytest.fixture(scope="session")
def migrated(databases: Databases, legacy: Database) -> Iterator[Database]:
    """Template: phases P to R run green. Copy it, never change it."""
    database = databases.copy(legacy)
    for phase in load_gates(databases.project).phases:
        run_notebook(phase.notebook, database=database.name)
    database.engine.dispose()
    yield database
    database.close()


@pytest.fixture(scope="session")
def legacy_catalog(legacy: Database) -> Snapshot:
    """The catalog before phase 4."""
    return snapshot_of(legacy)


@pytest.fixture(scope="session")
def migrated_catalog(migrated: Database) -> Snapshot:
    """The catalog after the last phase."""
    return snapshot_of(migrated)


def snapshot_of(database: Database) -> Snapshot:
    """The catalog of a database; its connections are closed, since it may be a template."""
    with database.connect() as connection:
        found = catalog.snapshot(connection)
    database.engine.dispose()
    return found


@pytest.fixture
def legacy_copy(databases: Databases, legacy: Database) -> Iterator[Database]:
    copy = databases.copy(legacy)
    yield copy
    databases.drop(copy)


@pytest.fixture
def migrated_copy(databases: Databases, migrated: Database) -> Iterator[Database]:
    copy = databases.copy(migrated)
    yield copy
    databases.drop(copy)


@pytest.fixture(scope="module")
def untouched(databases: Databases, migrated: Database) -> Iterator[Database]:
    """A copy for the tests of a module, which change it in transactions that they roll back, or not at all."""
    copy = databases.copy(migrated)
    yield copy
    databases.drop(copy)


@pytest.fixture
def subject(databases: Databases, untouched: Database) -> Iterator[Subject]:
    """What an examination looks at: a migrated database, in a transaction that ends with the test."""
    with subject_of(untouched, databases.project) as found:
        yield found


@contextlib.contextmanager
def subject_of(database: Database, project: Project) -> Iterator[Subject]:
    gates, canonical, store = load_gates(project), load_canonical(project), Store(project, database.server)
    with database.connect(isolation_level="REPEATABLE READ") as connection:  # as an examination may ask for
        yield Subject(project, gates, canonical, database.server, store, connection)


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outputs folder of the test's own."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    monkeypatch.setenv(OUTPUTS_VARIABLE, str(folder))
    return folder


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outputs: Path) -> Command:  # noqa: ARG001
    """`gatebook …` in this process, writing into the test's own outputs."""
    return Command(monkeypatch, capsys)


def run_notebook(notebook: str, *, database: str, validator: str = "a test", **parameters: Any) -> SimpleNamespace:
    """The code cells of a real notebook, run in this process: the namespace they leave, `red` if close() raised.

    For what needs many runs; the kernels themselves are tested elsewhere.
    """
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    names: dict[str, Any] = {"red": None}
    try:
        for cell in cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{notebook}:{cell.id}", "exec"), names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= {"database": database, "validator": validator, **parameters}
    except PhaseRed as error:
        names["red"] = error
    finally:
        if "phase" in names:
            names["phase"].database.close()
    return SimpleNamespace(**names)


NOT_COPIED = (".git", ".gatebook", ".venv", "outputs", "postgres", "build", "dist", "__pycache__", ".*_cache")


def copy_project(target: Path) -> Path:
    """The project in a folder of its own, for a test to change; without what is made by running it."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
    return target


def run_cells(notebook: str, *cells: str, **names: Any) -> SimpleNamespace:
    """Some code cells of a real notebook, with these names for them to use: what they bind."""
    sources = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", 4).cells}
    for cell in cells:
        exec(compile(sources[cell], f"{notebook}:{cell}", "exec"), names)
    return SimpleNamespace(**names)


def verdicts(run: SimpleNamespace) -> dict[str, str]:
    """Test id -> verdict name of a notebook that was run."""
    return {test: result.verdict.name for test, result in run.phase.results.items()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that the workers end at about the same time."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in ("mutations", "faults", "end_to_end")))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    mutations: dict[str, bool] = {}
    reports = [each for some in terminalreporter.stats.values() for each in some if isinstance(each, pytest.TestReport)]
    for report in reports:
        if "::test_a_gate_goes_red[" in report.nodeid and not report.skipped:
            mutations[report.nodeid] = mutations.get(report.nodeid, True) and report.passed
    if mutations:
        terminalreporter.write_line(f"mutations caught: {sum(mutations.values())} of {len(mutations)}")
    for line in {value for report in reports for name, value in report.user_properties if name == "fixtures"}:
        terminalreporter.write_line(line)
    skipped = [report.nodeid for report in terminalreporter.stats.get("skipped", [])]
    unexplained = [name for name in skipped if name not in ALLOWED_SKIPS]
    if os.environ.get("CI") == "true" and unexplained:
        terminalreporter.write_line(f"skipped in CI without being on the list: {', '.join(unexplained)}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [report.nodeid for report in reporter.stats.get("skipped", [])] if reporter else []
    if os.environ.get("CI") == "true" and any(name not in ALLOWED_SKIPS for name in skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
