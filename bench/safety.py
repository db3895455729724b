#!/usr/bin/env python3
"""Measures the migration validator beside named peers on the labelled migrations of the tests: make bench-safety.

Prints one table: what each tool catches, misses, flags and cannot read, and how long it takes. Exit codes: 0 measured,
whether or not the targets are met; 2 refused or failed; 130 and 143 interrupted.
"""

import argparse
import itertools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import table
import workplace
from gatebook.errors import GatebookError
from loading import timed
from measuring import in_turns

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the fixtures live with the tests

import safety_tools  # noqa: E402
from migration_fixtures import Fixture, fixtures  # noqa: E402
from safety_tools import LOSSES, TOOLS, Answers, Tool  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- written by make bench-safety ARGS=--write-docs -->"
FILES = 1_000
FLOOR, SCRIPT = (
    "one grep, all at once",
    "grep, whole file",
)  # what times are divided by: the script of the source document
LIMIT_S = {FILES: 5.0, 1: 0.6}
HEAD = (
    "tool", "caught", "missed", "could not read", "clean, flagged", "clean, could not read", "unresolvable, passed",
)  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """The names that count. What only warns or is acknowledged is left out: tools do not share an idea of it."""

    destructive: frozenset[str]
    clean: frozenset[str]
    unresolvable: frozenset[str]


