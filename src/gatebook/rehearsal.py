"""A migration rehearsed on a throw-away copy: what it really did, beside what it said it would do.

    for each in rehearse_chain(project, predict=effects_of):
        print(each.revision, each.verdict, each.losses)

One empty database of the embedded server climbs the chain. At the baseline revision it gets the rows of the
scenario, later those of its activities; where there are none, a rehearsal proves nothing for rows and says so.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gatebook import migrations, rehearsal_watch, row_security, scenario
from gatebook.canonical import load_canonical
from gatebook.catalog import Row, Rows
from gatebook.declarations import ScenarioParameters, load_gates
from gatebook.errors import ConfigurationError
from gatebook.project import Project
from gatebook.rehearsal_losses import Loss, unpredicted
from gatebook.rehearsal_stage import Stage, migrate, not_run, stage, upgrade
from gatebook.safety.effects import Effect
from gatebook.safety.reading import read_migration

SMALL = ScenarioParameters(tenants=2, days=5, events_per_day=4)
NO_ROWS = "there were no rows to lose: proves nothing for rows"

Predict = Callable[[str], Sequence[Effect]]  # revision -> what the validator foretells, acknowledged or not
Progress = Callable[[int, int, str], None]  # done, total, revision


def foretold(project: Project) -> Predict:
    """What the validator reads in a revision's file, acknowledged or not."""
    script = migrations.script(project)

    def predict(revision: str) -> list[Effect]:
        read = read_migration(Path(script.get_revision(revision).path))
        return [effect for operation in read.upgrade for effect in operation.effects]

    return predict


@dataclass(frozen=True)
class Rehearsal:
    """What one migration did.

    rows_seen    rows that there were to lose
    losses       all that was there before and is not, or is not the same
    unpredicted  those that nobody had foretold: what, kind, target, rows, detail
    rewritten    relation, kind, bytes_before, bytes_after
    locks        statement, sql, relation, mode, held_ms; statement 0 is Alembic's own
    not_run      statements that Alembic renders and did not send; a branch was not taken
    unrendered   why its SQL could not be rendered without a database, so nothing is known of branches
    empty        tables that it locks and that held no rows to lose
    outside      statements outside of a transaction, whose locks ended with them
    problem      why it could not be rehearsed, in PostgreSQL's words
    """

    revision: str
    path: str
    rows_seen: int
    losses: tuple[Loss, ...] = ()
    unpredicted: Rows = ()
    rewritten: Rows = ()
    locks: Rows = ()
    statements: int = 0
    not_run: tuple[str, ...] = ()
    unrendered: str = ""
    empty: tuple[str, ...] = ()
    outside: int = 0
    seconds: float = 0.0
    problem: str = ""

    @property
    def verdict(self) -> str:
        if self.problem:
            return "UNKNOWN"
        return "FAIL" if self.unpredicted else "PASS"

    @property
    def notes(self) -> tuple[str, ...]:
        """What limits the proof, in sentences."""
        found = [] if self.rows_seen else [NO_ROWS]
        if self.rows_seen and self.empty:
            found.append(f"there were no rows in {', '.join(self.empty)}: proves nothing for these")
        if self.unrendered:
            found.append(f"not rendered without a database, so its branches are not known: {self.unrendered}")
        if self.outside:
            said = "statement ran" if self.outside == 1 else "statements ran"
            found.append(f"{self.outside} {said} outside of a transaction: locks taken there ended there")
        found += [f"rendered, but not run: {text}" for text in self.not_run]
        return tuple(found)

    def as_rows(self) -> Rows:
        """Every loss with whether it was foretold. Shape  revision, what, kind, target, rows, detail, predicted"""
        silent = {(row["what"], row["target"], row["kind"]) for row in self.unpredicted}
        rows = [loss.as_row() for loss in self.losses]
        return tuple(
            {"revision": self.revision, **row, "predicted": (row["what"], row["target"], row["kind"]) not in silent}
            for row in rows
        )

    def summary(self) -> Row:
        """One row for a table or a chart.

        Units  held_ms: the longest lock, from the start of its statement to the end of the transaction
        """
        longest = max(self.locks, key=lambda lock: lock["held_ms"], default=None)
        return {
            "revision": self.revision,
            "verdict": self.verdict,
            "statements": self.statements,
            "rows_seen": self.rows_seen,
            "losses": len(self.losses),
            "unpredicted": len(self.unpredicted),
            "locks": len(self.locks),
            "held_ms": longest["held_ms"] if longest else 0.0,
            "rewritten_bytes": sum(row["bytes_after"] for row in self.rewritten),
            "seconds": round(self.seconds, 3),
        }


def nothing_foretold(_revision: str) -> tuple[Effect, ...]:
    """Every loss is a surprise."""
    return ()


def rehearse(
    project: Project, revision: str, *, predict: Predict = nothing_foretold, rows: ScenarioParameters = SMALL
) -> Rehearsal:
    """Rehearse one revision of the chain, on a copy that its predecessors made.

    Errors  ConfigurationError for a revision that the chain does not have; MigrationFailed where a predecessor fails
    """
    return rehearse_chain(project, only=[revision], predict=predict, rows=rows)[0]


