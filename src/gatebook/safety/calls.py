"""One call, and the attributes and names that calls are made of."""

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatebook.safety import files
from gatebook.safety.effects import Effect
from gatebook.safety.texts import written
from gatebook.safety.things import (
    DATA,
    Bind,
    Bound,
    Class,
    Clause,
    Column,
    Foreign,
    Instance,
    Name,
    OneOf,
    Op,
    Scope,
    Sql,
    Table,
    reaches,
)  # fmt: skip

if TYPE_CHECKING:
    from gatebook.safety.python import Interpreter
    from gatebook.safety.walk import Walk

EXECUTING = ("execute", "exec_driver_sql", "executemany", "scalar", "scalars", "stream", "stream_scalars")
HARMLESS = {
    "commit", "rollback", "flush", "close", "add", "add_all", "refresh", "expire", "expire_all", "begin", "connect",
    "begin_nested", "cursor", "connection", "execution_options", "get_bind", "raw_connection", "dispose", "merge",
    "invalidate", "in_transaction", "fetchone", "fetchall", "fetchmany", "get", "get_one", "expunge", "expunge_all",
    "no_autoflush", "has_table", "configure", "remove", "detach", "__enter__", "__exit__", "get_transaction", "info",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call: who follows it, what it is given, and where it stands."""

    interpreter: "Interpreter"
    arguments: list[Any]
    named: dict[str, Any]
    node: ast.expr
    scope: Scope

    @property
    def first(self) -> Any:
        """The first argument, by place or by name."""
        return self.arguments[0] if self.arguments else next(iter(self.named.values()), DATA)

    @property
    def reaches(self) -> bool:
        return reaches([*self.arguments, *self.named.values()])

    @property
    def written(self) -> str:
        """What is called, as it stands there."""
        return written(self.node.func if isinstance(self.node, ast.Call) else self.node)

    def emit(self, label: str, effects: Iterable[Effect], *, sql: str = "") -> None:
        self.interpreter.emit(self.scope, self.node, label, effects, sql=sql)

    def unclear(self, label: str, detail: str) -> None:
        self.interpreter.unclear(self.scope, self.node, label, detail)

    def again(self, function: Any, *arguments: Any) -> Any:
        """Call something else from the same place."""
        return self.interpreter.call(function, list(arguments), self.named, self.node, self.scope)


def known_name(path: str) -> Any:
    """A dotted name of a library; `alembic.op` and what hangs on it is known well."""
    if path in ("alembic.op", "alembic.operations.Operations"):
        return Op()
    if path.startswith("alembic.op."):
        return Bound(Op(), path.removeprefix("alembic.op."))
    if path.startswith("alembic.context.") and path.rsplit(".", 1)[-1] in ("bind", "connection"):
        return Bind()
    return Name(path)


def attribute(owner: Any, name: str) -> Any:
    """An attribute of a value that is understood."""
    if isinstance(owner, Bind):
        if name in ("dialect", "info"):
            return DATA
        if name in ("connection", "engine", "bind", "session", "sync_connection", "sync_engine"):
            return Bind()
    if isinstance(owner, Table | Column) and name in ("c", "columns"):
        return Clause()
    if isinstance(owner, Sql) and name == "text":
        return owner.text
    found = files.attribute(owner, name)
    return Bound(owner, name) if found is None else found


def item(owner: Any, key: Any) -> Any:
    """`owner[key]` of a value that is understood."""
    if isinstance(owner, Name) and owner.path.endswith("()"):
        return Foreign(f"{owner.path.removeprefix('builtins.')}[{key if isinstance(key, str) else '…'}]")
    return Clause() if isinstance(owner, Clause) else DATA


def table_of(interpreter: "Walk", owner: Class | Instance) -> Table:
    of = owner.of if isinstance(owner, Instance) else owner
    name = interpreter.member(of, "__tablename__")
    return Table(name if isinstance(name, str) else of.node.name)


def table_name(interpreter: "Walk", value: Any) -> str:
    """The table that a value stands for: a table, a model, a column of a model."""
    if isinstance(value, Table):
        return value.name
    if isinstance(value, Class | Instance):
        return table_of(interpreter, value).name
    if isinstance(value, Bound) and isinstance(value.owner, Class):
        return table_of(interpreter, value.owner).name
    return value.name.rsplit(".", 1)[-1] if isinstance(value, Foreign) else ""


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def alternatives_of(value: Any, make: Callable[[Any], Any]) -> Any:
    """The same for each alternative."""
    return OneOf(tuple(make(each) for each in value.values)) if isinstance(value, OneOf) else make(value)
