#!/usr/bin/env python3
"""Measures the load, the views and the comparison beside named peers and floors: make bench.

Loads databases of growing size into the bundled server, as embedded/bench, made anew for each; prints one table and
draws one picture. Exit codes: 0 measured, whether or not the targets are met; 2 refused or failed; 130 and 143
interrupted. However it ends, neither server nor database stays, but for the last one with --keep.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

import loading
import picture
import table
import workplace
from gatebook.errors import ConfigurationError, GatebookError
from gatebook.project import Project
from steps import Step
from table import Figures, count

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = "bench-views.png"  # in outputs/, or in docs/images/ with --write-docs
DATABASE = "embedded/bench"
SMALLER = (100_000, 1_000_000, 10_000_000)
BAR = "{desc}: |{bar}| {n_fmt}/{total_fmt} {postfix} [{elapsed}]"
FEWEST, MOST = 1_000, 100_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, draw; with --write-docs into the documentation."""
    options = _parser().parse_args(argv)
    try:
        with workplace.interruptible():
            _run(options.rows, keep=options.keep, write_docs=options.write_docs)
    except workplace.Interrupted as interrupted:
        print(f"bench: interrupted by {interrupted}; its database is dropped", file=sys.stderr)
        return interrupted.exit_code
    except GatebookError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def sizes(rows: int) -> list[int]:
    """Growth is seen in steps of ten up to the rows asked for."""
    return [*(each for each in SMALLER if each < rows), rows]


def measure(project: Project, rows: int, *, keep: bool = False) -> tuple[dict[int, Figures], list[str]]:
    """Figures by number of rows, the fewest first, and what a reader must know beside them."""
    measured: dict[int, Figures] = {}
    notes = []
    with workplace.only_one(project), workplace.scratch(DATABASE, project, keep=keep) as database:
        for size in sizes(rows):
            started = time.monotonic()
            fewest = next(iter(measured.values()), {}).get("memory")
            with tqdm(desc=count(size), bar_format=BAR, leave=False, disable=None) as bar:

                def show(what: str, bar: "tqdm[NoReturn]" = bar) -> None:
                    bar.set_postfix_str(what)
                    bar.update()

                step = Step(database, project, size, show, fewest.value if fewest else None)
                bar.reset(step.length)
                measured[size], said = step.measure()
            notes += [f"{count(size)}: {each}." for each in said]
            print(f"bench: {count(size)} measured in {time.monotonic() - started:.0f} s", file=sys.stderr)
        notes.append(f"{workplace.machine(database)}.")
    return measured, notes


def _run(rows: int, *, keep: bool, write_docs: bool) -> None:
    started = time.monotonic()
    project = Project.find(ROOT)
    _refuse(rows)
    if write_docs:
        table.around(PAGE)
    workplace.refuse_without_room(
        rows,
        disk_bytes=workplace.free_disk_bytes(project.home),
        memory_bytes=workplace.available_memory_bytes(),
    )
    measured, notes = measure(project, rows, keep=keep)
    took = time.gmtime(time.monotonic() - started)
    notes.append(f"Measured on {datetime.now(UTC):%Y-%m-%d} in {time.strftime('%H:%M:%S', took)}.")
    text = "\n\n".join([table.render(measured), "\n".join(f"- {note}" for note in notes)])
    drawn = (ROOT / "docs" / "images" if write_docs else project.outputs) / PICTURE
    picture.draw(measured, drawn)
    if write_docs:
        table.write(PAGE, text)
    print(f"{text}\n\nPicture: {drawn}" + (f"\nKept: {DATABASE}" if keep else ""))


def _refuse(rows: int) -> None:
    if not FEWEST <= rows <= MOST or rows % loading.ALLOCATIONS_AN_EVENT:
        raise ConfigurationError(
            f"{rows:,} rows cannot be measured: every event has ten allocations",
            where="--rows",
            next_step=f"give a multiple of ten from {FEWEST:,} to {MOST:,}",
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=…", description="Measure the views, the comparison and the load."
    )
    parser.add_argument(
        "--rows", type=int, default=10_000_000, help="allocations of the largest step (default: 10 million)"
    )
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md and its picture")
    parser.add_argument("--keep", action="store_true", help=f"keep the largest database, {DATABASE}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
