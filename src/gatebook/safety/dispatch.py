"""A call goes to those who know Alembic, SQLAlchemy, builtins and files; what nobody knows must be harmless."""

from typing import Any

from gatebook.safety import files
from gatebook.safety.builtin import builtin
from gatebook.safety.calls import EXECUTING, HARMLESS, Call
from gatebook.safety.constructs import alembic, deleting, sqlalchemy
from gatebook.safety.effects import Effect, Kind
from gatebook.safety.execution import OWNERS, execute, operation
from gatebook.safety.operations import TAKING_AWAY
from gatebook.safety.things import (
    DATA,
    Bind,
    Bound,
    Clause,
    Column,
    Data,
    Foreign,
    Function,
    Given,
    Module,
    Name,
    Op,
    Sql,
    SqlType,
    Table,
    Write,
    reaches,
)  # fmt: skip

RUNNING = (
    "os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "subprocess.", "importlib.import_module",
    "importlib.reload", "importlib.util.", "importlib.machinery.", "runpy.", "ctypes.", "pickle.", "builtins.exec",
    "builtins.eval", "builtins.compile", "builtins.__import__", "alembic.command.", "alembic.context.impl.",
    "alembic.context.run_migrations",
    "builtins.globals().", "builtins.locals().", "builtins.vars().",
)  # fmt: skip
# By their names in any project: a logger and what it is told, the clock, a text in another language.
EVERYWHERE = ("getLogger", "get_logger", "utcnow", "utc_now", "now", "uuid4", "_", "gettext")
LOGGING = ("debug", "info", "warning", "warn", "error", "exception", "critical", "log")
PASSING_ON = {
    "contextlib.closing": 0, "contextlib.nullcontext": 0, "copy.copy": 0, "copy.deepcopy": 0, "typing.cast": 1,
}  # fmt: skip
UNKNOWN = (Data, Clause, Bound)
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
    if isinstance(function, Data):
        made.unclear(made.written, f"which function is called is not known; {UNDECIDED}")
        return DATA
    if made.reaches and not isinstance(function, Module):
        made.unclear(made.written, f"what it is given can reach the database; {UNDECIDED}")
    return Clause() if isinstance(function, Clause | Column | SqlType | Table) else DATA


def _of_something(function: Bound, made: Call) -> Any:
    """A method of something that does nothing by itself: harmless unless it is given the database."""
    owner, name = function.owner, function.name
    found = files.call(owner, name, made.arguments)
    if found is not None:
        return found
    if name in EXECUTING and (made.arguments or made.named):
        execute(made.written, made.first, made)
        return DATA
    if name in TAKING_AWAY:
        return operation(name, None, made)
    if reaches(owner) and name not in HARMLESS:
        made.unclear(made.written, f"what it does to the database is not known; {UNDECIDED}")
    if name in ("delete", "drop") and not made.arguments and isinstance(owner, UNKNOWN):
        return Write("DELETE", "")
    if made.reaches:
        _given(name, made)
    return _changed(owner, name, made)


def _given(name: str, made: Call) -> None:
    """A method that is given the database."""
    if name in ("drop", "drop_all"):
        made.emit(name, [Effect(Kind.LOST, f"{name}()", "", f"{made.written} drops what it stands for")])
    elif name not in ("create", "create_all", "inspect", "bind", "append", "add"):
        made.unclear(made.written, f"it is given the database; {UNDECIDED}")


def _changed(owner: Any, name: str, made: Call) -> Any:
    """A text, a type or an expression after one of its methods."""
    if isinstance(owner, Sql):
        return owner
    if isinstance(owner, SqlType):
        is_ours = name == "with_variant" and "postgresql" in made.arguments[1:]
        return made.first if is_ours else owner if name == "with_variant" else DATA
    if name == "reverse":
        return DATA
    return (deleting(made.arguments) or Clause()) if isinstance(owner, Clause | Column) else DATA


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
    is_harmless = last in EVERYWHERE or (is_method and (last in HARMLESS or last in LOGGING))
    return DATA if is_harmless else Foreign(f"{function.name}()")


def _library(path: str, made: Call) -> Any:
    """A call of a name of SQLAlchemy, Alembic or the standard library."""
    last = path.rsplit(".", 1)[-1]
    if path == "contextlib.suppress":
        return Name(f"{path}()")
    if path in PASSING_ON:
        return made.arguments[PASSING_ON[path]] if len(made.arguments) > PASSING_ON[path] else DATA
    if last in TAKING_AWAY and not path.startswith("builtins."):
        return operation(last, None, made)
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
    if found is None and made.reaches and not path.startswith("logging."):
        made.unclear(path, f"it is given the database; {UNDECIDED}")
    return DATA if found is None else found


def _partial(made: Call) -> Any:
    function, rest = made.first, tuple(made.arguments[1:])
    if isinstance(function, Function):
        return Function(function.node, function.scope, (*function.given, *rest), function.named | made.named)
    return Given(function, rest, made.named) if isinstance(function, Bound) else function
