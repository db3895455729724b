"""Where a run cannot be written down: refused before the start, red in the middle, never half a finished folder."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command import ROOT, Command, Outcome, assert_refused, nothing_new, params_file, unchanged
from gatebook import migrations, terminal
from gatebook.database import Database
from gatebook.evidence.results import GateOutcome
from gatebook.project import OUTPUTS_VARIABLE

pytestmark = pytest.mark.server

UNWRITABLE = "the outputs folder cannot be written"


# -- before the start


def a_file(folder: Path) -> Path:
    path = folder / "a-file"
    path.write_text("kept")
    return path


def below_a_file(folder: Path) -> Path:
    return a_file(folder) / "outputs"


def a_link_in_a_circle(folder: Path) -> Path:
    path = folder / "circle"
    path.symlink_to(path)
    return path


def a_link_to_nowhere(folder: Path) -> Path:
    path = folder / "dangling"
    path.symlink_to(folder / "gone" / "outputs")
    return path


def closed_to_all(_folder: Path) -> Path:
    """A folder in which not even root may make a file."""
    return Path("/sys/kernel")


def below_closed(_folder: Path) -> Path:
    return Path("/sys/kernel/outputs")


PLACES = [a_file, below_a_file, a_link_in_a_circle, a_link_to_nowhere, closed_to_all, below_closed]


@pytest.mark.parametrize("place", PLACES)
def test_unwritable_outputs_are_refused_before_the_start(
    place: Callable[[Path], Path],
    legacy_copy: Database,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(OUTPUTS_VARIABLE, str(place(tmp_path)))
    path = params_file(tmp_path, database=legacy_copy.name)
    with unchanged(legacy_copy), nothing_new(tmp_path):
        assert_refused(command("run", "--params", path), UNWRITABLE, OUTPUTS_VARIABLE)


def test_no_room_for_a_file_is_refused_before_the_start(legacy_copy: Database, tmp_path: Path, outputs: Path) -> None:
    path = params_file(tmp_path, database=legacy_copy.name)
    with unchanged(legacy_copy), nothing_new(outputs):
        assert_refused(run_with_files_below(4, "--params", path), UNWRITABLE, "File too large", str(outputs))


def test_full_disk_is_refused_before_the_start(
    legacy_copy: Database, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = params_file(tmp_path, database=legacy_copy.name)
    with small_disk(tmp_path / "disk", "4k") as disk:
        monkeypatch.setenv(OUTPUTS_VARIABLE, str(disk))
        with unchanged(legacy_copy), nothing_new(disk):
            assert_refused(command("run", "--params", path), UNWRITABLE, "No space left on device", str(disk))


def test_outputs_are_tried_before_rows_are_loaded(
    legacy_copy: Database, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OUTPUTS_VARIABLE, str(a_file(tmp_path)))
    path = params_file(tmp_path, database=legacy_copy.name, scenario={"reset": True})
    with unchanged(legacy_copy):
        assert_refused(command("run", "--params", path), UNWRITABLE)


# -- in the middle


def test_file_that_grows_too_large_leaves_no_finished_run(legacy_copy: Database, tmp_path: Path, outputs: Path) -> None:
    path = params_file(tmp_path, database=legacy_copy.name)
    with unchanged(legacy_copy):
        outcome = run_with_files_below(16, "--params", path, "--only", "P")
    assert_not_recorded(outcome, "File too large", outputs)


def test_disk_that_fills_up_in_the_middle_leaves_no_finished_run(
    legacy_copy: Database, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = params_file(tmp_path, database=legacy_copy.name)
    with small_disk(tmp_path / "disk", "2m") as disk:
        monkeypatch.setenv(OUTPUTS_VARIABLE, str(disk))

        def fill(_console: terminal.Console, gate: GateOutcome) -> None:
            if gate.gate == "4.2":
                fill_up(disk)

        with monkeypatch.context() as patched:
            patched.setattr(terminal.Console, "gate", fill)
            outcome = command("run", "--params", path, "--only", "4")
        assert_not_recorded(outcome, "No space left on device", disk)
        with legacy_copy.connect() as connection:
            assert migrations.current(connection) == "202511151400"
        (disk / "filler").unlink()
        again = command("run", "--params", path, "--only", "4")
        assert (again.code, again.err) == (0, "")
        assert json.loads((disk / "latest" / "results.json").read_text("utf-8"))["verdict"] == "PASS"


def assert_not_recorded(outcome: Outcome, reason: str, outputs: Path) -> None:
    """One message, and what lies there is called incomplete."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.out + outcome.err, outcome.err
    assert outcome.err.startswith("gatebook: the ")
    assert outcome.err.count("gatebook: ") == 1
    for part in (reason, f"\n  where: {outputs}", "\n  next:  make room"):
        assert part in outcome.err, outcome.err
    folders = [path.suffix for path in outputs.iterdir() if path.is_dir() or path.is_symlink()]
    assert folders == [".incomplete"]


def run_with_files_below(kibibytes: int, *words: str) -> Outcome:
    """`gatebook run` in a process that may write no file longer than this, whoever runs it."""
    script = f'ulimit -f {kibibytes} && exec "$@"'
    command = ["bash", "-c", script, "bash", sys.executable, "-m", "gatebook", "run", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """An empty file system of this size, for those who may mount one."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "gatebook", str(folder)]
    folder.mkdir()
    if shutil.which(mount[0]) is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run([*as_root, "umount", str(folder)], check=True)


def fill_up(disk: Path) -> None:
    """Write until there is no byte left."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 512)
