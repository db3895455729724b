"""`gatebook run` in a process of its own: watched through its journal, ended in every way, and checked afterwards."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat

from gatebook import journal
from gatebook.journal import Event
from gatebook.project import OUTPUTS_VARIABLE

ROOT = Path(__file__).resolve().parent.parent

# The phases in the order of a run, and what the specifications have of gates and tests.
ALL = ("P", "G", "4", "5", "6", "7", "8a", "8b", "C", "MV-1", "MV-2", "MV-3", "H", "MV-4", "VAL", "R")
SPECIFICATIONS = {
    "governance": (4, 14),
    "phases 4 to 8": (24, 51),
    "the materialized views": (21, 39),
    "migration safety": (13, 15),
}


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code, all that it printed, and the newest finished folder."""

    code: int
    said: str
    folder: Path

    @cached_property
    def results(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "results.json").read_text("utf-8"))
        return content

    @property
    def verdicts(self) -> dict[str, str]:
        """Phase -> verdict."""
        return {phase["phase"]: phase["verdict"] for phase in self.results["phases"]}

    def phase(self, name: str) -> dict[str, Any]:
        (found,) = [phase for phase in self.results["phases"] if phase["phase"] == name]
        return found

    def tests(self, phase: str) -> dict[str, tuple[str, str]]:
        """Test -> verdict and reason."""
        return {
            test["test"]: (test["verdict"], test["reason"])
            for gate in self.phase(phase)["gates"]
            for test in gate["tests"]
        }


@dataclass
class Batch:
    """A run that is going on."""

    outputs: Path
    process: "subprocess.Popen[str]"
    before: set[Path] = field(default_factory=set)

    @property
    def incomplete(self) -> list[Path]:
        return [folder for folder in self.outputs.glob("*.incomplete") if folder not in self.before]

    def events(self) -> list[Event]:
        return [event for folder in self.incomplete for event in journal.read(folder / "journal.jsonl")]

    def wait_for(self, wanted: Mapping[str, str], *, seconds: float = 60) -> None:
        """Until the journal shows such an event."""
        self._until(lambda: any(wanted.items() <= each.items() for each in self.events()), str(wanted), seconds)

    def kernel(self) -> int:
        """The kernel that runs now, a child of this run alone."""
        found = kernels_of(self.process.pid)
        assert len(found) == 1, found
        return found[0]

    def finish(self) -> Ended:
        """Wait for its end."""
        said, _ = self.process.communicate(timeout=180)
        return Ended(self.process.returncode, said, (self.outputs / "latest").resolve())

    def _until(self, true: Callable[[], bool], what: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None, f"the run ended before {what}: {self.process.communicate()[0]}"
            assert time.monotonic() < end, f"not in time: {what}"
            time.sleep(0.005)


@contextmanager
def started(outputs: Path, params: str | Path, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Batch]:
    """A run that has begun; its folder lies in outputs. It does not outlive the block."""
    before = set(outputs.glob("*.incomplete"))
    with subprocess.Popen(
        [sys.executable, "-m", "gatebook", "run", "--params", str(params), *words],
        cwd=ROOT,
        env=os.environ | {OUTPUTS_VARIABLE: str(outputs)} | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Batch(outputs, process, before)
        finally:
            process.kill()


def run(outputs: Path, params: str | Path, *words: str, env: Mapping[str, str] | None = None) -> Ended:
    """A whole run."""
    with started(outputs, params, *words, env=env) as going:
        return going.finish()


def command(*words: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Any other command of gatebook, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "gatebook", *words],
        cwd=ROOT, env=os.environ | dict(env or {}), capture_output=True, text=True, check=False,
    )  # fmt: skip


def kernels_of(runner: int) -> list[int]:
    done = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == runner and "ipykernel" in row[-1]]


def is_alive(pid: int) -> bool:
    """Not a zombie either: in a container nobody may collect those."""
    done = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")


def assert_all_listed_are_green(ended: Ended) -> None:
    """Every gate and test of both specifications, and every gate of the workbook itself."""
    totals = ended.results["totals"]
    found = {each["name"]: (each["gates"], each["tests"]) for each in totals["specifications"]}
    assert found == {
        name: ({"green": gates, "of": gates}, {"green": tests, "of": tests})
        for name, (gates, tests) in SPECIFICATIONS.items()
    }
    assert totals["own_gates"]["green"] == totals["own_gates"]["of"] > 0


def assert_truthful(folder: Path) -> None:
    """Results and executed notebooks say of each cell what the journal says, read here a second time, and no more."""
    events = journal.read(folder / "journal.jsonl")
    results = json.loads((folder / "results.json").read_text("utf-8"))
    for phase in results["phases"]:
        notebook = phase["notebook"]
        mine = [event for event in events if event.get("notebook") == notebook]
        started = {event["cell"] for event in mine if event["event"] == "cell_started"}
        ended = {event["cell"]: event["status"] for event in mine if event["event"] == "cell_finished"}
        said = {cell["cell"]: cell["state"] for cell in phase["cells"]}
        assert said == {cell: _state(cell, started, ended) for cell in said}
        executed = folder / "notebooks" / f"{notebook}.ipynb"
        assert executed.exists() == (phase["verdict"] != "NOT REACHED"), notebook
        if executed.exists():
            _assert_cells_say(executed, said)
        if phase["verdict"] == "PASS":
            assert said
            assert set(said.values()) == {"ran"}


def _state(cell: str, started: set[str], ended: Mapping[str, str]) -> str:
    if cell not in started:
        return "not run"
    return "interrupted" if cell not in ended else "ran" if ended[cell] == "ok" else "failed"


def _assert_cells_say(executed: Path, states: Mapping[str, str]) -> None:
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    own = {cell.id: cell for cell in cells if cell.id in states}
    assert {name: cell.metadata.gatebook["state"] for name, cell in own.items()} == dict(states)
    for name, cell in own.items():
        completed = cell.metadata.papermill.status == "completed"
        assert completed == (states[name] == "ran"), name
        if states[name] == "not run":
            assert not cell.outputs, name
