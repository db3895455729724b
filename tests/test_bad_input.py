"""Names, files, options and parameters that cannot be used: one message, and nothing is changed or written."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

import postgres
from command import Command, assert_refused, nothing_new, params_file, run_process, unchanged
from conftest import ROOT, Databases, copy_project
from gatebook import probes
from gatebook.database import Database, open_database
from gatebook.errors import ConfigurationError, ConnectionFailed
from gatebook.phase import Phase
from gatebook.project import PROJECT_VARIABLE, Project

pytestmark = pytest.mark.server

SECRET = "geheim/p@ss w:rd%"


@pytest.fixture(scope="module")
def fit(databases: Databases, legacy: Database) -> Iterator[Database]:
    """A database that a run would change, if its input were not refused."""
    copy = databases.copy(legacy)
    yield copy
    databases.drop(copy)


@pytest.fixture
def bystander(fit: Database, outputs: Path) -> Iterator[Database]:
    """The same, with the claim that the test leaves it and the outputs as they were."""
    with unchanged(fit), nothing_new(outputs):
        yield fit


# -- the params file

PARAMS_FILES = {
    "misspelt key": ("lock_timeout: 5", "unknown key 'lock_timeout'", "did you mean 'lock_timeout_ms'?"),
    "misspelt key inside": ("scenario: {tennants: 2}", "unknown key 'scenario.tennants'", "did you mean 'tenants'?"),
    "key of nobody": ("colour: blue", "unknown key 'colour'"),
    "text for a number": ("lock_timeout_ms: 5s", "lock_timeout_ms", "valid integer"),
    "truth for a number": ("lock_timeout_ms: true", "lock_timeout_ms", "valid integer"),
    "no time to wait": ("statement_timeout_ms: 0", "statement_timeout_ms", "greater than or equal to 1"),
    "unknown mode": ("mode: dry", "mode", "'apply'"),
    "no tenants": ("scenario: {tenants: 0}", "scenario.tenants", "greater than or equal to 1"),
    "no date": ("scenario: {as_of: 15.11.2025}", "as_of '15.11.2025' is not a date", "YYYY-MM-DD"),
    "no such day": ("scenario: {as_of: 2025-02-30}", "a value that cannot be", "day is out of range"),
    "no such day in quotes": ("scenario: {as_of: '2025-02-30'}", "as_of '2025-02-30' is not a date"),
    "key twice": ("mode: apply\nmode: apply", "the key 'mode' stands twice", "line "),
    "unknown engine": ("engine: nbclint", "no engine 'nbclint'", "nbclient"),
    "not YAML": ("scenario: {tenants: 2", "is not YAML", "line "),
    "not UTF-8": ("notes: \udcff", "is not UTF-8"),
}


@pytest.mark.parametrize(("line", "words"), [(line, words) for line, *words in PARAMS_FILES.values()], ids=PARAMS_FILES)
def test_params_file_is_refused(
    line: str, words: list[str], tmp_path: Path, bystander: Database, command: Command
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"database: {bystander.name}\n{line}\n", encoding="utf-8", errors="surrogateescape")
    assert_refused(command("run", "--params", str(path)), *words)


@pytest.mark.parametrize(
    ("text", "words"), [("", "holds no keys"), ("- run", "holds no keys"), ("mode: apply", "database")]
)
def test_params_file_without_a_database_is_refused(text: str, words: str, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert_refused(command("run", "--params", str(path)), words, str(path))


def test_missing_params_file_is_refused(tmp_path: Path, outputs: Path) -> None:
    missing = str(tmp_path / "parms.yaml")
    with nothing_new(outputs):
        assert_refused(run_process("gatebook", "run", "--params", missing), "cannot be read: No such file", missing)


def test_date_without_quotes_is_a_date(tmp_path: Path, bystander: Database, command: Command) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"database: {bystander.name}\nscenario: {{as_of: 2025-11-15}}\n")
    assert_refused(command("run", "--params", str(path)), "is not empty")


# -- the database's name


def url_as_name(_monkeypatch: pytest.MonkeyPatch) -> str:
    return f"postgresql://auditor:{SECRET}@127.0.0.1/audit"


def variable(**values: str) -> Callable[[pytest.MonkeyPatch], str]:
    """AUDIT_URL as the name of the database, after setting these variables."""

    def prepare(monkeypatch: pytest.MonkeyPatch) -> str:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return "AUDIT_URL"

    return prepare


NOT_A_URL = ("AUDIT_URL does not hold a PostgreSQL URL", "not shown", "percent-encoded")
NAMES = {
    "URL as name": (url_as_name, "by name, never by its URL", "environment variable"),
    "unset": (variable(AUDIT_URI="x"), "AUDIT_URL is not set", "did you mean AUDIT_URI?"),
    "empty": (variable(AUDIT_URL=" "), "AUDIT_URL is empty"),
    "not a URL": (variable(AUDIT_URL=SECRET), *NOT_A_URL),
    "another system's URL": (variable(AUDIT_URL=f"mysql://auditor:{SECRET}@127.0.0.1/audit"), *NOT_A_URL),
    "@ in the password": (variable(AUDIT_URL="postgresql://auditor:geheim@ss@127.0.0.1/audit"), *NOT_A_URL),
    "/ in the password": (variable(AUDIT_URL="postgresql://auditor:geheim/ss@127.0.0.1/audit"), *NOT_A_URL),
    "% in the password": (variable(AUDIT_URL="postgresql://auditor:geheim%ss@127.0.0.1/audit"), *NOT_A_URL),
    "nobody listens": (
        variable(AUDIT_URL="postgresql://auditor:geheim@127.0.0.1:1/audit"),
        "cannot open the database 'AUDIT_URL'", "auditor@127.0.0.1:1/audit", "Connection refused",
    ),
    "no such host": (variable(AUDIT_URL="postgresql://auditor:geheim@nowhere.invalid/audit"), "'nowhere.invalid'"),
    "no time": (
        variable(AUDIT_URL="postgresql://auditor:geheim@127.0.0.1:1/audit?connect_timeout=soon"), "connect_timeout",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("prepare", "words"), [(first, rest) for first, *rest in NAMES.values()], ids=NAMES)
@pytest.mark.parametrize("place", ["params", "option"])
def test_database_name_is_refused(
    prepare: Callable[[pytest.MonkeyPatch], str],
    words: list[str],
    place: str,
    tmp_path: Path,
    bystander: Database,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = prepare(monkeypatch)
    option = ["--database", name] if place == "option" else []
    path = params_file(tmp_path, database=bystander.name if option else name)
    assert_refused(command("run", "--params", path, *option), *words, hidden=[SECRET, "geheim", "ss@"])


def test_long_name_of_an_embedded_database_is_refused(tmp_path: Path, outputs: Path, command: Command) -> None:
    path = params_file(tmp_path, database="embedded/" + "x" * 64)
    with nothing_new(outputs):
        assert_refused(command("run", "--params", path), "longer than 63 bytes")


# -- options

PHASES = "P, G, 4, 5, 6, 7, 8a, 8b, C, MV-1, MV-2, MV-3, H, MV-4, VAL, R"
OPTIONS = {
    "near miss": (["--only", "8A"], "--only 8A matches no phase", "did you mean '8a'?", PHASES),
    "no such phase": (["--until", "nine"], "--until nine matches no phase", PHASES),
    "end before start": (
        ["--from", "6", "--until", "4"],
        "--from 6 --until 4 selects nothing",
        "4 comes first",
        PHASES,
    ),
    "contradiction": (["--only", "5", "--from", "4"], "--only", "--from and --until cannot stand beside it"),
    "unproven": (["--only", "6"], "may not start before phase 5 is proven", "--from 5"),
    "unproven first": (["--from", "5"], "may not start before phase 4 is proven", "--from 4"),
}


@pytest.mark.parametrize(("options", "words"), [(first, rest) for first, *rest in OPTIONS.values()], ids=OPTIONS)
def test_phases_are_refused(
    options: list[str], words: list[str], tmp_path: Path, bystander: Database, command: Command
) -> None:
    path = params_file(tmp_path, database=bystander.name)
    assert_refused(command("run", "--params", path, *options), *words)


# -- the scenario


def test_scenario_is_not_loaded_over_rows(bystander: Database, command: Command) -> None:
    assert_refused(command("scenario", "--database", bystander.name), "is not empty", "7 tables", "--reset")


def test_only_an_embedded_database_is_made_anew(
    bystander: Database, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_URL", bystander.conninfo)
    path = params_file(tmp_path, database="AUDIT_URL", scenario={"reset": True})
    words = ("only a database of the embedded server can be made anew", "AUDIT_URL")
    assert_refused(command("scenario", "--database", "AUDIT_URL", "--reset"), *words)
    assert_refused(command("run", "--params", path), *words)


def test_scenario_for_no_date_is_refused(bystander: Database, command: Command) -> None:
    outcome = command("scenario", "--database", bystander.name, "--reset", "--as-of", "yesterday")
    assert_refused(outcome, "as_of 'yesterday' is not a date", "YYYY-MM-DD or today")


@pytest.mark.parametrize("option", ["--tenants", "--days", "--events-per-day"])
def test_scenario_of_nothing_is_refused(option: str, bystander: Database, command: Command) -> None:
    outcome = command("scenario", "--database", bystander.name, "--reset", option, "0")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"Invalid value for '{option}'" in outcome.err
    assert "Traceback" not in outcome.err


# -- the project


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, for a test to break."""
    root = copy_project(tmp_path / "project")
    monkeypatch.setenv(PROJECT_VARIABLE, str(root))
    return root