@dataclass(frozen=True)
class Score:
    """How many of the destructive, clean and unresolvable ones got which answer."""

    caught: int
    missed: int
    unread: int
    flagged: int
    clean_unread: int
    passed: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; with --write-docs into the documentation."""
    options = _parser().parse_args(argv)
    try:
        with workplace.interruptible():
            _run(options.files, options.rounds, write_docs=options.write_docs)
    except workplace.Interrupted as interrupted:
        print(f"bench: interrupted by {interrupted}", file=sys.stderr)
        return interrupted.exit_code
    except GatebookError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def labels(declared: Sequence[Fixture]) -> Labels:
    losses = {kind.name for kind in LOSSES}
    return Labels(
        frozenset(each.name for each in declared if each.kinds & losses),
        frozenset(each.name for each in declared if each.kind == "clean"),
        frozenset(each.name for each in declared if each.kind == "UNRESOLVED"),
    )


def score(answers: Answers, labelled: Labels) -> Score:
    found = {name for name, answer in answers.items() if answer.found}
    unread = {name for name, answer in answers.items() if answer.problem}
    return Score(
        caught=len(labelled.destructive & found),
        missed=len(labelled.destructive - found - unread),
        unread=len(labelled.destructive & unread),
        flagged=len(labelled.clean & found),
        clean_unread=len(labelled.clean & unread),
        passed=len(labelled.unresolvable - found - unread),
    )


def chain(folder: Path, chosen: Sequence[Fixture], files: int) -> Path:
    """A project of so many revisions in a row, made of copies of the fixtures."""
    safety_tools.project(folder)
    below = "None"
    for number, fixture in enumerate(itertools.islice(itertools.cycle(chosen), files)):
        revision = f"r{number:05}"
        text = fixture.text.replace(f'revision = "{fixture.name}"', f'revision = "{revision}"')
        text = text.replace("down_revision = None", f"down_revision = {below}")
        (folder / "versions" / f"{revision}_{fixture.name}.py").write_text(text, "utf-8")
        below = f'"{revision}"'
    return folder


def readable(declared: Sequence[Fixture], answers: Mapping[str, Answers]) -> list[Fixture]:
    """The fixtures that every tool can read and that stand alone: on these all are timed.

    Without those that print: it would stand among the SQL of `alembic upgrade --sql`.
    """
    return [
        each
        for each in declared
        if not each.beside
        and "print(" not in each.text
        and f'\nrevision = "{each.name}"' in each.text
        and not any(said[each.name].problem for said in answers.values())
    ]


def _run(files: int, rounds: int, *, write_docs: bool) -> None:
    started = time.monotonic()
    if write_docs:
        table.around(PAGE, BEGIN)
    safety_tools.require()
    declared = fixtures()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        answers = {tool.name: _ask(tool, declared, folder / f"asked-{number}") for number, tool in enumerate(TOOLS)}
        chosen = readable(declared, answers)
        seconds = {
            count: _timed(chain(folder / f"chain-{count}", chosen, count), rounds=rounds) for count in (files, 1)
        }
    text = "\n\n".join([_table(answers, labels(declared), seconds), _notes(declared, len(chosen), rounds, started)])
    if write_docs:
        table.write(PAGE, text, BEGIN)
    print(text)


def _ask(tool: Tool, declared: Sequence[Fixture], folder: Path) -> Answers:
    print(f"bench: {tool.name}", file=sys.stderr)
    folder.mkdir()
    return tool.ask(declared, folder)


def _timed(project: Path, *, rounds: int) -> dict[str, float]:
    """Median seconds of each tool that does it at all; tried once before."""
    commands = {tool.name: tool.command for tool in TOOLS} | {FLOOR: safety_tools.grepped_at_once}

    def act(command: Callable[[Path], object]) -> Callable[[], float]:
        return lambda: timed(lambda: command(project))

    acts = {name: act(command) for name, command in commands.items() if _works(name, command, project)}
    return in_turns(acts, rounds=rounds, step=lambda name: print(f"bench: {project.name}, {name}", file=sys.stderr))


def _works(name: str, command: Callable[[Path], object], project: Path) -> bool:
    try:
        command(project)
    except GatebookError as error:
        print(f"bench: {project.name}, {name}: {error}", file=sys.stderr)
        return False
    return True


def _table(answers: Mapping[str, Answers], labelled: Labels, seconds: Mapping[int, Mapping[str, float]]) -> str:
    rows = [_cells(name, score(said, labelled), labelled, seconds) for name, said in answers.items()]
    rows.append([FLOOR, *[""] * 6, *(_time(taken, FLOOR) for taken in seconds.values())])
    return table.padded([[*HEAD, *(f"{count:,} file{'s' * (count > 1)}" for count in seconds)], *rows])


def _cells(name: str, made: Score, labelled: Labels, seconds: Mapping[int, Mapping[str, float]]) -> list[str]:
    return [
        name,
        f"{made.caught} of {len(labelled.destructive)}",
        str(made.missed),
        str(made.unread),
        f"{made.flagged} of {len(labelled.clean)}",
        str(made.clean_unread),
        f"{made.passed} of {len(labelled.unresolvable)}",
        *(_time(taken, name) for taken in seconds.values()),
    ]


def _time(taken: Mapping[str, float], name: str) -> str:
    if name not in taken:
        return "breaks off"
    return f"{table.value(taken[name], 's')}, {table.number(taken[name] / taken[SCRIPT])} ×"


def _notes(declared: Sequence[Fixture], chosen: int, rounds: int, started: float) -> str:
    took = time.gmtime(time.monotonic() - started)
    notes = [
        f"{len(declared)} labelled migrations; times over copies of the {chosen} that every tool can read, medians of "
        f"{rounds} in turns, start included; × is against {SCRIPT}",
        f"Targets of gatebook: nothing missed, nothing clean flagged, {FILES:,} files in {LIMIT_S[FILES]:g} s, one in "
        f"{LIMIT_S[1]:g} s",
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} in {time.strftime('%H:%M:%S', took)}",
    ]
    return "\n".join(f"- {note}." for note in notes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench-safety ARGS=…", description="Measure the migration validator.")
    parser.add_argument("--files", type=int, default=FILES, help=f"migrations of the long chain (default: {FILES:,})")
    parser.add_argument("--rounds", type=int, default=3, help="how often each tool is timed (default: 3)")
    parser.add_argument("--write-docs", action="store_true", help="write the table of docs/benchmarks.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
