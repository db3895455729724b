"""Killed, interrupted, left out: the run is red, its record is true, the database is whole, the next run is green."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

import batch
from batch import ALL, Ended, assert_all_listed_are_green, assert_truthful, is_alive
from conftest import Databases, copy_project
from gatebook import catalog, migrations
from gatebook.database import Database
from gatebook.declarations import load_gates
from gatebook.project import PROJECT_VARIABLE

pytestmark = pytest.mark.server

BASELINE = "202511141311"


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def params_for(database: Database, folder: Path, **more: Any) -> Path:
    """A params file without a scenario."""
    content = {"database": database.name, "validator": "a test", "lock_timeout_ms": 60_000, **more}
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def state_of(database: Database) -> tuple[str | None, str]:
    with database.connect() as connection:
        found = migrations.current(connection), catalog.fingerprint(catalog.snapshot(connection))
    database.engine.dispose()
    return found


def sessions(databases: Databases, database: Database) -> list[str]:
    """What runs and kernels have open in this database: what it waits for, and its statement."""
    statement = """
        SELECT coalesce(wait_event_type, '') || ' ' || query FROM pg_stat_activity
         WHERE datname = %s AND application_name = 'gatebook' ORDER BY 1
    """
    with databases.maintenance() as connection:
        return [str(row[0]) for row in connection.execute(statement, [database.name.removeprefix("embedded/")])]


def wait_until(true: Callable[[], bool], what: str, *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def lock(databases: Databases, database: Database, table: str) -> Iterator[None]:
    """A lock that a migration waits for, held by somebody else."""
    with databases.maintenance(database.name.removeprefix("embedded/")) as holder, holder.transaction():
        holder.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        yield


def until_it_waits(databases: Databases, database: Database) -> None:
    wait_until(lambda: any(each.startswith("Lock") for each in sessions(databases, database)), "it waits for the lock")


def assert_green(ended: Ended) -> None:
    assert ended.code == 0, ended.said
    assert ended.verdicts == dict.fromkeys(ALL, "PASS")
    assert_all_listed_are_green(ended)
    assert_truthful(ended.folder)


# -- a kernel that is killed

# Where the kernel is killed: the phase, the first phase of that run, and what the journal shows just before.
KILLS = [
    ("P", None, {"event": "gate", "gate": "P.1"}),
    ("4", None, {"event": "cell_started", "cell": "apply-phase"}),
    ("5", "4", {"event": "applied"}),
    ("6", "5", {"event": "phase_opened"}),
    ("7", "6", {"event": "test", "test": "7.4.2"}),
    ("8a", "7", {"event": "cell_started", "cell": "apply-phase"}),
    ("8b", "8a", {"event": "test", "test": "8b.2.1"}),
    ("C", "8b", {"event": "phase_opened"}),
    ("MV-1", "C", {"event": "played"}),
    ("H", "MV-1", {"event": "cell_started", "cell": "apply-phase"}),
    ("MV-4", "H", {"event": "test", "test": "MV-4.5.1"}),
    ("R", "MV-4", {"event": "gate", "gate": "R.4"}),
]


def test_kernel_killed_in_each_phase(
    legacy_copy: Database, databases: Databases, outputs: Path, tmp_path: Path
) -> None:
    """One database, a kernel killed in one phase after the other; each next run takes it up and gets further."""
    params = params_for(legacy_copy, tmp_path)
    notebooks = {phase.phase: phase.notebook for phase in load_gates(databases.project).phases}
    assert tuple(notebooks) == ALL
    for phase, first, moment in KILLS:
        where = {"notebook": notebooks[phase]} if "cell" in moment else {"phase": phase}
        with batch.started(outputs, params, *(["--from", first] if first else [])) as going:
            going.wait_for(moment | where)
            os.kill(going.kernel(), signal.SIGKILL)
            ended = going.finish()
        assert ended.code == 2, ended.said
        assert "the kernel died" in ended.said
        assert_truthful(ended.folder)
        after = ALL[ALL.index(phase) + 1 :]
        before = ALL[ALL.index(first or "P") : ALL.index(phase)]
        want = dict.fromkeys(before, "PASS") | {phase: "UNKNOWN"} | dict.fromkeys(after, "NOT REACHED")
        assert ended.verdicts == want
        assert ended.results["verdict"] == "UNKNOWN"
        assert ended.phase(phase)["reason"] == "the kernel died"
        states = [cell["state"] for cell in ended.phase(phase)["cells"]]
        assert re.fullmatch("(ran )+interrupted (not run )+", " ".join(states) + " "), states
        wait_until(lambda: sessions(databases, legacy_copy) == [], "sessions of the killed kernel are gone")
    assert_green(batch.run(outputs, params))


def test_kernel_killed_while_its_migration_waits(
    legacy_copy: Database, databases: Databases, outputs: Path, tmp_path: Path
) -> None:
    """The server notices by itself: nothing is applied when the lock is let go of, minutes after the kill."""
    before = state_of(legacy_copy)
    with batch.started(outputs, params_for(legacy_copy, tmp_path), "--only", "4") as going:
        going.wait_for({"event": "notebook_started"})
        with lock(databases, legacy_copy, "tenants"):
            until_it_waits(databases, legacy_copy)
            os.kill(going.kernel(), signal.SIGKILL)
            ended = going.finish()
            wait_until(lambda: sessions(databases, legacy_copy) == [], "the session is gone though the lock is held")
    assert (ended.code, ended.verdicts) == (2, {"4": "UNKNOWN"})
    assert state_of(legacy_copy) == before


# Blocks in the midst of a revision: an index is to be made, columns are there already.
MIDWAY = """
    CREATE SCHEMA midway;
    CREATE FUNCTION midway.wait() RETURNS event_trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock(4711); END';
    GRANT USAGE ON SCHEMA midway TO PUBLIC;
    CREATE EVENT TRIGGER midway ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION midway.wait();
