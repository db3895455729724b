"""What the command line shows: progress while a run happens, the verdict table, the state of a database."""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from gatebook import history, migrations, runs
from gatebook.baseline import Store
from gatebook.canonical import load_canonical
from gatebook.catalog import Row, Rows
from gatebook.database import open_database
from gatebook.declarations import PhaseDeclaration, load_gates
from gatebook.evidence.results import GateOutcome, PhaseOutcome
from gatebook.project import Project
from gatebook.refresh import Refreshed
from gatebook.rehearsal import Rehearsal
from gatebook.scenario import Loaded
from gatebook.verdicts import VERDICTS, Verdict

if TYPE_CHECKING:
    from gatebook.run import Finished

WIDE = 240  # of tables whose columns are neither cut nor folded: a terminal may break their lines
COLOURS = {"PASS": "green", "FAIL": "bold red", "UNKNOWN": "bold yellow"}


class Console:
    """Shows one run: a line for each notebook and gate, and a bar for whatever takes long."""

    def __init__(self) -> None:
        width = None if os.environ.get("COLUMNS") or os.isatty(1) else 110
        self.out = RichConsole(highlight=False, width=width, soft_wrap=True)
        self.bar = Progress(
            TextColumn("  {task.description}"), BarColumn(), TimeElapsedColumn(), console=self.out, transient=True
        )
        self.task: TaskID | None = None

    def __enter__(self) -> "Console":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def scenario(self, done: int, total: int, name: str) -> None:
        self._show(f"loading rows: {name}", done, total)

    def scenario_loaded(self, loaded: Loaded) -> None:
        self._hide()
        counts = ", ".join(f"{rows:,} {table}" for table, rows in loaded.rows.items() if rows)
        self.out.print(f"Scenario at revision {loaded.revision} in {loaded.seconds:.1f} s: {counts}")

    def notebook(self, phase: PhaseDeclaration) -> None:
        self._show(phase.notebook, 0, len(phase.gates))

    def gate(self, gate: GateOutcome) -> None:
        if self.task is not None:
            self.bar.advance(self.task)
        green = sum(test.verdict == "PASS" for test in gate.tests)
        tests = f"({green} of {len(gate.tests)} tests)"
        self.out.print(f"  {_badge(gate.verdict)} {gate.gate:<6} {escape(gate.title)} {tests}")

    def phase(self, outcome: PhaseOutcome) -> None:
        self._hide()
        reason = f" – {escape(outcome.reason)}" if outcome.reason else ""
        seconds = f"{outcome.seconds:.1f} s, {outcome.database_seconds:.1f} s of it database"
        self.out.print(f"{_badge(outcome.verdict)} {outcome.notebook} ({seconds}){reason}")
        for warning in outcome.warnings:
            self.out.print(f"    [yellow]⚠[/] {escape(warning)}")
        for gate in outcome.gates:
            for test in gate.tests:
                if test.verdict in ("FAIL", "UNKNOWN"):
                    self.out.print(f"    {_badge(test.verdict)} {test.test} {escape(test.says)}: {escape(test.reason)}")

    def finished(self, finished: "Finished") -> None:
        """The verdict table, what took how long, and where the report lies."""
        results = finished.results
        self.out.print(_verdict_table(results.phases), soft_wrap=False)
        totals = results.totals()
        self.out.print(f"{_badge(results.verdict)} {_summary(results.phases, totals)}")
        notebooks, database = totals["seconds"], totals["database_seconds"]
        rest = finished.seconds - notebooks
        self.out.print(
            f"Time: {finished.seconds:.1f} s = notebooks {notebooks - database:.1f} s + database in notebooks "
            f"{database:.1f} s + loading rows, checks and report {rest:.1f} s"
        )
        if results.ended != "finished":
            self.out.print(f"The run was {results.ended}; its record says what was reached.")
        self.out.print(f"Report: {finished.folder / 'index.html'}")
        said = f"by key {results.signer}" if results.signer else "[yellow]UNSIGNED[/] (gatebook evidence sign)"
        self.out.print(f"Signature: {said}")

    def rehearsal(self, done: int, total: int, revision: str) -> None:
        self._show(f"rehearsing {revision}", done, total)

    def rehearsed(self, rehearsals: Sequence[Rehearsal]) -> None:
        """One line for each migration, then what was lost, held and written anew."""
        self._hide()
        self.out.print(_rehearsal_table(rehearsals), soft_wrap=False, width=WIDE)
        for each in rehearsals:
            for line in _rehearsal_lines(each, with_locks=len(rehearsals) == 1):
                self.out.print(line)
        red = sum(len(each.unpredicted) for each in rehearsals)
        self.out.print(f"{len(rehearsals)} rehearsed, {red} losses that nobody foretold; the copy is gone")

    def _show(self, text: str, done: int, total: int) -> None:
        self.bar.start()
        if self.task is None:
            self.task = self.bar.add_task(text, total=total)
        self.bar.update(self.task, description=text, completed=done, total=total)

    def _hide(self) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None


