"""Everything that is measured at one number of rows, as figures of the table."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import latency
import loading
import measuring
from gatebook import migrations
from gatebook.database import Database
from gatebook.errors import GatebookError
from gatebook.project import Project
from table import CHANNEL, REVENUE, Figure
from workplace import available_memory_bytes, renew, scratch

HERE = Path(__file__).resolve().parent
COPY = "embedded/bench_copy"
COPIED_AT_MOST = 1_000_000  # rows: ten times as many would take ten times as long
LOADED_ONCE_FROM = 10_000_000  # rows: fewer are loaded several times
ROUNDS = 3  # at the most rows; small times vary more, so there are more of them
MORE_ROUNDS = 7
VIEWS = {"channel": CHANNEL, "revenue": REVENUE}
PROCESSES = ("gatebook", "pandas", "datacompy", "pandas_text")
PEER_TIMEOUT_S = 600
PEER_SHARE_OF_MEMORY = 0.75
MEGABYTE = 1_000_000

Made = dict[str, Figure]


@dataclass(frozen=True)
class Step:
    """One number of rows.

    show             told of each thing before it is measured
    memory_at_first  megabytes of the client that compares, at the fewest rows; None when these are they
    """

    database: Database
    project: Project
    rows: int
    show: Callable[[str], object]
    memory_at_first: float | None = None

    def measure(self) -> tuple[Made, list[str]]:
        """All of it in the order of the table, and notes."""
        made = self.load() | self.views()
        asked, notes = self.requests()
        return made | asked | self.comparisons(), notes

    @property
    def length(self) -> int:
        """How often it shows something."""
        load = 2 * self._loads + 1 + (self.rows <= COPIED_AT_MOST)
        return load + len(VIEWS) * 4 * self._rounds + len(latency.REQUESTS) + len(PROCESSES) * self._loads

    def load(self) -> Made:
        """Loads and bare loads in turns; the last load stays, its views filled."""
        loads, floors = [], []
        for _ in range(self._loads):
            renew(self.database)
            self.show("load")
            loads.append(loading.load(self.database, self.project, self.rows).seconds)
            self.show("bare load")
            floors.append(loading.floor(self.database, self.rows))
        self.show("vacuum")
        settled = loading.settle(self.database)
        with closing(loading.open_session(self.database)) as session:
            for view in VIEWS.values():
                measuring.refresh(session, view)
                loading.run(session, f"VACUUM (ANALYZE) {view}")
        measuring.checkpoint(self.database)
        seconds = median(loads)
        return {
            "load": Figure(self.rows / seconds, seconds / median(floors)),
            "settle": Figure(settled, settled / loads[-1]),
            "copy": self._copy(seconds),
        }

    def _copy(self, load_s: float) -> Figure:
        if self.rows > COPIED_AT_MOST:
            return Figure(reason="not run: too slow")
        self.show("psql \\copy")
        with tempfile.TemporaryDirectory() as folder, scratch(COPY, self.project) as empty:
            renew(empty)
            with empty.connect() as connection:
                migrations.upgrade(connection, self.project, migrations.head(self.project))
                connection.commit()
            seconds = measuring.copied(self.database, empty, Path(folder))
        return Figure(self.rows / seconds, seconds / load_s)

    @property
    def _loads(self) -> int:
        """How often the rows are loaded, and how often others compare them: both take long."""
        return ROUNDS if self.rows < LOADED_ONCE_FROM else 1

    @property
    def _rounds(self) -> int:
        return MORE_ROUNDS if self.rows < LOADED_ONCE_FROM else ROUNDS

    def views(self) -> Made:
        """What reads all source rows of each view."""
        made: Made = {}
        for key, view in VIEWS.items():
            found = measuring.whole(self.database, self.project, view, rounds=self._rounds, step=self.show)
            for name in ("refresh", "comparison"):
                made[f"{name} {key}"] = Figure(found[name], found[name] / found["aggregation"])
            made[f"psql {key}"] = Figure(found["comparison"], found["comparison"] / found["psql"])
        return made

    def requests(self) -> tuple[Made, list[str]]:
        """How long an application waits, and how the source rows would have to be read instead."""
        made: Made = {}
        notes = []
        for key, request in latency.REQUESTS.items():
            self.show(f"{key} request")
            found = latency.latency(self.database, self.project, request)
            for level, name in ((50, "p50"), (95, "p95"), (99, "p99")):
                ms = found.request_ms[level]
                made[f"{key} {name}"] = Figure(ms, max(ms - found.transfer_ms, 0) / found.nothing_ms[level])
            made[f"{key} copy"] = Figure(found.copy_ms[50], found.copy_ms[50] / found.nothing_ms[50])
            made[f"{key} raw"] = Figure(found.raw.ms, found.raw.times)
            notes.append(f"the {key} request from source rows: {found.raw.plan}")
        return made, notes

    def comparisons(self) -> Made:
        """The same comparison by gatebook and by others, each in a process of its own, in turns: time and memory."""
        said = self._processes()
        ours = said.pop("gatebook")
        megabytes = _median(ours, "peak_bytes") / MEGABYTE
        made = {"memory": Figure(megabytes, megabytes / (self.memory_at_first or megabytes))}
        for name, theirs in said.items():
            made[name] = _figure(theirs, "seconds", 1, to=_median(ours, "seconds"))
            made[f"{name} memory"] = _figure(theirs, "peak_bytes", MEGABYTE, to=megabytes)
        return made

    def _processes(self) -> dict[str, list[dict[str, Any]]]:
        """What each says in each round; once it could not compare, it is not asked again."""
        said: dict[str, list[dict[str, Any]]] = {name: [] for name in PROCESSES}
        for number in range(self._loads):
            for place in range(len(PROCESSES)):
                name = PROCESSES[(number + place) % len(PROCESSES)]
                self.show(f"comparison by {name}")
                if not any("problem" in each for each in said[name]):
                    said[name].append(self._process(name))
        return said

    def _process(self, name: str) -> dict[str, Any]:
        """What peers.py says: rows, seconds and peak_bytes, or a problem.

        Errors  GatebookError when it finds a difference, since there is none, or gatebook's own comparison fails
        """
        python = HERE / ".venv" / "bin" / "python"
        limit = 0 if name == "gatebook" else int(available_memory_bytes() * PEER_SHARE_OF_MEMORY)
        command = [python if name != "gatebook" and python.exists() else sys.executable, HERE / "peers.py"]
        environment = os.environ | {"BENCH_DATABASE": measuring.conninfo(self.database)}
        try:
            done = subprocess.run(
                [*command, name, str(limit)], capture_output=True, text=True, cwd=self.project.root,
                timeout=PEER_TIMEOUT_S, env=environment, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"problem": f"longer than {PEER_TIMEOUT_S} s"}
        said: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"problem": _last(done)}
        if said.get("rows") or (name == "gatebook" and "problem" in said):
            raise GatebookError(f"the comparison by {name} should find nothing: {said}", where=str(self.database))
        return said


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """Why a process died: the end of what it said."""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _median(said: Sequence[dict[str, Any]], name: str) -> float:
    return float(median(each[name] for each in said))


def _figure(said: Sequence[dict[str, Any]], name: str, unit: int, *, to: float) -> Figure:
    problems = [each["problem"] for each in said if "problem" in each]
    if problems:
        return Figure(reason=f"not run: {problems[0]}")
    value = _median(said, name) / unit
    return Figure(value, value / to)
