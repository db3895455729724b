"""A batch: the notebooks in order, stopped at the first red phase, with a record of what really happened."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gatebook import declarations, history, migrations, preflight, provenance, runs
from gatebook.baseline import Store
from gatebook.canonical import load_canonical
from gatebook.contract import load_contract
from gatebook.database import Database, open_database
from gatebook.declarations import Gates, PhaseDeclaration, RunParameters, near_miss
from gatebook.errors import ConfigurationError, PhaseRefused
from gatebook.evidence import archive, keys, pages
from gatebook.evidence import results as evidence
from gatebook.evidence.results import GateOutcome, PhaseOutcome, Results
from gatebook.executing import check_notebooks, execute, prepare_environment, tell_the_truth
from gatebook.probes import Fixtures
from gatebook.project import Project
from gatebook.runs import RunFolder, write_whole
from gatebook.scenario import Loaded, load
from gatebook.subject import Subject

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


class Reporter(Protocol):
    """Whoever shows a run while it happens."""

    def scenario(self, done: int, total: int, name: str) -> None: ...
    def scenario_loaded(self, loaded: Loaded) -> None: ...
    def notebook(self, phase: PhaseDeclaration) -> None: ...
    def gate(self, gate: GateOutcome) -> None: ...
    def phase(self, outcome: PhaseOutcome) -> None: ...


class Interrupted(BaseException):
    """SIGINT or SIGTERM: the run ends, and its record says so."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


@dataclass(frozen=True)
class Selection:
    """Which phases to run: all, one, or from one to another."""

    only: str | None = None
    first: str | None = None
    last: str | None = None

    def of(self, gates: Gates) -> list[PhaseDeclaration]:
        """The selected phases in order.

        Errors  ConfigurationError for an unknown phase, contradicting options, or when nothing is selected
        """
        names = [phase.phase for phase in gates.phases]
        if self.only is not None and (self.first or self.last) is not None:
            raise ConfigurationError(
                "--only runs one phase, so --from and --until cannot stand beside it",
                where="command line",
                next_step="use either --only, or --from and --until",
            )
        for option, name in (("--only", self.only), ("--from", self.first), ("--until", self.last)):
            if name is not None and name not in names:
                raise ConfigurationError(
                    f"{option} {name} matches no phase{near_miss(name, names)}",
                    where="params/gates.yaml",
                    next_step=f"use one of: {', '.join(names)}",
                )
        first = names.index(self.only or self.first or names[0])
        last = names.index(self.only or self.last or names[-1])
        if last < first:
            raise ConfigurationError(
                f"--from {self.first} --until {self.last} selects nothing: {self.last} comes first",
                where="command line",
                next_step=f"the order is {', '.join(names)}",
            )
        return gates.phases[first : last + 1]


@dataclass(frozen=True)
class Finished:
    """A finished run: its results, its folder, and how it ended."""

    results: Results
    folder: Path
    exit_code: int
    seconds: float


def run(
    project: Project, gates: Gates, parameters: RunParameters, selection: Selection, reporter: Reporter
) -> Finished:
    """Run the selected notebooks.

    Errors  GatebookError before anything is changed or written: wrong use, unfit database, unwritable outputs;
            JournalFailed when the outputs can no longer be written
    """
    selected = selection.of(gates)
    check_notebooks([phase.notebook for phase in selected], project=project, engine=parameters.engine)
    declarations.load(Fixtures, project.params / "fixtures.yaml")
    if (project.params / "api_contract.yaml").exists():
        load_contract(project)
    migrations.head(project)
    prepare_environment(project)
    signer = keys.take_signer()
    started = time.perf_counter()
    loads_rows = parameters.scenario is not None and selected[0] is gates.phases[0]
    database = open_database(parameters.database, project=project, create=loads_rows)
    try:
        runs.probe_outputs(project)
        if parameters.scenario is not None and loads_rows:
            loaded = load(database, project, parameters.scenario, progress=reporter.scenario)
            reporter.scenario_loaded(loaded)
        _refuse_if_unfit(project, gates, database, selected, parameters)
        folder = runs.create(project)
        with runs.writing(folder):
            write_whole(folder.path / archive.GATES, (project.params / "gates.yaml").read_text(encoding="utf-8"))
            facts = provenance.facts(project.root, database, parameters, selected)
            folder.journal.write("run_started", run=folder.run_id, **facts)
            ended, exit_code = _run_notebooks(project, selected, parameters, folder, reporter)
            signed_by = signer.public_key.keyid if signer else ""
            folder.journal.write("run_finished", run=folder.run_id, ended=ended, signer=signed_by)
            results = finish(folder, selected, signer)
            final = folder.finish()
    finally:
        database.close()
    return Finished(results, final, exit_code or _exit_code(results), time.perf_counter() - started)