def status(project: Project, database_name: str) -> None:
    """The last run, and where a database stands."""
    out = RichConsole(highlight=False, soft_wrap=True)
    last = runs.latest(project)
    if last is None:
        out.print("No finished run in outputs/.")
    else:
        results = json.loads((last / "results.json").read_text(encoding="utf-8"))
        out.print(
            f"Last run {results['run']}: {_badge(results['verdict'])}, {results['ended']}, "
            f"on {escape(results['facts']['database'])}"
        )
        out.print(f"Report: {last / 'index.html'}")
    database = open_database(database_name, project=project)
    try:
        with database.connect() as connection:
            revision = migrations.current(connection)
        migrations.position(project, revision)
        store, gates = Store(project, database.server), load_gates(project)
        with database.connect() as connection:
            history.forget_what_is_gone(connection, store, project, gates, load_canonical(project))
        head = migrations.head(project)
        out.print(f"Database {escape(str(database))}: revision {revision or 'none'}, head {head}")
        for phase in gates.migrating():
            proof = store.proof(phase.phase) if history.is_proven(store, phase) else None
            said = f"proven by run {proof['run']} at {proof['at'][:19]}" if proof else "not proven"
            out.print(f"  phase {phase.phase:<4} {said}")
    finally:
        database.close()


def refreshed(results: Sequence[Refreshed], ages: Rows) -> bool:
    """What each refresh did, and how old the contents are that a failed one left; whether all went well."""
    out = RichConsole(highlight=False, soft_wrap=True, width=WIDE)
    age = {row["view_name"]: row["age"] for row in ages}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("result", "view", "concurrently"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "seconds", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in results:
        table.add_row(
            _badge("FAIL" if each.error else "PASS"),
            escape(each.view),
            "yes" if each.was_concurrent else "no",
            "–" if each.rows is None else f"{each.rows:,}",
            "–" if each.seconds is None else f"{each.seconds:.2f}",
            _age(age.get(each.view)),
        )
    out.print(table)
    failed = [each for each in results if each.error]
    for each in failed:
        out.print(f"{_badge('FAIL')} {escape(each.view)} keeps its contents: {escape(str(each.error))}")
    return not failed


def refresh_status(rows: Rows, views: Collection[str]) -> bool:
    """How old these views are; whether each can be read and did not fail when last refreshed."""
    out = RichConsole(highlight=False, soft_wrap=True, width=WIDE)
    shown = [row for row in rows if row["view_name"] in views]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("result", "view", "refreshed at", "age", "ms", "last attempt", "error"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("age", "ms") else "left")
    for row in shown:
        table.add_row(
            _badge("PASS" if _is_sound(row) else "FAIL"),
            escape(row["view_name"]),
            _at(row["refreshed_at"]),
            _age(row["age"]),
            "–" if row["duration_ms"] is None else f"{row['duration_ms']:,}",
            _at(row["last_attempt_at"]),
            row["last_error"] or ("" if row["is_populated"] else "not populated"),
        )
    out.print(table)
    return all(_is_sound(row) for row in shown)


def scheduled(rows: Rows) -> None:
    """The jobs of pg_cron."""
    out = RichConsole(highlight=False, soft_wrap=True)
    for row in rows:
        inactive = "" if row["is_active"] else " (inactive)"
        out.print(f"pg_cron: {row['schedule']:<14} {row['view']}{inactive}", markup=False)


def unscheduled(views: Sequence[str]) -> None:
    """The views whose jobs were removed."""
    said = f"taken away from pg_cron: {', '.join(views)}" if views else "pg_cron has no job of these views"
    RichConsole(highlight=False, soft_wrap=True).print(said, markup=False)


def crontab(problem: str, lines: str) -> None:
    """Lines for a crontab by themselves, so that they can be piped, and beside them why there are any."""
    said = f"{problem}. A crontab with these lines does the same; nothing was written into one."
    RichConsole(highlight=False, soft_wrap=True, stderr=True).print(said, markup=False)
    RichConsole(highlight=False, soft_wrap=True).print(lines, markup=False)


def _is_sound(row: Row) -> bool:
    return row["is_populated"] and row["last_error"] is None


def _age(age: timedelta | None) -> str:
    return "–" if age is None else str(timedelta(seconds=int(age.total_seconds())))


def _at(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _summary(phases: list[PhaseOutcome], totals: dict[str, Any]) -> str:
    """What is red, then what is green: the gates of the specification, and those of the workbook beside them."""
    red = [gate.gate for phase in phases for gate in phase.gates if gate.verdict in ("FAIL", "UNKNOWN")]
    parts = [f"red: gate {', '.join(red)}"] if red else []
    for each in totals["specifications"]:
        gates, tests = each["gates"], each["tests"]
        counts = f"{gates['green']} of {gates['of']} gates and {tests['green']} of {tests['of']} tests"
        parts.append(f"{counts} of {each['name']} green")
    own = totals["own_gates"]
    if own["of"]:
        parts.append(f"{own['green']} of {own['of']} gates of the workbook itself green")
    return "; ".join(parts)


def _verdict_table(phases: list[PhaseOutcome]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("verdict", "phase", "claim"):
        table.add_column(name)
    for name in ("gates", "tests", "seconds"):
        table.add_column(name, justify="right")
    for phase in phases:
        tests = [test for gate in phase.gates for test in gate.tests]
        table.add_row(
            _badge(phase.verdict),
            phase.phase,
            escape(phase.title),
            f"{sum(gate.verdict == 'PASS' for gate in phase.gates)}/{len(phase.gates)}",
            f"{sum(test.verdict == 'PASS' for test in tests)}/{len(tests)}",
            f"{phase.seconds:.1f}",
        )
    return table


def _rehearsal_table(rehearsals: Sequence[Rehearsal]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("verdict", "revision"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "statements", "losses", "unforeseen", "locks", "held ms", "rewritten kB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in (each.summary() for each in rehearsals):
        table.add_row(
            _badge(row["verdict"]),
            row["revision"],
            *(f"{row[name]:,}" for name in ("rows_seen", "statements", "losses", "unpredicted", "locks")),
            f"{row['held_ms']:,.1f}",
            f"{row['rewritten_bytes'] / 1024:,.0f}",
        )
    return table


def _rehearsal_lines(rehearsal: Rehearsal, *, with_locks: bool) -> Iterator[str]:
    """What the table only counts, each in a line that begins with the revision."""
    start = f"{rehearsal.revision} "
    if rehearsal.problem:
        yield f"{_badge('UNKNOWN')} {start}{escape(rehearsal.problem)}"
    for row in rehearsal.as_rows():
        count = f", {row['rows']:,} rows" if row["rows"] else ""
        said = f"{row['what']}: {row['kind']} {row['target']} ({row['detail']}{count})"
        foretold = "foretold" if row["predicted"] else "[bold red]not foretold[/]"
        yield f"    {start}{escape(said)}, {foretold}"
    for note in rehearsal.notes:
        yield f"    [yellow]⚠[/] {start}{escape(note)}"
    if with_locks:
        for lock in rehearsal.locks:
            said = f"{lock['mode']} on {lock['relation']} for {lock['held_ms']} ms: {lock['sql']}"
            yield f"    {start}{escape(said)}"
        for row in rehearsal.rewritten:
            yield f"    {start}rewritten: {row['kind']} {escape(row['relation'])}, {row['bytes_after']:,} bytes"


def _badge(verdict: str) -> str:
    kind = VERDICTS.get(verdict)
    colour = COLOURS.get(verdict, "dim")
    return f"[{colour}]{kind.symbol if kind else '·'} {verdict}[/]"


def verdicts(title: str, found: Sequence[Verdict]) -> int:
    """One line a verdict, with its rows where it is red; the exit code: 0 green, 1 red, 2 could not tell."""
    out = RichConsole(highlight=False, soft_wrap=True, width=WIDE)
    out.print(f"[bold]{escape(title)}[/bold]")
    for each in found:
        out.print(f"{_badge(each.name)} {escape(each.what)}{escape(f': {each.reason}' if each.reason else '')}")
    names = {each.name for each in found}
    return 1 if "FAIL" in names else 0 if names == {"PASS"} else 2