"""

INDEX = "Lock CREATE UNIQUE INDEX idx_tenants_api_key_hash"


def test_kernel_killed_midway_through_a_migration(
    legacy_copy: Database, databases: Databases, outputs: Path, tmp_path: Path
) -> None:
    params = params_for(legacy_copy, tmp_path)
    with databases.maintenance(legacy_copy.name.removeprefix("embedded/")) as superuser:
        superuser.execute(MIDWAY)
        before = state_of(legacy_copy)
        superuser.execute("SELECT pg_advisory_lock(4711)")
        with batch.started(outputs, params, "--only", "4") as going:
            wait_until(
                lambda: any(each.startswith(INDEX) for each in sessions(databases, legacy_copy)),
                "the columns are made and the index is next",
            )
            os.kill(going.kernel(), signal.SIGKILL)
            ended = going.finish()
        assert (ended.code, ended.verdicts) == (2, {"4": "UNKNOWN"})
        assert_truthful(ended.folder)
        wait_until(lambda: sessions(databases, legacy_copy) == [], "the session is gone")
        superuser.execute("SELECT pg_advisory_unlock(4711)")
        assert state_of(legacy_copy) == before
        superuser.execute("DROP EVENT TRIGGER midway; DROP SCHEMA midway CASCADE")
    ended = batch.run(outputs, params, "--only", "4")
    assert (ended.code, ended.verdicts) == (0, {"4": "PASS"}), ended.said


# -- a runner that is interrupted or killed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_runner_interrupted(
    legacy_copy: Database, databases: Databases, outputs: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """It ends at once and in order, although the migration waits for a lock that nobody lets go of."""
    before = state_of(legacy_copy)
    with batch.started(outputs, params_for(legacy_copy, tmp_path), "--until", "5") as going:
        going.wait_for({"event": "notebook_started", "notebook": "04_tenants"})
        with lock(databases, legacy_copy, "tenants"):
            until_it_waits(databases, legacy_copy)
            kernel = going.kernel()
            going.process.send_signal(number)
            ended = going.finish()
            assert ended.code == code, ended.said
            wait_until(lambda: not is_alive(kernel), "the kernel has ended")
            wait_until(lambda: sessions(databases, legacy_copy) == [], "no session is left")
    assert state_of(legacy_copy) == before
    assert "Traceback" not in ended.said
    assert f"The run was interrupted by {number.name}; its record says what was reached." in ended.said
    assert not list(outputs.glob("*.incomplete"))
    assert ended.results["ended"] == f"interrupted by {number.name}"
    assert ended.verdicts == {"P": "PASS", "G": "PASS", "4": "UNKNOWN", "5": "NOT REACHED"}
    assert ended.phase("4")["cells"][2] == {"cell": "apply-phase", "state": "interrupted"}
    assert_truthful(ended.folder)
    page = (ended.folder / "index.html").read_text("utf-8")
    assert f"This run is interrupted by {number.name}: it proves only what is listed as green." in page


@pytest.mark.parametrize(
    ("number", "codes"), [(signal.SIGINT, {130}), (signal.SIGTERM, {143, -15})], ids=["SIGINT", "SIGTERM"]
)
def test_runner_interrupted_before_its_first_notebook(
    legacy_copy: Database, databases: Databases, outputs: Path, tmp_path: Path, number: signal.Signals, codes: set[int]
) -> None:
    """While it looks whether the database is fit, nothing is begun that could be finished: no folder, no session."""
    before = state_of(legacy_copy)
    with batch.started(outputs, params_for(legacy_copy, tmp_path)) as going, lock(databases, legacy_copy, "tenants"):
        until_it_waits(databases, legacy_copy)
        going.process.send_signal(number)
        said, _ = going.process.communicate(timeout=60)
        assert going.process.returncode in codes, said
        wait_until(lambda: sessions(databases, legacy_copy) == [], "no session is left")
    assert "Traceback" not in said
    assert list(outputs.iterdir()) == []
    assert state_of(legacy_copy) == before


def test_runner_killed(legacy_copy: Database, databases: Databases, outputs: Path, tmp_path: Path) -> None:
    params = params_for(legacy_copy, tmp_path)
    first = batch.run(outputs, params, "--only", "P")
    assert first.code == 0, first.said
    with batch.started(outputs, params, "--only", "4") as going:
        going.wait_for({"event": "notebook_started"})
        with lock(databases, legacy_copy, "tenants"):
            until_it_waits(databases, legacy_copy)
            kernel, (left,) = going.kernel(), going.incomplete
            going.process.kill()
            assert going.finish().code == -signal.SIGKILL
            wait_until(lambda: not is_alive(kernel), "the kernel has noticed that its runner is gone")
            wait_until(lambda: sessions(databases, legacy_copy) == [], "no session is left")
    assert left.is_dir()
    assert not (left / "results.json").exists()
    assert (outputs / "latest").resolve() == first.folder
    assert state_of(legacy_copy)[0] == BASELINE
    again = batch.run(outputs, params, "--only", "4")
    assert (again.code, again.verdicts) == (0, {"4": "PASS"}), again.said
    assert left.is_dir()


# -- notebooks that do less than they should


def without_close(notebook: Any) -> None:
    notebook.cells = [cell for cell in notebook.cells if cell.id != "close-phase"]


def with_source(cell: str, source: str) -> Callable[[Any], None]:
    def edit(notebook: Any) -> None:
        cell_of(notebook, cell).source = source

    return edit


def skip_gate(notebook: Any) -> None:
    cell_of(notebook, "gate-p-2-tests").metadata["tags"] = ["skip-execution"]


def leave_out_a_test(notebook: Any) -> None:
    cell = cell_of(notebook, "gate-p-2-tests")
    lines = [line for line in cell.source.splitlines() if "P.2.2" not in line]
    assert len(lines) + 1 == len(cell.source.splitlines())
    cell.source = "\n".join(lines)


def cell_of(notebook: Any, name: str) -> Any:
    (found,) = [cell for cell in notebook.cells if cell.id == name]
    return found


CLOSED, NEVER_CLOSED = "PhaseRed: phase P is red: gate P.2", "the notebook ended before phase.close()"

TAMPERED = [
    pytest.param(with_source("gate-p-2-tests", "import sys\nsys.exit(0)"), NEVER_CLOSED, "failed", id="sys.exit"),
    pytest.param(with_source("gate-p-2-tests", "exit()"), "the kernel died", "ran", id="exit"),
    pytest.param(skip_gate, CLOSED, "not run", id="skip-execution"),
    pytest.param(leave_out_a_test, CLOSED, "ran", id="test-left-out"),
    pytest.param(without_close, NEVER_CLOSED, "ran", id="never-closed"),
]


@pytest.mark.parametrize(("edit", "reason", "state"), TAMPERED)
def test_notebook_that_does_less(
    migrated_copy: Database, outputs: Path, tmp_path: Path, edit: Callable[[Any], None], reason: str, state: str
) -> None:
    project = copy_project(tmp_path / "project")
    path = project / "notebooks" / "00_preflight.ipynb"
    notebook = nbformat.read(path, as_version=4)
    edit(notebook)
    nbformat.write(notebook, path)
    params = params_for(migrated_copy, tmp_path)
    ended = batch.run(outputs, params, "--until", "4", env={PROJECT_VARIABLE: str(project)})
    assert ended.code == 2, ended.said
    assert ended.verdicts == {"P": "UNKNOWN", "G": "NOT REACHED", "4": "NOT REACHED"}
    assert reason in ended.phase("P")["reason"]
    assert {"cell": "gate-p-2-tests", "state": state} in ended.phase("P")["cells"]
    if edit is not without_close:
        assert ended.tests("P")["P.1.1"][0] == "PASS"
        assert ended.tests("P")["P.2.2"] == ("UNKNOWN", "declared, but not evaluated")
    assert_truthful(ended.folder)


# -- a schema that was changed by hand, and the pages that tell of it

SCRIPT = "<script>alert(1)</script>"
MUTATED = f"""
    COMMENT ON COLUMN tenants.api_key_hash IS 'INVARIANT: none. {SCRIPT}';
    UPDATE tenants SET name = '{SCRIPT}' || id, notification_email = '<img src=http://x.invalid/' || id || '>';
    ALTER TABLE tenants ADD COLUMN "{SCRIPT}" text DEFAULT '{SCRIPT}';
    CREATE TABLE "{SCRIPT}" (note text DEFAULT '"><b onload=alert(2)>');