def finish(folder: RunFolder, selected: Sequence[PhaseDeclaration], signer: "CryptoSigner | None") -> Results:
    """Results, pages and manifest from the journal, signed where there is a key; cells get their true state."""
    results = evidence.compute(folder.run_id, folder.journal.read(), selected)
    for phase in results.phases:
        states = {cell.cell: cell.state for cell in phase.cells}
        tell_the_truth(folder.notebooks / f"{phase.notebook}.ipynb", states)
    pages.write(folder, results)
    for name, content in archive.documents(results).items():
        write_whole(folder.path / name, content)
    archive.seal(folder.path, results, signer)
    return results


def _run_notebooks(
    project: Project,
    selected: Sequence[PhaseDeclaration],
    parameters: RunParameters,
    folder: RunFolder,
    reporter: Reporter,
) -> tuple[str, int]:
    """All selected notebooks up to the first red one; how that ended, and the exit code of an interruption, or 0."""
    try:
        with _interruptible():
            for phase in selected:
                outcome = _run_notebook(project, phase, parameters, folder, reporter)
                reporter.phase(outcome)
                if outcome.verdict != "PASS":
                    break
    except Interrupted as interruption:
        return f"interrupted by {interruption}", interruption.exit_code
    return "finished", 0


def _run_notebook(
    project: Project, phase: PhaseDeclaration, parameters: RunParameters, folder: RunFolder, reporter: Reporter
) -> PhaseOutcome:
    reporter.notebook(phase)
    shown: set[str] = set()

    def tick() -> None:
        for event in folder.journal.read():
            if event["event"] == "gate" and event["phase"] == phase.phase and event["gate"] not in shown:
                shown.add(event["gate"])
                outcome = evidence.compute(folder.run_id, folder.journal.read(), [phase]).phases[0]
                reporter.gate(next(gate for gate in outcome.gates if gate.gate == event["gate"]))

    execute(
        phase.notebook,
        project=project,
        folder=folder,
        parameters=parameters.for_notebooks() | {"run": folder.run_id},
        engine=parameters.engine,
        tick=tick,
    )
    return evidence.compute(folder.run_id, folder.journal.read(), [phase]).phases[0]


def _refuse_if_unfit(
    project: Project,
    gates: Gates,
    database: Database,
    selected: Sequence[PhaseDeclaration],
    parameters: RunParameters,
) -> None:
    """Everything that would make the run fail later is said now, while the database is as it was."""
    with database.connect() as connection:
        store = Store(project, database.server)
        limits = (parameters.lock_timeout_ms, parameters.statement_timeout_ms)
        subject = Subject(project, gates, load_canonical(project), database.server, store, connection, *limits)
        preflight.refuse_if_unfit(subject)
        history.forget_what_is_gone(connection, store, project, gates, subject.canonical)
    earlier = [phase for phase in gates.phases[: gates.phases.index(selected[0])] if phase.revision is not None]
    before = earlier[-1] if earlier else None
    if before is not None and not history.is_proven(store, before):
        raise PhaseRefused(
            f"phase {selected[0].phase} may not start before phase {before.phase} is proven in this database",
            where=str(database),
            next_step=f"run the same command with --from {before.phase}",
        )


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted here, wherever papermill is at that moment."""

    def interrupt(number: int, _frame: Any) -> None:
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _exit_code(results: Results) -> int:
    """0 green, 1 a gate is red, 2 something could not be told."""
    return {"PASS": 0, "FAIL": 1}.get(results.verdict, 2)
