"""What an upgrade has made so far: rows of a table made here cannot be lost, and functions made here may be called."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gatebook.safety.effects import Effect

# Sequences are made along with identity columns and serials, so dropping one is judged by its table alone.
RELATIONS = ("table", "materialized view")  # what holds rows of its own


def normal(name: str) -> str:
    """A name without the schema public, as both `t` and `public.t` mean one table."""
    return name.removeprefix("public.")


@dataclass
class Known:
    """Grows while an upgrade is read. What is made in a branch that may not be taken does not count.

    fired      what writing to a table sets off by its triggers and rules
    temporary  names that stand for a temporary table; with a schema they stand for another
    """

    created: set[tuple[str, str]] = field(default_factory=set)
    functions: dict[str, tuple[Effect, ...]] = field(default_factory=dict)
    prepared: dict[str, tuple[Effect, ...]] = field(default_factory=dict)
    fired: dict[str, tuple[Effect, ...]] = field(default_factory=dict)
    temporary: set[str] = field(default_factory=set)
    branches: int = 0

    def create(self, kind: str, name: str, *, is_temporary: bool = False) -> None:
        if not self.branches and name:
            self.created.add((kind, normal(name)))
            (self.temporary.add if is_temporary else self.temporary.discard)(name)

    def forget(self) -> None:
        """A rollback, or another search_path: what a name stands for is open again."""
        self.created.clear()

    def fires(self, table: str, effects: tuple[Effect, ...]) -> None:
        """A trigger or a rule of a table that does more than it shows."""
        self.fired[normal(table)] = _each_once(*self.fired.get(normal(table), ()), *effects)

    def define(self, name: str, effects: tuple[Effect, ...], *, kind: str, is_new: bool) -> None:
        """A function or procedure; those of one name and other parameters are not told apart."""
        self.functions[name] = _each_once(*self.functions.get(name, ()), *effects)
        if is_new:
            self.create(kind, name)

    def has_function(self, name: str) -> bool:
        return any(each.rpartition(".")[2] == name.rpartition(".")[2] for each in self.functions)

    def function(self, name: str) -> tuple[Effect, ...]:
        """The effects of a function made here, in whichever schema it was made."""
        if name in self.functions:
            return self.functions[name]
        last = name.rpartition(".")[2]
        return next((found for each, found in self.functions.items() if each.rpartition(".")[2] == last), ())

    def not_only_ours(self, kind: str, name: str) -> None:
        """Something that was there before came to be in it, or took its name."""
        self.created.discard((kind, normal(name)))

    def not_only_our_rows(self, table: str) -> None:
        """Rows that were there before came to be in it: a partition, a child."""
        for kind in RELATIONS:
            self.not_only_ours(kind, table)

    def drop(self, kind: str, name: str) -> bool:
        """Was it made here? Then it is gone now, and nothing else is."""
        entry = (kind, normal(name))
        if not self.made(kind, name):
            return False
        if not self.branches:
            self.created.discard(entry)
        return True

    def made(self, kind: str, name: str) -> bool:
        is_hidden = name != normal(name) and normal(name) in self.temporary
        return (kind, normal(name)) in self.created and not is_hidden

    def made_table(self, name: str) -> bool:
        return any(self.made(kind, name) for kind in RELATIONS)

    def made_column(self, table: str, column: str) -> bool:
        return self.made_table(table) or self.made("column", f"{normal(table)}.{column}")

    def rename(self, kind: str, old: str, new: str) -> None:
        """What is made here keeps that under its new name; what is not takes the name from what had it."""
        if self.drop(kind, old):
            self.create(kind, new, is_temporary=old in self.temporary)
        else:
            self.not_only_ours(kind, new)
        prefixes = (f"{normal(old)}.", f"{normal(new)}.")
        if kind in RELATIONS:
            self.created = {each for each in self.created if not each[1].startswith(prefixes) or each[0] in RELATIONS}

    @contextmanager
    def perhaps_in_part(self, *, is_whole: bool) -> Iterator[None]:
        """Lines that may end before their last: what they make counts among themselves, and not afterwards."""
        before = set(self.created)
        yield
        if not is_whole:
            self.created &= before

    @contextmanager
    def maybe(self) -> Iterator[None]:
        """A branch that may not be taken."""
        self.branches += 1
        try:
            yield
        finally:
            self.branches -= 1


def _each_once(*effects: Effect) -> tuple[Effect, ...]:
    """A function that calls another twice does no more than once."""
    return tuple(dict.fromkeys(effects))