def revision(number: str, after: str) -> str:
    return f'revision = "{number}"\ndown_revision = "{after}"\nbranch_labels = None\ndepends_on = None\n'


PROJECTS = {
    "two heads": (
        "alembic/versions/side.py", revision("202511151445", "202511151440"),
        "2 heads: 202511151445, 202511151540", "down_revision", "alembic merge",
    ),
    "revision in the air": ("alembic/versions/side.py", revision("202511151460", "thin air"), "be read", "thin air"),
    "revision that is no Python": ("alembic/versions/side.py", "revision =", "cannot be read", "side.py"),
    "declaration": ("params/gates.yaml", "phases: []\nphrases: []\n", "'phrases' (did you mean 'phases'?)"),
    "contract": ("params/api_contract.yaml", "views: {}\n", "api_contract.yaml", "service_levels: Field required"),
    "canonical schema": ("params/canonical_schema.yaml", "tables: {}\n", "canonical_schema.yaml", "phase_order"),
    "notebook": ("notebooks/30_readiness.ipynb", "{", "notebook 30_readiness cannot be read", "30_readiness.ipynb"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text", "words"), [(file, text, words) for file, text, *words in PROJECTS.values()], ids=PROJECTS
)
def test_broken_project_is_refused(
    file: str, text: str, words: list[str], broken: Path, tmp_path: Path, bystander: Database, command: Command
) -> None:
    (broken / file).write_text(text)
    assert_refused(command("run", "--params", params_file(tmp_path, database=bystander.name)), *words)


def test_missing_notebook_is_refused(broken: Path, tmp_path: Path, bystander: Database, command: Command) -> None:
    (broken / "notebooks" / "08b_revenue_state_transitions.ipynb").unlink()
    path = params_file(tmp_path, database=bystander.name)
    assert_refused(command("run", "--params", path), "08b_revenue_state_transitions", "No such file")


def test_folder_without_a_project_is_refused(
    tmp_path: Path, bystander: Database, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROJECT_VARIABLE, str(tmp_path))
    path = params_file(tmp_path, database=bystander.name)
    assert_refused(command("run", "--params", path), "no gatebook project found", str(tmp_path), PROJECT_VARIABLE)


# -- what a notebook is given, and what it asks for


def test_misspelt_papermill_parameter_is_refused(bystander: Database, tmp_path: Path) -> None:
    source, output = ROOT / "notebooks" / "04_tenants.ipynb", tmp_path / "04_tenants.ipynb"
    given = ["-p", "database", bystander.name, "-p", "lock_timeout", "5"]
    outcome = run_process("papermill", str(source), str(output), "-k", "python3", "--no-progress-bar", *given)
    assert outcome.code != 0
    assert "unknown parameter lock_timeout (did you mean 'lock_timeout_ms'?)" in outcome.err
    cells = nbformat.read(output, as_version=4).cells
    (stopped,) = [cell for cell in cells if cell.get("outputs") and cell.outputs[-1].output_type == "error"]
    assert stopped.id == "open-phase"


PHASE_PARAMETERS = {
    "mode": ({"mode": "dry"}, "mode 'dry' is not known", "parameter mode", "apply"),
    "run": (
        {"run": "20251115T000000Z-abcdef"},
        "no unfinished run '20251115T000000Z-abcdef'",
        "leave the parameter run",
    ),
    "phase": ({"phase_id": "8A"}, "no phase 8A is declared", "did you mean '8a'?"),
    "database": ({"database": f"postgresql://a:{SECRET}@h/d"}, "by name, never by its URL"),
}


@pytest.mark.parametrize(
    ("parameters", "words"), [(first, rest) for first, *rest in PHASE_PARAMETERS.values()], ids=PHASE_PARAMETERS
)
def test_notebook_parameter_is_refused(parameters: dict[str, Any], words: list[str], bystander: Database) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Phase(**{"phase_id": "4", "database": bystander.name} | parameters)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.fixture
def phase_4(fit: Database, outputs: Path) -> Iterator[Phase]:  # noqa: ARG001 - its session folder lies there
    with unchanged(fit):
        phase = Phase("4", database=fit.name)
        yield phase
        phase.database.close()


def test_undeclared_gate_is_refused(phase_4: Phase) -> None:
    with pytest.raises(ConfigurationError, match=r"phase 4 declares no gate 4\.9") as refused, phase_4.gate("4.9"):
        pass
    assert "params/gates.yaml" in str(refused.value)


def test_undeclared_test_is_refused(phase_4: Phase) -> None:
    with phase_4.gate("4.3") as gate, pytest.raises(ConfigurationError, match=r"gate 4\.3 declares no test 4\.3\.11"):
        gate.rejects_null("4.3.11", "tenants", "api_key_hash")
    assert phase_4.results == {}


def test_notebook_and_declaration_must_agree(phase_4: Phase) -> None:
    write = probes.insert("tenants", api_key_hash=None)
    with phase_4.gate("4.3") as gate, pytest.raises(ConfigurationError, match="is not what is declared") as refused:
        gate.rejects("4.3.1", write, sqlstate="23505", column="api_key_hash")
    assert "test 4.3.1 expects sqlstate '23505'" in str(refused.value)
    assert "make the two agree" in str(refused.value)
    assert phase_4.results == {}


# -- what is not refused, and what never shows


@pytest.fixture(scope="module")
def server_15() -> Iterator[postgres.Server]:
    with postgres.serving(version=15) as server:
        yield server


def service_file(server: postgres.Server, folder: Path) -> str:
    password = server.passwords[postgres.OWNER]
    words = {"host": "127.0.0.1", "port": server.port, "user": postgres.OWNER, "dbname": "audit", "password": password}
    path = folder / "services.conf"
    path.write_text("\n".join(["[audit]", *(f"{name}={value}" for name, value in words.items())]) + "\n")
    return str(path)


@pytest.mark.parametrize("form", ["service", "sqlalchemy", "postgres", "words"])
def test_every_form_of_a_url_opens_the_database(
    form: str, server_15: postgres.Server, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", service_file(server_15, tmp_path))
    text = {
        "service": "service=audit",
        "sqlalchemy": server_15.url(scheme="postgresql+psycopg"),
        "postgres": server_15.url(scheme="postgres"),
        "words": f"host=127.0.0.1 port={server_15.port} user=audit_owner password=p@ss/w:rd% dbname=audit",
    }[form]
    monkeypatch.setenv("DATABASE_URL", text)
    outcome = command("status", "--database", "DATABASE_URL")
    assert (outcome.code, outcome.err) == (0, "")
    assert "revision none" in outcome.out
    assert "rd%" not in outcome.out
    assert "rd%25" not in outcome.out


def test_password_shows_nowhere(server_15: postgres.Server, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "An0ther/p@ss:w%rd"
    monkeypatch.setenv("AUDIT_URL", server_15.url(password=wrong))
    database = open_database("AUDIT_URL", project=project)
    with pytest.raises(ConnectionFailed) as failed, database.connect():
        pass
    shown = [
        repr(database),
        str(database),
        database.target,
        str(failed.value),
        repr(failed.value),
        repr(database.engine),
    ]
    assert not [text for text in shown if wrong in text or "An0ther" in text]
    assert failed.value.__cause__ is None
    assert f"audit_owner@127.0.0.1:{server_15.port}/audit" in str(failed.value)


def test_wrong_password_is_refused(
    server_15: postgres.Server, tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "An0ther/p@ss:w%rd"
    monkeypatch.setenv("AUDIT_URL", server_15.url(password=wrong))
    path = params_file(tmp_path, database="AUDIT_URL")
    words = ("cannot open the database 'AUDIT_URL'", "password authentication failed", "audit_owner@127.0.0.1")
    with nothing_new(outputs):
        assert_refused(run_process("gatebook", "run", "--params", path), *words, hidden=[wrong])
