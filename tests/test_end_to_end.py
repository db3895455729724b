"""The whole audit as its users run it: on the bundled server, on PostgreSQL 15 over TLS, and notebook by notebook."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
import yaml

import batch
import postgres
from batch import ALL, Ended, assert_all_listed_are_green, assert_truthful
from conftest import ROOT, Databases
from gatebook import journal, migrations
from gatebook.database import Database, open_database
from gatebook.declarations import Gates, load_gates
from gatebook.errors import ConnectionFailed
from gatebook.project import OUTPUTS_VARIABLE, Project

pytestmark = pytest.mark.server


@dataclass(frozen=True)
class Audited:
    """A database after the whole audit, and what the run left."""

    name: str
    params: Path
    outputs: Path
    ended: Ended


def ci_params(folder: Path, *, database: str) -> Path:
    """params/ci.yaml for another database."""
    content = yaml.safe_load((ROOT / "params" / "ci.yaml").read_text("utf-8"))
    path = folder / "ci.yaml"
    path.write_text(yaml.safe_dump(content | {"database": database}), encoding="utf-8")
    return path


def assert_everything_is_green(ended: Ended, gates: Gates) -> None:
    """Every declared gate and test, by name; the notebooks and their outputs too."""
    assert ended.code == 0, ended.said
    results = ended.results
    assert (results["verdict"], results["ended"]) == ("PASS", "finished")
    assert ended.verdicts == dict.fromkeys(ALL, "PASS")
    assert_all_listed_are_green(ended)
    own = sum(gate not in phase.listed for phase in gates.phases for gate in phase.gates)
    assert results["totals"]["own_gates"]["of"] == own
    for declared in gates.phases:
        found = ended.phase(declared.phase)
        assert {gate["gate"]: gate["verdict"] for gate in found["gates"]} == {
            gate.gate: "PASS" for gate in declared.gates
        }
        assert ended.tests(declared.phase) == dict.fromkeys(declared.tests, ("PASS", ""))
        assert_notebook_shows(ended.folder / "notebooks" / f"{declared.notebook}.ipynb", list(declared.tests))
        assert (ended.folder / "html" / f"{declared.notebook}.html").is_file()
    assert_truthful(ended.folder)


def assert_notebook_shows(executed: Path, tests: list[str]) -> None:
    """Every cell ran without a word on stderr; every test is shown with its verdict; the end is a verdict table."""
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    source = nbformat.read(ROOT / "notebooks" / executed.name, as_version=4).cells
    assert [cell.id for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])] == [
        cell.id for cell in source if cell.cell_type == "code"
    ]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"display_data", "execute_result"}
    shown = "".join(output.data.get("text/html", "") for output in outputs)
    for test in tests:
        assert f"<b class='pass'>✓ PASS</b> <b>{test}</b>" in shown, test
    assert "✗ FAIL" not in shown
    assert "UNKNOWN" not in shown
    (table,) = [output.data["text/html"] for output in cells[-1].outputs]
    assert re.match("<div class='gb'><b class='pass'>✓ PASS</b> <b>Phase ", table)
    assert "<th scope='col'>verdict</th><th scope='col'>gate</th>" in table


# -- the bundled server


@pytest.fixture(scope="module")
def audited(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Audited:  # noqa: ARG001 - keeps it up
    folder = tmp_path_factory.mktemp("audited")
    name, outputs = "embedded/end_to_end", folder / "outputs"
    params = ci_params(folder, database=name)
    return Audited(name, params, outputs, batch.run(outputs, params))


def test_whole_audit(audited: Audited, project: Project) -> None:
    ended = audited.ended
    assert_everything_is_green(ended, load_gates(project))
    for line in (
        r"Scenario at revision 202511141311 in [\d.]+ s: [\d,]+ attribution_allocations, [\d,]+ attribution_events",
        r"  ✓ PASS 4\.2 +api_key_hash is unique \(2 of 2 tests\)",
        r"✓ PASS 30_readiness \([\d.]+ s, [\d.]+ s of it database\)",
        r"✓ PASS 4 of 4 gates and 14 of 14 tests of governance green; "
        r"24 of 24 gates and 51 of 51 tests of phases 4 to 8 green; "
        r"21 of 21 gates and 39 of 39 tests of the materialized views green; "
        r"13 of 13 gates and 15 of 15 tests of migration safety green; (\d+) of \1 gates of the workbook",
        r"Time: [\d.]+ s = notebooks [\d.]+ s \+ database in notebooks [\d.]+ s \+ loading rows, checks and report",
        re.escape(f"Report: {ended.folder / 'index.html'}"),
    ):
        assert re.search(line, ended.said), line


def test_latest_and_status(audited: Audited) -> None:
    folder = audited.ended.folder
    assert (audited.outputs / "latest").readlink() == Path(folder.name)
    assert not list(audited.outputs.glob("*.incomplete"))
    said = batch.command("status", "--database", audited.name, env={OUTPUTS_VARIABLE: str(audited.outputs)})
    assert (said.returncode, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert lines[0].startswith(f"Last run {folder.name}: ✓ PASS, finished, on {audited.name} (")
    assert lines[1] == f"Report: {folder / 'index.html'}"
    assert "revision 202511151540, head 202511151540" in said.stdout
    for phase in ("4", "5", "6", "7", "8a", "8b", "MV-2", "MV-3", "H"):
        assert re.search(rf"(?m)^  phase {phase} +proven by run {folder.name} at ", said.stdout), said.stdout


def test_parts_of_an_audit(audited: Audited, databases: Databases) -> None:
    """Alone, from and until: in order, without loading rows again, and each run stands for itself."""
    database = open_database(audited.name, project=databases.project)
    key = database.server.key
    for words, phases in ((["--only", "5"], ["5"]), (["--from", "6", "--until", "7"], ["6", "7"])):
        ended = batch.run(audited.outputs, audited.params, *words)
        assert ended.code == 0, ended.said
        assert list(ended.verdicts.items()) == [(phase, "PASS") for phase in phases]
        assert "Scenario at revision" not in ended.said
        assert ended.results["facts"]["phases"] == phases
        assert_truthful(ended.folder)
        assert (audited.outputs / "latest").resolve() == ended.folder
    assert audited.ended.folder.is_dir()
    database.close()
    again = open_database(audited.name, project=databases.project)
    assert again.server.key == key
    again.close()


def test_second_audit_makes_the_rows_anew(audited: Audited) -> None:
    ended = batch.run(audited.outputs, audited.params, "--until", "4")
    assert ended.code == 0, ended.said
    assert ended.verdicts == {"P": "PASS", "G": "PASS", "4": "PASS"}
    assert "Scenario at revision 202511141311 in " in ended.said
    first = audited.ended.results["facts"]
    assert ended.results["facts"]["server_key"] != first["server_key"]
    applied = [event for event in journal.read(ended.folder / "journal.jsonl") if event["event"] == "applied"]
    assert [event["revision"] for event in applied] == ["202511151400"]


# -- PostgreSQL 15 over TCP, with a password and a certificate


@pytest.fixture(scope="module")
def debian() -> Iterator[postgres.Server]:
    with postgres.serving(version=15) as server:
        yield server


def test_whole_audit_over_tls(debian: postgres.Server, project: Project, tmp_path: Path) -> None:
    trusted = debian.url(sslmode="verify-full", sslrootcert=str(debian.certificate))
    variables = {"AUDIT_URL": trusted}
    words = ["--tenants", "2", "--days", "20", "--events-per-day", "5"]
    loaded = batch.command("scenario", "--database", "AUDIT_URL", *words, env=variables)
    assert (loaded.returncode, loaded.stderr) == (0, ""), loaded
    params = tmp_path / "params.yaml"
    params.write_text("database: AUDIT_URL\nvalidator: a test\n", encoding="utf-8")
    ended = batch.run(tmp_path / "outputs", params, env=variables)
    assert_everything_is_green(ended, load_gates(project))
    facts = ended.results["facts"]
    assert re.match(r"PostgreSQL 15\.", facts["server"])
    assert facts["database"] == f"AUDIT_URL ({postgres.OWNER}@127.0.0.1:{debian.port}/{postgres.DATABASE})"
    password = debian.passwords[postgres.OWNER]
    secrets = [form.encode() for form in (password, quote(password, safe=""), trusted)]
    written = [
        path for folder in (ended.folder, project.home / "state") for path in folder.rglob("*") if path.is_file()
    ]
    assert len(written) > 20
    for text in (*(path.read_bytes() for path in written), (ended.said + loaded.stdout).encode()):
        assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param({"sslmode": "verify-full", "sslrootcert": os.devnull}, "certificate", id="untrusted-certificate"),
        pytest.param({"sslmode": "disable"}, "no encryption", id="without-tls"),
        pytest.param({"password": "wr/ong:p@ss"}, "password authentication failed", id="wrong-password"),
    ],
)
def test_server_is_not_reached_otherwise(
    debian: postgres.Server, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], reason: str
) -> None:
    monkeypatch.setenv("AUDIT_URL", debian.url(**options))
    with pytest.raises(ConnectionFailed, match="cannot open the database 'AUDIT_URL'") as caught:
        _ = open_database("AUDIT_URL").server
    assert reason in str(caught.value)
    password = options.get("password", debian.passwords[postgres.OWNER])
    assert password not in str(caught.value)
    assert quote(password, safe="") not in str(caught.value)


# -- one notebook by itself


def papermill(notebook: str, output: Path, *, database: str, outputs: Path) -> "subprocess.CompletedProcess[str]":
    words = [f"notebooks/{notebook}.ipynb", str(output), "-p", "database", database, "--no-progress-bar"]
    return subprocess.run(
        [sys.executable, "-m", "papermill", *words],
        cwd=ROOT, env=os.environ | {OUTPUTS_VARIABLE: str(outputs)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def revision(database: Database) -> str | None:
    with database.connect() as connection:
        found = migrations.current(connection)
    database.engine.dispose()
    return found


def test_papermill_alone(legacy_copy: Database, project: Project, tmp_path: Path) -> None:
    """What a CI that knows nothing of gatebook does: an exit code, the executed notebook, and a record."""
    output, outputs = tmp_path / "out.ipynb", tmp_path / "outputs"
    done = papermill("04_tenants", output, database=legacy_copy.name, outputs=outputs)
    assert done.returncode == 0, done.stderr
    tests = list(load_gates(project).phase("4").tests)
    shown = "".join(
        each.data["text/html"]
        for cell in nbformat.read(output, as_version=4).cells
        if cell.cell_type == "code"
        for each in cell.outputs
    )
    assert all(f"<b class='pass'>✓ PASS</b> <b>{test}</b>" in shown for test in tests)
    (session,) = outputs.iterdir()
    assert session.name.endswith(".session")
    events = journal.read(session / "journal.jsonl")
    assert [event["event"] for event in events if event["event"].startswith("phase")] == [
        "phase_opened",
        "phase_closed",
    ]
    assert {event["test"]: event["verdict"] for event in events if event["event"] == "test"} == dict.fromkeys(
        tests, "PASS"
    )
    assert revision(legacy_copy) == "202511151400"


def test_papermill_at_the_wrong_revision(legacy_copy: Database, tmp_path: Path) -> None:
    done = papermill(
        "06_attribution_allocations", tmp_path / "o.ipynb", database=legacy_copy.name, outputs=tmp_path / "o"
    )
    assert done.returncode != 0
    assert "phase 6 starts from revision 202511151410; the database stands at 202511141311" in done.stderr
    assert "run the phases before it first, or `alembic upgrade 202511151410`" in done.stderr
    assert revision(legacy_copy) == "202511141311"


def test_papermill_before_the_phase_before_is_proven(legacy_copy: Database, project: Project, tmp_path: Path) -> None:
    """Phase 4 was applied by somebody, and nobody looked at its gates."""
    with legacy_copy.connect() as connection:
        migrations.upgrade(connection, project, "202511151400")
        connection.commit()
    done = papermill("05_attribution_events", tmp_path / "o.ipynb", database=legacy_copy.name, outputs=tmp_path / "o")
    assert done.returncode != 0
    assert "phase 5 may not start before phase 4 is proven in this database" in done.stderr
    assert "run notebooks/04_tenants.ipynb to the end first" in done.stderr
    assert revision(legacy_copy) == "202511151400"
    # The command line says the same before anything is started.
    params = tmp_path / "params.yaml"
    params.write_text(f"database: {legacy_copy.name}\n", encoding="utf-8")
    ended = batch.run(tmp_path / "outputs", params, "--from", "5")
    assert ended.code == 2
    assert "phase 5 may not start before phase 4 is proven in this database" in ended.said
    assert not list((tmp_path / "outputs").glob("*"))
