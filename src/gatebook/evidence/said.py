"""What the commands about evidence print, line by line."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from gatebook import runs
from gatebook.evidence.diff import Change
from gatebook.evidence.verify import Report
from gatebook.project import Project

ENDS = {0: "The evidence holds", 1: "The evidence does not hold", 2: "Who signed cannot be told"}


def report(found: Report) -> Iterator[str]:
    """Each check, what is wrong with it, and the end."""
    for check in found.checks:
        mark = "✗" if check.problems else "✓" if check.is_known else "?"
        yield f"{mark} {check.name:<10} {check.note}".rstrip()
        yield from (f"    {problem}" for problem in check.problems)
    signed = f"signed by {', '.join(found.signers)}" if found.signers else "UNSIGNED"
    yield f"{ENDS[found.exit_code]}: run {found.run}, verdict {found.verdict}, {signed}"


def changes(found: Sequence[Change]) -> Iterator[str]:
    """Each change on its line."""
    for each in found:
        yield f"{each['kind']:<8} {each['what']}: {_value(each['before'])} -> {_value(each['after'])}"
    yield f"{len(found)} changes" if found else "nothing changed, but for what differs in any two runs"


def listed(project: Project) -> Iterator[str]:
    """Each finished run: its id, verdict, whether it was signed, and its database."""
    for folder in runs.finished(project):
        signed = "signed" if runs.is_signed(folder) else "UNSIGNED"
        verdict, database = _verdict(folder)
        yield f"{folder.name}  {verdict:<8} {signed:<9} {database}".rstrip()


def _verdict(folder: Path) -> tuple[str, str]:
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        return str(results["verdict"]), str(results["facts"]["database"])
    except (OSError, ValueError, KeyError, TypeError):
        return "?", "results.json cannot be read"


def _value(value: object) -> str:
    return "–" if value is None else str(value)
