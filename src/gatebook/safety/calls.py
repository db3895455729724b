"""What is called, and with what: dispatch to those who know Alembic, SQLAlchemy, builtins and files."""

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatebook.safety import files
from gatebook.safety.effects import Effect, Kind
from gatebook.safety.things import (
    DATA,
    Bind,
    Bound,
    Class,
    Clause,
    Column,
    Foreign,
    Function,
    Instance,
    Module,
    Name,
    OneOf,
    Op,
    Scope,
    Sql,
    SqlType,
    Table,
    reaches,
)  # fmt: skip

if TYPE_CHECKING:
    from gatebook.safety.python import Interpreter

RUNNING = (
    "os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "subprocess.", "importlib.", "runpy.", "ctypes.",
    "pickle.", "builtins.exec", "builtins.eval", "builtins.compile", "builtins.__import__", "alembic.command.",
)  # fmt: skip
PASSING_ON = ("contextlib.", "typing.", "copy.", "logging.", "functools.")
EXECUTING = ("execute", "exec_driver_sql", "executemany", "scalar", "scalars", "stream", "stream_scalars")
HARMLESS = {
    "commit", "rollback", "flush", "close", "add", "add_all", "refresh", "expire", "expire_all", "begin", "connect",
    "begin_nested", "cursor", "connection", "execution_options", "get_bind", "raw_connection", "dispose", "merge",
    "invalidate", "in_transaction", "fetchone", "fetchall", "fetchmany", "get", "get_one", "expunge", "expunge_all",
    "no_autoflush", "has_table", "configure", "remove", "detach", "__enter__", "__exit__", "get_transaction", "info",
}  # fmt: skip
UNDECIDED = "name it in the migration itself, as a literal"


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
        text = ast.unparse(self.node.func if isinstance(self.node, ast.Call) else self.node)
        return text if len(text) <= 60 else f"{text[:57]}..."

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


def table_of(interpreter: "Interpreter", owner: Class | Instance) -> Table:
    of = owner.of if isinstance(owner, Instance) else owner
    name = interpreter.member(of, "__tablename__")
    return Table(name if isinstance(name, str) else of.node.name)


def table_name(interpreter: "Interpreter", value: Any) -> str:
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


def call(function: Any, made: Call) -> Any:
    """The value of a call, and its effects."""
    from gatebook.safety.execution import OWNERS

    if isinstance(function, Bound):
        return OWNERS.get(type(function.owner), _of_something)(function, made)
    if isinstance(function, Name):
        return _library(function.path, made)
    if isinstance(function, Foreign):
        return _foreign(function, made)
    if isinstance(function, Bind | Op):
        return function
    if made.reaches and not isinstance(function, Module):
        made.unclear(made.written, f"what it is given can reach the database; {UNDECIDED}")
    return Clause() if isinstance(function, Clause | Column | SqlType | Table) else DATA


def _of_something(function: Bound, made: Call) -> Any:
    """A method of something that does nothing by itself: harmless unless it is given the database."""
    owner, name = function.owner, function.name
    found = files.call(owner, name, made.arguments)
    if found is not None:
        return found
    if made.reaches and name in ("drop", "drop_all"):
        made.emit(name, [Effect(Kind.LOST, f"{name}()", "", f"{made.written} drops what it stands for")])
    elif made.reaches and name not in ("create", "create_all", "inspect", "bind", "append", "add"):
        made.unclear(made.written, f"it is given the database; {UNDECIDED}")
    if isinstance(owner, Sql) and name in ("bindparams", "columns", "execution_options", "label"):
        return owner
    if isinstance(owner, SqlType):
        return owner if name == "with_variant" else DATA
    return Clause() if isinstance(owner, Clause | Column | Sql) else DATA


def _foreign(function: Foreign, made: Call) -> Any:
    """Code that cannot be read: what it executes is read, what it drops is told, what it is given must be harmless."""
    from gatebook.safety.execution import execute

    last = function.name.rsplit(".", 1)[-1]
    is_method = "." in function.name
    if is_method and last in EXECUTING:
        execute(made.written, made.first, made)
        return DATA
    if is_method and last in ("drop", "drop_all"):
        made.emit(last, [Effect(Kind.LOST, f"{last}()", "", f"{made.written} drops what it stands for")])
        return None
    if made.reaches and last not in ("create", "create_all") and not last[:1].isupper():
        made.interpreter.foreign_call(made.node, made.scope, function.name)
        return DATA
    return DATA if is_method and last in HARMLESS else Foreign(f"{function.name}()")


def _library(path: str, made: Call) -> Any:
    """A call of a name of SQLAlchemy, Alembic or the standard library."""
    from gatebook.safety.builtin import builtin
    from gatebook.safety.constructs import alembic, sqlalchemy

    if path.startswith(RUNNING):
        made.unclear(path.removeprefix("builtins."), "it runs code that cannot be seen here; write it out")
        return DATA
    if path.startswith("builtins."):
        return builtin(path.removeprefix("builtins."), made)
    if path.startswith("alembic."):
        return alembic(path, made)
    if path.startswith("sqlalchemy."):
        return sqlalchemy(path, made)
    if path == "functools.partial":
        return _partial(made)
    if path in ("textwrap.dedent", "inspect.cleandoc"):
        return made.first
    found = files.library(path, made.arguments)
    if found is None and made.reaches and not path.startswith(PASSING_ON):
        made.unclear(path, f"it is given the database; {UNDECIDED}")
    return DATA if found is None else found


def _partial(made: Call) -> Any:
    function, rest = made.first, tuple(made.arguments[1:])
    if isinstance(function, Function):
        return Function(function.node, function.scope, (*function.given, *rest), function.named | made.named)
    return Given(function, rest, made.named) if isinstance(function, Bound) else function


@dataclass(frozen=True, eq=False)
class Given:
    """functools.partial of a method: what it is given comes first."""

    function: Bound
    arguments: tuple[Any, ...]
    named: dict[str, Any]


def alternatives_of(value: Any, make: Callable[[Any], Any]) -> Any:
    """The same for each alternative."""
    return OneOf(tuple(make(each) for each in value.values)) if isinstance(value, OneOf) else make(value)
