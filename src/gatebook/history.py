"""What was done to one database, phase by phase, and whether it is still so.

Each phase leaves two states, before and after. They form a chain: a phase must find what the one before it left,
and the database must now be what the last one left. A break in the chain means that somebody changed rows or
schema outside the phases. A state holds only for the very application of a phase that made it: a downgrade and a
second upgrade make the same columns with other attribute numbers, and everything known of the first is forgotten.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from gatebook import baseline, catalog, migrations
from gatebook.baseline import State, Store, TableSum
from gatebook.canonical import Canonical
from gatebook.catalog import Query, Rows, Snapshot
from gatebook.declarations import Gates, PhaseDeclaration
from gatebook.project import Project

MARKS = """
SELECT k."table" || '.' || k."column" AS column, a.attrelid::text || '.' || a.attnum AS mark
  FROM ROWS FROM (pg_catalog.unnest(%(tables)s::text[]), pg_catalog.unnest(%(columns)s::text[])) AS k("table", "column")
  JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass(k."table") AND a.attname = k."column"
       AND NOT a.attisdropped
 ORDER BY 1
"""


@dataclass(frozen=True)
class Step:
    """One applied phase and the two looks at the database."""

    phase: str
    before: State
    after: State


@dataclass(frozen=True)
class History:
    """The phases from one on that this workbook has applied, in order; empty when it has not applied that one."""

    steps: tuple[Step, ...]

    @property
    def first(self) -> Step:
        return self.steps[0]

    @property
    def last(self) -> Step:
        return self.steps[-1]

    def changed_rows(self, now: dict[str, TableSum]) -> list[str]:
        """Where rows are not what the phase before had left, up to now; each as one sentence."""
        links = [(step.phase, step.after.data, later.before.data) for step, later in self._links()]
        links.append((self.last.phase, self.last.after.data, now))
        return [
            f"rows are not what phase {phase} left: {say_rows(differences)}"
            for phase, left, found in links
            if (differences := baseline.data_differences(left, found))
        ]

    def changed_catalog(self, now: Snapshot) -> list[str]:
        """Where the catalog is not what the phase before had left, up to now; each as one sentence."""
        links = [(step.phase, drift(step.after.catalog, later.before.catalog)) for step, later in self._links()]
        links.append((self.last.phase, catalog.diff(self.last.after.catalog, now)))
        return [
            f"the catalog is not what phase {phase} left: {say_catalog(difference)}"
            for phase, difference in links
            if difference
        ]

    def _links(self) -> Iterator[tuple[Step, Step]]:
        return zip(self.steps, self.steps[1:], strict=False)


def since(store: Store, gates: Gates, phase: str) -> History:
    """The history of a database from this phase on, as far as it was applied by this workbook."""
    steps = []
    names = [each.phase for each in gates.moving()]
    for each in gates.moving()[names.index(phase) :]:
        before, after = store.state(each.phase, "before"), store.state(each.phase, "after")
        if before and after:
            steps.append(Step(each.phase, before, after))
        elif each.revision is not None:
            break
    return History(tuple(steps))


def left_before(store: Store, gates: Gates, phase: str) -> State | None:
    """What the last phase before this one left, where it was applied by this workbook."""
    names = [each.phase for each in gates.moving()]
    for each in reversed(gates.moving()[: names.index(phase)]):
        state = store.state(each.phase, "after")
        if state is not None or each.revision is not None:
            return state
    return None


def marks(connection: sa.Connection, canonical: Canonical, phase: str) -> dict[str, str]:
    """Column -> its table's object id and its attribute number, for those that the phase adds: never the same twice."""
    added = [name.rpartition(".") for kind, name in canonical.changes(phase) if kind == "column"]
    query = Query(MARKS, {"tables": [table for table, _, _ in added], "columns": [column for _, _, column in added]})
    return {str(row["column"]): str(row["mark"]) for row in query.run(connection)}


def forget_what_is_gone(
    connection: sa.Connection, store: Store, project: Project, gates: Gates, canonical: Canonical
) -> None:
    """Drop states and proofs of phases that this database no longer has, or has from another application."""
    here = migrations.position(project, migrations.current(connection))
    base_is_gone = False
    for phase in gates.phases:
        state = store.state(phase.phase, "after")
        is_gone = phase.revision is not None and (state is None or migrations.position(project, phase.revision) > here)
        if phase.revision is not None and state is not None and not is_gone:
            now = marks(connection, canonical, phase.phase)  # a column that is missing is a fault, not another one
            is_gone = any(mark != state.marks.get(column, mark) for column, mark in now.items())
        base_is_gone = base_is_gone or is_gone
        if base_is_gone:  # rows of an activity, and proofs, last as long as the phases before them
            store.forget(phase.phase)


def is_proven(store: Store, phase: PhaseDeclaration) -> bool:
    """Every test that is declared today was green when the phase was proven in this database."""
    tests = (store.proof(phase.phase) or {}).get("tests", {})
    return bool(phase.tests) and all(tests.get(test) == "PASS" for test in phase.tests)


def drift(left: Snapshot, found: Snapshot) -> Rows:
    """What differs between two phases, but for views that hold no rows: a downgrade may leave one that way."""
    return tuple(row for row in catalog.diff(left, found) if row["attribute"] != "populated")


def say_rows(differences: Rows) -> str:
    return "; ".join(
        f"{row['table']}: {row['rows_before']} rows before, {row['rows_after']} now, columns {row['columns_differing']}"
        for row in differences
    )


def say_catalog(difference: Rows) -> str:
    return "; ".join(
        " ".join(filter(None, (row["kind"], row["object"], row["change"], row["attribute"]))) for row in difference
    )