def rehearse_chain(
    project: Project,
    *,
    only: Collection[str] = (),
    predict: Predict = nothing_foretold,
    rows: ScenarioParameters = SMALL,
    progress: Progress | None = None,
) -> list[Rehearsal]:
    """Rehearse the whole chain in one climb, or some of its revisions; one that fails is the last.

    rows     how many the scenario makes; a project without a scenario has those that its migrations insert
    Errors   as rehearse()
    """
    chain = migrations.chain(project)
    wanted = _wanted(chain, only)
    found: list[Rehearsal] = []
    supply = _supply(project, rows)
    with stage(project) as place:
        with place.watcher.connect() as connection:
            rehearsal_watch.begin(connection)
        for done, revision in enumerate(chain[: chain.index(wanted[-1]) + 1]):
            if progress is not None:
                progress(done, len(chain), revision)
            if revision in wanted:
                found.append(_rehearsed(place, revision, predict))
            else:
                _climb(place, revision)
            if found and found[-1].problem:
                break
            for folder, settings in supply.get(revision, ()):
                _fill(place, folder, settings)
    return found


def _climb(place: Stage, revision: str) -> None:
    with place.owner.connect() as connection:
        upgrade(connection, place.project, revision)


def exit_code(rehearsals: Sequence[Rehearsal]) -> int:
    """0 nothing unforeseen, 1 something, 2 could not tell."""
    verdicts = {each.verdict for each in rehearsals}
    if "FAIL" in verdicts:
        return 1
    return 2 if "UNKNOWN" in verdicts or not verdicts else 0


def lock_rows(rehearsals: Sequence[Rehearsal]) -> Rows:
    """For a chart. Shape  revision, statement, sql, relation, mode, held_ms; ms from the statement to the commit"""
    return tuple({"revision": each.revision, **row} for each in rehearsals for row in each.locks)


def rewrite_rows(rehearsals: Sequence[Rehearsal]) -> Rows:
    """For a chart. Shape  revision, relation, kind, bytes_before, bytes_after"""
    return tuple({"revision": each.revision, **row} for each in rehearsals for row in each.rewritten)


def _wanted(chain: list[str], only: Collection[str]) -> list[str]:
    unknown = sorted(set(only) - set(chain))
    if unknown:
        raise ConfigurationError(
            f"the project has no revision {', '.join(unknown)}",
            where="gatebook rehearse",
            next_step="`alembic history` lists the revisions; give one of them in full",
        )
    return [revision for revision in chain if not only or revision in only]


def _rehearsed(place: Stage, revision: str, predict: Predict) -> Rehearsal:
    path, rendered, unrendered = _text(place.project, revision)
    with place.watcher.connect() as connection:
        before = rehearsal_watch.look(connection)
    done = migrate(place, revision, before.relations)
    found = Rehearsal(revision, path, sum(before.rows.values()), seconds=done.seconds, problem=done.problem)
    if done.problem:
        return found
    try:
        with place.watcher.connect() as connection:
            losses = rehearsal_watch.losses(connection, before)
            rewritten = rehearsal_watch.rewritten(connection, before)
    except sa.exc.DBAPIError as error:
        return replace(found, problem=f"it ran, but what it left cannot be compared: {error.orig}")
    return replace(
        found,
        losses=losses,
        unpredicted=unpredicted(losses, predict(revision)) if losses else (),
        rewritten=rewritten,
        locks=done.locks,
        empty=tuple(sorted(before.empty & {row["relation"] for row in done.locks})),
        statements=len(done.statements),
        not_run=() if unrendered else not_run(rendered, done.statements),
        unrendered=unrendered,
        outside=done.outside,
    )


def _text(project: Project, revision: str) -> tuple[str, str, str]:
    """The revision's file, its SQL rendered without a database, and why that could not be."""
    path = Path(migrations.script(project).get_revision(revision).path)
    shown = str(path.relative_to(project.root)) if path.is_relative_to(project.root) else str(path)
    try:
        return shown, migrations.statements(project, revision), ""
    except Exception as error:  # a revision is Python, and it may ask a database that is not there
        return shown, "", f"{type(error).__name__}: {error}"


Supply = dict[str, list[tuple[Path, dict[str, Any]]]]


def _supply(project: Project, rows: ScenarioParameters) -> Supply:
    """Revision -> folders with SQL to run when it is reached, and their settings."""
    folder = project.params / "scenario"
    if not any(folder.glob("*.sql")):
        return {}
    last = str(datetime.now(UTC).date()) if rows.as_of == "today" else rows.as_of
    settings = rows.model_dump(exclude={"as_of", "reset"}) | {"as_of": last}
    chunk = {"first_day": 0, "last_day": rows.days - 1}
    found: Supply = {load_canonical(project).baseline_revision: [(folder, settings | chunk)]}
    gates = load_gates(project)
    for phase in gates.phases:
        start = gates.starts_at(phase.phase)
        if phase.activity is not None and start is not None:
            found.setdefault(start, []).append((project.params / phase.activity, settings))
    return found


def _fill(place: Stage, folder: Path, settings: dict[str, Any]) -> None:
    with place.owner.connect() as connection:
        try:
            with row_security.all_rows(connection):
                scenario.play(connection, folder, settings)
            connection.commit()
        except sa.exc.DBAPIError as error:
            raise migrations.translate(error, doing=f"adding the rows of {folder.name}") from error
