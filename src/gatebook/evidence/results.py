"""The results of a run, computed from its journal and the declared gates, and from nothing else.

A declared gate or test without a record is red. A cell without a record did not run. A notebook is green only
when all of its code cells ran without error and its phase closed green.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gatebook.declarations import GateDeclaration, PhaseDeclaration
from gatebook.journal import Event
from gatebook.verdicts import worst

NOT_REACHED = "NOT REACHED"
RECORDED = ("verdict", "reason", "sql", "have", "have_rows", "want", "want_rows", "seconds")


@dataclass(frozen=True)
class TestOutcome:
    """One test as recorded; have and want are bounded, have_rows and want_rows say how many there were."""

    __test__ = False  # the name is ours, not pytest's

    test: str
    says: str
    kind: str
    verdict: str
    reason: str
    sql: str
    have: Sequence[Mapping[str, Any]]
    have_rows: int
    want: Sequence[Mapping[str, Any]]
    want_rows: int
    seconds: float


@dataclass(frozen=True)
class GateOutcome:
    """is_listed: one of the specification's gates (4.1), not one of the workbook's own (4.D)."""

    gate: str
    title: str
    is_listed: bool
    verdict: str
    tests: list[TestOutcome]


@dataclass(frozen=True)
class CellOutcome:
    """state: ran, failed, interrupted (it started and never ended), not run"""

    cell: str
    state: str


@dataclass(frozen=True)
class PhaseOutcome:
    """verdict: PASS, FAIL, UNKNOWN, or NOT REACHED where an earlier phase was red."""

    phase: str
    title: str
    notebook: str
    specification: str | None
    verdict: str
    reason: str
    gates: list[GateOutcome]
    cells: list[CellOutcome]
    seconds: float
    database_seconds: float
    unblocks: list[str]
    warnings: list[str]
    findings: list[Mapping[str, Any]]


@dataclass(frozen=True)
class Results:
    """A whole run. verdict: PASS, FAIL or UNKNOWN; interrupted runs are UNKNOWN at best.

    signer  id of the key that signed the run at its end; "" for a run that was left unsigned
    """

    run: str
    verdict: str
    started: str
    finished: str
    ended: str
    facts: Mapping[str, Any]
    phases: list[PhaseOutcome]
    signer: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"version": 1, **asdict(self), "totals": self.totals()}

    def totals(self) -> dict[str, Any]:
        """Gates and tests: those of each specification (4.1), and the workbook's own gates (4.D)."""
        listed: dict[str, list[GateOutcome]] = {}
        own: list[GateOutcome] = []
        for phase in self.phases:
            for gate in phase.gates:
                (listed.setdefault(phase.specification or "", []) if gate.is_listed else own).append(gate)
        return {
            "specifications": [
                {
                    "name": name,
                    "gates": _count([gate.verdict for gate in gates]),
                    "tests": _count([test.verdict for gate in gates for test in gate.tests]),
                }
                for name, gates in listed.items()
            ],
            "own_gates": _count([gate.verdict for gate in own]),
            "seconds": round(sum(phase.seconds for phase in self.phases), 3),
            "database_seconds": round(sum(phase.database_seconds for phase in self.phases), 3),
        }


def compute(run: str, events: Sequence[Event], phases: Iterable[PhaseDeclaration]) -> Results:
    """Results from the events of one run; phases are those that the run was asked for, in order."""
    outcomes = [_phase(declared, _of_notebook(events, declared)) for declared in phases]
    first = next((event for event in events if event["event"] == "run_started"), {})
    last = next((event for event in reversed(events) if event["event"] == "run_finished"), {})
    ended = str(last.get("ended", "incomplete"))
    verdict = worst(
        "FAIL" if outcome.verdict == "FAIL" else "PASS" if outcome.verdict == "PASS" else "UNKNOWN"
        for outcome in outcomes
    )
    if ended != "finished" and verdict == "PASS":
        verdict = "UNKNOWN"
    facts = {key: value for key, value in first.items() if key not in ("at", "event")}
    signer = str(last.get("signer", ""))
    return Results(run, verdict, str(first.get("at", "")), str(last.get("at", "")), ended, facts, outcomes, signer)


