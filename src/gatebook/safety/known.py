"""What an upgrade has made so far: rows of a table made here cannot be lost, and functions made here may be called."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gatebook.safety.effects import Effect

# Sequences are made along with identity columns and serials, so dropping one is judged by its table alone.
RELATIONS = ("table", "foreign table", "view", "materialized view")


def normal(name: str) -> str:
    """A name without the schema public, as both `t` and `public.t` mean one table."""
    return name.removeprefix("public.")


@dataclass
class Known:
    """Grows while an upgrade is read. What is made in a branch that may not be taken does not count."""

    created: set[tuple[str, str]] = field(default_factory=set)
    functions: dict[str, tuple[Effect, ...]] = field(default_factory=dict)
    prepared: dict[str, tuple[Effect, ...]] = field(default_factory=dict)
    branches: int = 0

    def create(self, kind: str, name: str) -> None:
        if not self.branches and name:
            self.created.add((kind, normal(name)))

    def drop(self, kind: str, name: str) -> bool:
        """Was it made here? Then it is gone now, and nothing else is."""
        entry = (kind, normal(name))
        if entry not in self.created:
            return False
        if not self.branches:
            self.created.discard(entry)
        return True

    def made(self, kind: str, name: str) -> bool:
        return (kind, normal(name)) in self.created

    def made_table(self, name: str) -> bool:
        return any(self.made(kind, name) for kind in RELATIONS)

    def made_column(self, table: str, column: str) -> bool:
        return self.made_table(table) or self.made("column", f"{normal(table)}.{column}")

    def rename(self, kind: str, old: str, new: str) -> None:
        if self.drop(kind, old):
            self.create(kind, new)

    @contextmanager
    def maybe(self) -> Iterator[None]:
        """A branch that may not be taken."""
        self.branches += 1
        try:
            yield
        finally:
            self.branches -= 1
