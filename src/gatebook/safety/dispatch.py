"""A call goes to those who know Alembic, SQLAlchemy, builtins and files; what nobody knows must be harmless."""

from typing import Any

from gatebook.safety import files
from gatebook.safety.builtin import builtin
from gatebook.safety.calls import EXECUTING, HARMLESS, Call
from gatebook.safety.constructs import alembic, sqlalchemy
from gatebook.safety.effects import Effect, Kind
from gatebook.safety.execution import OWNERS, execute
from gatebook.safety.things import (
    DATA,
    Bind,
    Bound,
    Clause,
    Column,
    Foreign,
    Function,
    Given,
    Module,
    Name,
    Op,
    Sql,
    SqlType,
    Table,
)  # fmt: skip

RUNNING = (
    "os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "subprocess.", "importlib.", "runpy.", "ctypes.",
    "pickle.", "builtins.exec", "builtins.eval", "builtins.compile", "builtins.__import__", "alembic.command.",
)  # fmt: skip
PASSING_ON = ("contextlib.", "typing.", "copy.", "logging.", "functools.")
UNDECIDED = "name it in the migration itself, as a literal"


def call(function: Any, made: Call) -> Any:
    """The value of a call, and its effects."""
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