def _of_notebook(events: Sequence[Event], declared: PhaseDeclaration) -> list[Event]:
    """What was written while this notebook ran; of the kernel's events those of its own phase."""
    names = [(event["event"], event.get("notebook")) for event in events]
    if ("notebook_started", declared.notebook) not in names:
        return []
    start = names.index(("notebook_started", declared.notebook))
    finished = ("notebook_finished", declared.notebook)
    end = names.index(finished, start) if finished in names[start:] else len(events)
    return [
        event
        for event in events[start : end + 1]
        if event.get("phase", declared.phase) == declared.phase
        and event.get("notebook", declared.notebook) == declared.notebook
    ]


def _phase(declared: PhaseDeclaration, events: list[Event]) -> PhaseOutcome:
    started = [event for event in events if event["event"] == "notebook_started"]
    finished = [event for event in events if event["event"] == "notebook_finished"]
    closed = [event for event in events if event["event"] == "phase_closed"]
    tests = _worst_of_each([event for event in events if event["event"] == "test"])
    listed = declared.listed
    gates = [_gate(gate, tests, reached=bool(started), is_listed=gate in listed) for gate in declared.gates]
    cells = _cells(started[-1]["cells"] if started else [], events)
    verdict, reason = _verdict(started, closed, finished, gates, cells)
    return PhaseOutcome(
        declared.phase,
        declared.title,
        declared.notebook,
        declared.specification,
        verdict,
        reason,
        gates,
        cells,
        float(finished[-1]["seconds"]) if finished else 0.0,
        float(closed[-1]["database_seconds"]) if closed else 0.0,
        declared.unblocks,
        list(dict.fromkeys(f"{event['count']:,} {event['what']}" for event in events if event["event"] == "warning")),
        [_without(event, "at", "event", "phase") for event in events if event["event"] == "finding"],
    )


def _verdict(
    started: list[Event], closed: list[Event], finished: list[Event], gates: list[GateOutcome], cells: list[CellOutcome]
) -> tuple[str, str]:
    if not started:
        return NOT_REACHED, "an earlier phase was not green"
    problem = str(finished[-1].get("problem") or "") if finished else "the run ended while this notebook ran"
    not_run = [cell.cell for cell in cells if cell.state != "ran"]
    verdict = worst(gate.verdict for gate in gates)
    if verdict == "FAIL":
        return "FAIL", problem or "gates are red"
    if not closed:
        return "UNKNOWN", problem or "the notebook ended before phase.close()"
    if not_run:
        return "UNKNOWN", problem or f"cells did not run to their end: {', '.join(not_run)}"
    return ("UNKNOWN", problem) if problem else (verdict, "" if verdict == "PASS" else "gates could not be decided")


def _worst_of_each(events: list[Event]) -> dict[str, Event]:
    """One event for each test, the worst: a red one is not outdone by a later green one."""
    found: dict[str, Event] = {}
    for event in events:
        known = found.get(event["test"], event)["verdict"]
        if event["test"] not in found or known == "PASS" or (event["verdict"] == "FAIL" and known != "FAIL"):
            found[event["test"]] = event
    return found


def _without(event: Event, *keys: str) -> Mapping[str, Any]:
    return {key: value for key, value in event.items() if key not in keys}


def _gate(declared: GateDeclaration, tests: Mapping[str, Event], *, reached: bool, is_listed: bool) -> GateOutcome:
    outcomes = []
    for name, test in declared.tests.items():
        event = tests.get(name)
        if event is None:
            verdict = "UNKNOWN" if reached else NOT_REACHED
            reason = "declared, but not evaluated" if reached else ""
            outcomes.append(TestOutcome(name, test.says, test.kind, verdict, reason, "", [], 0, [], 0, 0.0))
        else:
            recorded = {field: event[field] for field in RECORDED}
            outcomes.append(TestOutcome(test=name, says=test.says, kind=test.kind, **recorded))
    verdict = worst(outcome.verdict for outcome in outcomes) if reached else NOT_REACHED
    return GateOutcome(declared.gate, declared.title, is_listed, verdict, outcomes)


def _cells(cells: Sequence[str], events: list[Event]) -> list[CellOutcome]:
    states = dict.fromkeys(cells, "not run")
    for event in events:
        if event["event"] == "cell_started":
            states[event["cell"]] = "interrupted"
        elif event["event"] == "cell_finished":
            states[event["cell"]] = "ran" if event["status"] == "ok" else "failed"
    return [CellOutcome(cell, state) for cell, state in states.items()]


def _count(verdicts: list[str]) -> dict[str, int]:
    return {"green": verdicts.count("PASS"), "of": len(verdicts)}
