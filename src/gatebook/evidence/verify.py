"""Is a run what it was when it was finished? Told from its folder alone: no network, no database, no Jupyter.

Exit codes: 0 all holds, 1 something was changed or does not fit, 2 could not tell: signed, and no key was given.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.signer import Key

from gatebook.errors import ConfigurationError
from gatebook.evidence import archive, attestation, manifest, pages
from gatebook.evidence.archive import UNREADABLE, Archived
from gatebook.evidence.manifest import MANIFEST
from gatebook.evidence.results import PhaseOutcome
from gatebook.journal import Event
from gatebook.runs import ENVELOPE

SHOWN = re.compile(r"<b class='\w+'>\S+ (PASS|FAIL|UNKNOWN)</b> <b>([^<]+)</b>")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; no problems means that it holds.

    note  what it covered, or why it could not be looked at
    """

    name: str
    problems: list[str] = field(default_factory=list)
    note: str = ""
    is_known: bool = True


@dataclass(frozen=True)
class Report:
    """What verification found. verdict: the run's own; a red run may be sound evidence.

    signers  ids of the keys in the envelope; none: the run is unsigned
    """

    run: str
    verdict: str
    signers: list[str]
    checks: list[Check]

    @property
    def exit_code(self) -> int:
        if any(check.problems for check in self.checks):
            return 1
        return 0 if all(check.is_known for check in self.checks) else 2


def verify(folder: Path, *, keys: Sequence[Key] = (), threshold: int | None = None) -> Report:
    """Look at all of a run.

    keys       public keys that may have signed; with any, an unsigned run does not hold
    threshold  how many of them must have signed; None: all
    Errors     ConfigurationError when the folder holds no finished run, or the threshold cannot be met
    """
    path = archive.finished(folder)
    wanted = len({key.keyid for key in keys}) if threshold is None else threshold
    if wanted > len({key.keyid for key in keys}) or (keys and wanted < 1):
        raise ConfigurationError(
            f"{wanted} signatures cannot be proven with {len(keys)} keys",
            where="command line",
            next_step="give --key once for each signer, and a threshold from 1 to their number",
        )
    try:
        archived = archive.load(path)
    except UNREADABLE as error:
        unreadable = Check("record", [f"the record of the run cannot be read: {_said(error)}"])
        return Report(path.name, "UNKNOWN", [], [_guarded("files", lambda: _files(path, None)), unreadable])
    checks = [
        _guarded("files", lambda: _files(path, archived)),
        _guarded("signature", lambda: _signature(archived, keys, wanted)),
        _guarded("record", lambda: _record(archived)),
        _guarded("verdicts", lambda: _verdicts(archived.events)),
        _guarded("notebooks", lambda: _notebooks(archived)),
        _guarded("pages", lambda: _pages(archived)),
    ]
    return Report(archived.results.run, archived.results.verdict, _signers(path), checks)


def _files(folder: Path, archived: Archived | None) -> Check:
    files = manifest.entries(folder)
    if not (folder / MANIFEST).exists():
        return Check("files", [f"{MANIFEST} is missing"])
    text = (folder / MANIFEST).read_bytes().decode()
    problems = manifest.differences(text, files)
    if archived and not problems and text != manifest.render(archived.results.run, files):
        problems = [f"{MANIFEST} is not as it was written"]
    size = sum(each.size for each in files.values())
    return Check("files", problems, f"{len(files)} files, {size / 2**20:.1f} MiB, by SHA-256 and size")


def _signature(archived: Archived, keys: Sequence[Key], threshold: int) -> Check:
    envelope = attestation.read(archived.folder)
    promised = archived.results.signer
    if envelope is None:
        problems = ["the run is unsigned, and a signature was wanted"] if keys else []
        if promised:
            problems.append(f"the run was signed by key {promised[:16]}…, and {ENVELOPE} is missing")
        return Check("signature", problems, "UNSIGNED: whoever could write the folder could have made all of it")
    problems = _envelope(archived, envelope)
    if promised and promised not in envelope.signatures:
        problems.append(f"the signature by key {promised[:16]}…, made when the run was finished, is missing")
    if not keys:
        note = "signed, but nobody's key was given to check it: use --key"
        return Check("signature", problems, note, is_known=False)
    problems += attestation.problems(envelope, keys, threshold)
    return Check("signature", problems, f"{len(envelope.signatures)} signed, {threshold} wanted")


def _envelope(archived: Archived, envelope: Envelope) -> list[str]:
    """The envelope is written in one way alone, and its statement follows from the folder."""
    problems = []
    if (archived.folder / ENVELOPE).read_text(encoding="utf-8") != attestation.render(envelope):
        problems.append(f"{ENVELOPE} is not as it was written")
    if envelope.payload_type != attestation.PAYLOAD_TYPE:
        problems.append(f"{ENVELOPE} holds {envelope.payload_type!r}, not {attestation.PAYLOAD_TYPE!r}")
    if envelope.payload != attestation.statement(archived.folder, archived.results):
        problems.append("the statement that was signed is not about this folder as it is now")
    return problems