"""


def test_red_gate_stops_the_run_and_its_pages_are_safe(migrated_copy: Database, outputs: Path, tmp_path: Path) -> None:
    with migrated_copy.connect() as connection:
        catalog.execute(connection, MUTATED)
        connection.commit()
    params = params_for(migrated_copy, tmp_path)
    ended = batch.run(outputs, params, "--from", "4")
    assert ended.code == 1, ended.said
    assert ended.verdicts == {"4": "FAIL"} | dict.fromkeys(ALL[ALL.index("4") + 1 :], "NOT REACHED")
    assert ended.tests("4")["4.4.1"][0] == "FAIL"
    assert_truthful(ended.folder)
    assert "✗ FAIL 04_tenants" in ended.said
    red = ended.folder
    # The divergences, where tables and columns of any name are shown, come from a notebook of their own.
    beyond = batch.run(outputs, params, "--only", "C")
    assert (beyond.code, beyond.verdicts) == (1, {"C": "FAIL"}), beyond.said
    page = (red / "index.html").read_text("utf-8")
    assert "<title>FAIL · gatebook run " in page
    assert "<b class='fail'>✗ FAIL</b>" in page
    assert "Still blocked: " in page
    assert "an earlier phase was not green" in page
    pages = [path for folder in (red, beyond.folder) for path in folder.rglob("*.html")]
    assert {path.name for path in pages} == {
        "index.html",
        "04_tenants.html",
        "09_canonical_schema.html",
    }
    texts = {path: path.read_text("utf-8") for path in pages}
    assert sum("&lt;script&gt;alert(1)" in text for text in texts.values()) >= 4
    for path, text in texts.items():
        assert "<script" not in text, path
        assert "<b onload" not in text, path
        assert re.findall(r"(?:src|href|action|data|poster|srcset)\s*=\s*[\"']?\s*(?:https?:)?//", text) == [], path
        assert re.findall(r"url\(|@import|<link|<iframe|<object|<base", text) == [], path
