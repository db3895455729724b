"""What changed from one run to another: verdicts, catalog, plans, timings, and what they were made with.

Runs of the same database and parameters differ in VOLATILE alone, and in timings within noise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatebook.errors import ConfigurationError
from gatebook.evidence import archive
from gatebook.evidence.archive import UNREADABLE, Archived

VOLATILE = ("run",)  # facts that differ in any two runs
NOISE = 0.5  # of the slower of two timings
NOISE_SECONDS = 0.5

Change = Mapping[str, Any]


def diff(before: Path, after: Path) -> list[Change]:
    """Shape   kind, what, before, after; the order is that of the phases

    Errors  ConfigurationError where one of them is no finished run or cannot be read
    """
    one, two = (_load(archive.finished(folder)) for folder in (before, after))
    found = [_changes("fact", _facts(one), _facts(two)), _changes("verdict", _verdicts(one), _verdicts(two))]
    found += [_changes("catalog", _catalogs(one), _catalogs(two)), _changes("plan", _plans(one), _plans(two))]
    timings = _changes("seconds", _seconds(one), _seconds(two))
    return [change for part in found for change in part] + [each for each in timings if not _is_noise(each)]


def _load(folder: Path) -> Archived:
    try:
        return archive.load(folder)
    except UNREADABLE as error:
        raise ConfigurationError(
            f"the record of the run cannot be read: {type(error).__name__}",
            where=str(folder),
            next_step="run `gatebook evidence verify` on it",
        ) from error


def _changes(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    names = [*before, *(name for name in after if name not in before)]
    return [
        {"kind": kind, "what": name, "before": before.get(name), "after": after.get(name)}
        for name in names
        if before.get(name) != after.get(name)
    ]


def _facts(run: Archived) -> dict[str, Any]:
    """Facts by their dotted names, so that one changed parameter is one line."""
    flat: dict[str, Any] = {}
    for name, value in run.results.facts.items():
        if name not in VOLATILE and isinstance(value, Mapping):
            flat |= {f"{name}.{key}": each for key, each in value.items()}
        elif name not in VOLATILE:
            flat[name] = value
    return flat


def _verdicts(run: Archived) -> dict[str, str]:
    found = {"run": run.results.verdict}
    for phase in run.results.phases:
        found[f"phase {phase.phase}"] = phase.verdict
        for gate in phase.gates:
            found |= {test.test: test.verdict for test in gate.tests}
    return found


def _catalogs(run: Archived) -> dict[str, str]:
    """The catalog's hash after each phase that was applied."""
    return {f"after phase {e['phase']}": e["catalog_after"] for e in run.events if e["event"] == "applied"}


def _plans(run: Archived) -> dict[str, Any]:
    return {f"cost of {e['phase']} {e['name']}": e["cost"] for e in run.events if e["event"] == "plan"}


def _seconds(run: Archived) -> dict[str, float]:
    return {f"phase {phase.phase}": phase.seconds for phase in run.results.phases}


def _is_noise(change: Change) -> bool:
    before, after = change["before"] or 0.0, change["after"] or 0.0
    return bool(abs(after - before) <= max(NOISE_SECONDS, NOISE * max(before, after)))