def _record(archived: Archived) -> Check:
    """The journal is whole, tells one run from its start to its end, and knows the declared gates and no others."""
    events, content = archived.events, (archived.folder / "journal.jsonl").read_bytes()
    problems = [] if content.endswith(b"\n") else ["the last line of journal.jsonl was cut short"]
    if any(event["event"] == "unreadable" for event in events):
        problems.append("journal.jsonl has lines that are no JSON")
    ends = [event["event"] for event in events if event["event"] in ("run_started", "run_finished")]
    if ends != ["run_started", "run_finished"] or [events[0]["event"], events[-1]["event"]] != ends:
        problems.append("journal.jsonl does not run from one start to one end")
    declared = {test for phase in archived.phases for test in phase.tests}
    recorded = {event["test"] for event in events if event["event"] == "test"}
    problems += [f"test {test} is recorded, and {archive.GATES} does not declare it" for test in recorded - declared]
    for phase in archived.results.phases:
        problems += _disagreements(phase, events)
    unseen = len(declared - recorded)
    said = f"; {unseen} without a record, so not green" if unseen else ""
    return Check("record", sorted(problems), f"{len(events)} events, {len(declared)} declared tests{said}")


def _disagreements(phase: PhaseOutcome, events: Sequence[Event]) -> Iterator[str]:
    """Where a gate's verdict, as it was told when it was closed, is not that of its tests."""
    gates = {gate.gate: gate.verdict for gate in phase.gates}
    for event in events:
        if event["event"] == "phase_closed" and event["phase"] == phase.phase and event["gates"] != gates:
            yield f"phase {phase.phase} was closed with other verdicts than its tests give"
        if event["event"] == "gate" and event["phase"] == phase.phase and event["verdict"] != gates[event["gate"]]:
            yield f"gate {event['gate']} was told as {event['verdict']}, and its tests give {gates[event['gate']]}"


def _verdicts(events: Sequence[Event]) -> Check:
    """Verdicts that follow from the recorded have and want; the others stand as they were recorded."""
    tests = [event for event in events if event["event"] == "test"]
    again = {event["test"]: (event["verdict"], recomputed(event)) for event in tests if recomputed(event)}
    problems = [f"test {test} is {said}, and its have and want give {now}" for test, (said, now) in again.items()
                if said != now]  # fmt: skip
    rest = [event["test"] for event in tests if event["test"] not in again]
    note = f"{len(again)} of {len(tests)} recomputed from have and want"
    return Check("verdicts", problems, f"{note}; protected by their hash alone: {', '.join(rest)}" if rest else note)


def recomputed(test: Event) -> str:
    """PASS or FAIL from what was recorded; "" where have and want do not decide, or are there in part alone."""
    have, want = test["have"], test["want"]
    is_whole = len(have) == test["have_rows"] and len(want) == test["want_rows"]
    if test["rule"] == "equal" and is_whole:
        return "PASS" if have == want else "FAIL"
    if test["rule"] == "includes" and is_whole:
        return "PASS" if want and all(any(row.items() <= each.items() for each in have) for row in want) else "FAIL"
    if test["rule"] == "empty":
        return "FAIL" if test["have_rows"] else "PASS"
    return ""


def _notebooks(archived: Archived) -> Check:
    """Each executed notebook has the cells, their states and the verdicts that the journal tells."""
    problems = []
    ran = [phase for phase in archived.results.phases if phase.verdict != "NOT REACHED"]
    for phase in ran:
        content = json.loads((archived.folder / "notebooks" / f"{phase.notebook}.ipynb").read_text(encoding="utf-8"))
        cells = {cell["id"]: cell for cell in content["cells"] if cell["cell_type"] == "code"}
        problems += [
            f"{phase.notebook}: cell {cell.cell} is not shown as {cell.state}"
            for cell in phase.cells
            if cells.get(cell.cell, {}).get("metadata", {}).get("gatebook", {}).get("state") != cell.state
        ]
        problems += _shown(phase, list(cells.values()), archived.events)
    return Check("notebooks", problems, f"{len(ran)} executed notebooks against journal.jsonl")


def _shown(phase: PhaseOutcome, cells: Sequence[Any], events: Sequence[Event]) -> Iterator[str]:
    """Verdicts that a notebook shows and the journal does not tell, and the other way round."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    html = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    tests = {test.test for gate in phase.gates for test in gate.tests}
    shown = {(test, verdict) for verdict, test in SHOWN.findall(html) if test in tests}
    recorded = [event for event in events if event["event"] == "test" and event["test"] in tests]
    told = {(event["test"], event["verdict"]) for event in recorded}
    yield from (f"{phase.notebook}: shows {test} as {verdict}" for test, verdict in sorted(shown - told))
    if all(cell.state == "ran" for cell in phase.cells):  # else outputs of a killed kernel may be lost
        yield from (f"{phase.notebook}: does not show {test} as {verdict}" for test, verdict in sorted(told - shown))


def _pages(archived: Archived) -> Check:
    """results.json, junit.xml and index.html are what the journal gives when they are rendered again."""
    made_by = str(archived.results.facts["versions"]["gatebook"])
    if made_by != version("gatebook"):
        note = f"protected by their hash alone: rendered by gatebook {made_by}, and this is {version('gatebook')}"
        return Check("pages", [], note)
    again = archive.documents(archived.results)
    again["index.html"] = pages.index(archived.results, {path.stem for path in archived.folder.glob("html/*.html")})
    other = [name for name, text in again.items() if (archived.folder / name).read_bytes() != text.encode()]
    return Check("pages", [f"{name} is not what the journal gives" for name in other], f"{', '.join(again)} again")


def _signers(folder: Path) -> list[str]:
    try:
        envelope = attestation.read(folder)
    except UNREADABLE:
        return []
    return list(envelope.signatures) if envelope else []


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """What cannot be read does not hold."""
    try:
        return check()
    except UNREADABLE as error:
        return Check(name, [f"cannot be read: {_said(error)}"])


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
