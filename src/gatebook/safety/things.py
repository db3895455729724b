"""What a value of a migration can be, when nobody runs it.

A value is a constant of Python, a list, tuple or dict of values, or one of these. DATA is harmless and unknown
(a row, a date); FOREIGN comes from code that is not next to the migration, and may do anything when it is called.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatebook.safety.walk import Walk


@dataclass(frozen=True)
class Data:
    """Plain data that is not known before the migration runs."""


@dataclass(frozen=True)
class Foreign:
    """Something imported that could not be read; name as it is written."""

    name: str


@dataclass(frozen=True)
class Name:
    """A name of a library that is understood: 'sqlalchemy.text', 'os.path.join'."""

    path: str


@dataclass(frozen=True)
class OneOf:
    """Different in different branches."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Op:
    """Alembic's operations; table is set inside `with op.batch_alter_table(table)`."""

    table: str | None = None


@dataclass(frozen=True)
class Bind:
    """A connection, engine, cursor or session: what it executes reaches the database."""


@dataclass(frozen=True)
class Sql:
    """A text of SQL that may be executed."""

    text: str


@dataclass(frozen=True)
class Clause:
    """A statement or an expression built with SQLAlchemy that destroys nothing."""


@dataclass(frozen=True)
class Table:
    name: str


@dataclass(frozen=True)
class Write:
    """delete(table) or update(table); is_filtered after where() with something that is not known to be true."""

    verb: str
    table: str
    is_filtered: bool = False


@dataclass(frozen=True)
class Ddl:
    """An object that can drop itself, or a DDL construct: kind of object, name, and 'drop' once it says so."""

    kind: str
    name: str
    verb: str = ""


@dataclass(frozen=True)
class SqlType:
    """A type as SQL, '' when it is not one of SQLAlchemy's own."""

    text: str


@dataclass(frozen=True)
class Column:
    name: str


@dataclass(frozen=True)
class Bound:
    """A method of a value."""

    owner: Any
    name: str


@dataclass(frozen=True, eq=False)
class Given:
    """functools.partial of a method: what it is given comes first."""

    function: Bound
    arguments: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Function:
    """A function that can be followed, with the names around it and the arguments already given."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: "Scope"
    given: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Class:
    """names are what its body defined, and what was set later."""

    node: ast.ClassDef
    scope: "Scope"
    names: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Instance:
    of: Class
    names: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Module:
    """A file next to the migration; its names are evaluated when they are asked for."""

    path: str
    scope: "Scope"


@dataclass(eq=False)
class Scope:
    """Names and their values; those of the scope around are seen through it."""

    names: dict[str, Any]
    path: str
    outer: "Scope | None" = None
    lazy: dict[str, ast.stmt] = field(default_factory=dict)
    elsewhere: dict[str, "Scope"] = field(default_factory=dict)

    def declare(self, node: ast.Global | ast.Nonlocal) -> None:
        """`global` and `nonlocal`: these names belong to a scope further out."""
        for name in node.names:
            here = self.outer
            while here is not None and here.outer is not None:
                if isinstance(node, ast.Nonlocal) and name in here.names:
                    break
                here = here.outer
            if here is not None:
                self.elsewhere[name] = here

    def find(self, name: str, interpreter: "Walk") -> Any:
        here: Scope | None = self
        while here is not None:
            if name in here.lazy and name not in here.names:
                interpreter.define(here, here.lazy.pop(name))
            if name in here.names:
                return here.names[name]
            here = here.outer
        return MISSING


class Missing:
    """No such name."""


@dataclass(frozen=True)
class Rest:
    """In a list or a dict: it may hold more than is seen, and less."""


DATA = Data()
REST = Rest()
MORE = "**"  # among named arguments: there may be others
MISSING = Missing()
REACHING = (Op, Bind)  # what gives a function the means to reach the database


def reaches(value: Any) -> bool:
    """Whether whoever is given this value can reach the database with it."""
    if isinstance(value, OneOf):
        return any(reaches(each) for each in value.values)
    if isinstance(value, list | tuple | set):
        return any(reaches(each) for each in value)
    if isinstance(value, dict):
        return any(reaches(each) for each in value.values())
    return isinstance(value, REACHING) or (isinstance(value, Bound | Given) and reaches(_behind(value)))


def _behind(value: Bound | Given) -> Any:
    return value.owner if isinstance(value, Bound) else value.function


def alternatives(value: Any) -> tuple[Any, ...]:
    return value.values if isinstance(value, OneOf) else (value,)


def either(first: Any, second: Any) -> Any:
    """One of two values, without saying the same twice."""
    found: list[Any] = []
    for each in (*alternatives(first), *alternatives(second)):
        if not any(each is other or (type(each) is type(other) and each == other) for other in found):
            found.append(each)
    return found[0] if len(found) == 1 else OneOf(tuple(found[:16])) if len(found) <= 16 else DATA


def any_of(values: Sequence[Any]) -> Any:
    """One of several values; DATA when there is none."""
    found = [DATA if each is REST else each for each in values]
    result = found[0] if found else DATA
    for each in found[1:]:
        result = either(result, each)
    return result


def is_constant(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool | bytes)


def is_known(value: Any) -> bool:
    """A constant through and through."""
    if isinstance(value, list | tuple | set):
        return all(is_known(each) for each in value)
    if isinstance(value, dict):
        return all(is_known(each) for each in (*value, *value.values()))
    return is_constant(value)
