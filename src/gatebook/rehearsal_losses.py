"""What a rehearsed migration really took away, and which of it nobody had foretold. Pure: no connection, no file."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gatebook.catalog import Row, Rows
from gatebook.safety.effects import Effect, Kind


class What(StrEnum):
    """The class of an observed loss."""

    OBJECT = "object dropped"
    ROWS = "rows lost"
    VALUES = "values changed"
    GUARD = "guard dropped"
    SECURITY = "row security switched off"


GUARDS = frozenset({"index", "constraint", "trigger", "policy", "default", "rule", "not null", "trigger enabled"})
SECURITY = frozenset({"row security", "forced row security"})
ROUTINES = frozenset({"view", "function", "procedure", "aggregate", "sequence", "type", "statistics"})
TABLE, COLUMN = "table", "column"

# Which predictions foretell a loss. The target must fit as well.
FORETELLS = {
    What.ROWS: frozenset({Kind.LOST, Kind.FILTERED}),
    What.VALUES: frozenset({Kind.LOST, Kind.FILTERED, Kind.NARROWED}),
    What.GUARD: frozenset({Kind.LOST, Kind.CONSTRAINT, Kind.GUARD, Kind.SECURITY}),
    What.SECURITY: frozenset({Kind.SECURITY}),
}


@dataclass(frozen=True)
class Loss:
    """One thing that was there before the migration and is not afterwards.

    kind        'table', 'column', 'index', 'row security', …
    schema      of the object; '' where it has none
    table       the table it belongs to; '' for what belongs to no table
    name        of the object itself; for rows '', for values the column
    rows        rows lost, values changed, or rows of a dropped table
    table_now   what the table is called afterwards, where it was renamed
    taken_by    names of the objects whose drop took this one along as a part of them; not those of a CASCADE
    detail      a sentence: how it was lost
    """

    what: What
    kind: str
    schema: str = ""
    table: str = ""
    name: str = ""
    rows: int = 0
    table_now: str = ""
    taken_by: frozenset[str] = frozenset()
    detail: str = ""

    @property
    def target(self) -> str:
        """The longest name: schema.table.name"""
        return _joined(self.schema, self.table, self.name)

    @property
    def names(self) -> frozenset[str]:
        """Every name that a prediction may give it."""
        tables = {self.table, self.table_now}
        if not self.name:
            return frozenset(_spelled(self.schema, *sorted(tables - {""})))
        inner = {_joined(table, self.name) for table in tables}
        alone = set() if self.kind == COLUMN or self.what == What.VALUES else {self.name}
        return frozenset(_spelled(self.schema, *inner, *alone))

    @property
    def table_names(self) -> frozenset[str]:
        return frozenset(_spelled(self.schema, *({self.table, self.table_now} - {""})))

    def as_row(self) -> Row:
        """Shape  what, kind, target, rows, detail"""
        return {
            "what": str(self.what), "kind": self.kind, "target": self.target, "rows": self.rows, "detail": self.detail,
        }  # fmt: skip


def unpredicted(observed: Sequence[Loss], predicted: Sequence[Effect]) -> Rows:
    """The losses that no effect foretells, as rows; an effect that could not be resolved foretells nothing.

    Shape  what, kind, target, rows, detail; in the order observed
    """
    return tuple(loss.as_row() for loss in observed if not any(foretells(effect, loss) for effect in predicted))


def foretells(effect: Effect, loss: Loss) -> bool:
    """Kind and target fit. An effect without a target may mean any; one on a table, whatever happens to its parts."""
    if effect.kind not in _kinds(loss):
        return False
    target = effect.target.replace('"', "").lower()
    if not target or target in _lower(loss.names | loss.taken_by):
        return True
    return target in _lower(loss.table_names) and _is_about_parts(effect, loss)


def _kinds(loss: Loss) -> frozenset[Kind]:
    if loss.what == What.OBJECT:
        return frozenset({Kind.LOST, Kind.GUARD} if loss.kind in ROUTINES else {Kind.LOST})
    return FORETELLS[loss.what]


def _is_about_parts(effect: Effect, loss: Loss) -> bool:
    """Values and guards, which a prediction may name by their table alone; all that is in a table that is dropped."""
    if loss.what == What.OBJECT:
        return effect.kind == Kind.LOST and "TABLE" in effect.pattern.upper()
    return True


def _spelled(schema: str, *names: str) -> set[str]:
    return {*names, *(_joined(schema, name) for name in names)}


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _lower(names: frozenset[str]) -> set[str]:
    return {name.lower() for name in names}
