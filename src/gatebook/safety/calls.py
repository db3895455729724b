"""What Alembic's operations, SQLAlchemy and the standard library do when they are called."""

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gatebook.safety import files
from gatebook.safety.effects import Effect, Kind
from gatebook.safety.operations import OPERATIONS, ask_sql
from gatebook.safety.predicates import is_effective
from gatebook.safety.sql import read_sql
from gatebook.safety.sqltypes import is_type, sql_type
from gatebook.safety.things import (
    DATA,
    Bind,
    Bound,
    Class,
    Clause,
    Column,
    Data,
    Ddl,
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
    Write,
    alternatives,
    is_constant,
    reaches,
)  # fmt: skip

if TYPE_CHECKING:
    from gatebook.safety.python import Interpreter

RUNNING = ("os.system", "os.popen", "os.exec", "os.spawn", "os.posix_spawn", "subprocess.", "importlib.", "runpy.",
           "ctypes.", "pickle.", "builtins.exec", "builtins.eval", "builtins.compile", "builtins.__import__",
           "alembic.command.")  # fmt: skip
EXECUTING = ("execute", "exec_driver_sql", "executemany", "scalar", "scalars", "stream", "stream_scalars")
HARMLESS = ("commit", "rollback", "flush", "close", "add", "add_all", "refresh", "expire", "expire_all", "begin",
            "connect", "begin_nested", "cursor", "connection", "execution_options", "get_bind", "raw_connection",
            "bulk_save_objects", "bulk_insert_mappings", "dispose", "invalidate", "in_transaction", "fetchone",
            "fetchall", "fetchmany", "merge", "get", "get_one", "expunge", "expunge_all", "no_autoflush", "has_table",
            "configure", "remove", "sync_engine", "detach", "__enter__", "__exit__", "get_transaction", "info")  # fmt: skip
BINDS = ("create_engine", "create_async_engine", "engine_from_config", "async_engine_from_config", "Session",
         "sessionmaker", "AsyncSession", "async_sessionmaker", "scoped_session", "Connection", "object_session")  # fmt: skip
DROPS = {"DropTable": "table", "DropSchema": "schema", "DropIndex": "index", "DropSequence": "sequence",
         "DropConstraint": "constraint", "DropView": "view", "DropTableOp": "table", "DropColumnOp": "column",
         "DropIndexOp": "index", "DropConstraintOp": "constraint", "DropColumn": "column", "DropEnumType": "type"}  # fmt: skip
UNDECIDED = "name it in the migration itself, as a literal"


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
    """An attribute of a value that this module understands."""
    if isinstance(owner, Bind):
        if name in ("dialect", "info"):
            return DATA
        if name in ("connection", "engine", "bind", "session", "sync_connection"):
            return Bind()
    if isinstance(owner, Table | Column) and name in ("c", "columns"):
        return Clause()
    if isinstance(owner, Sql) and name == "text":
        return owner.text
    found = files.attribute(owner, name)
    return Bound(owner, name) if found is None else found


def item(owner: Any, key: Any, _interpreter: "Interpreter") -> Any:
    if isinstance(owner, Name) and owner.path in ("builtins.globals()", "builtins.locals()"):
        return Foreign(f"{owner.path.removeprefix('builtins.')}[{key if is_constant(key) else '…'}]")
    return Clause() if isinstance(owner, Clause) else DATA


def table_of(interpreter: "Interpreter", owner: Class | Instance) -> Table:
    of = owner.of if isinstance(owner, Instance) else owner
    name = interpreter.member(of, "__tablename__")
    return Table(name if isinstance(name, str) else of.node.name)


def call(
    interpreter: "Interpreter", function: Any, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope
) -> Any:
    """The value of a call, and its effects."""
    if isinstance(function, Bound):
        handler = OWNERS.get(type(function.owner), _of_something)
        return handler(interpreter, function, arguments, named, node, scope)
    if isinstance(function, Name):
        return _library(interpreter, function.path, arguments, named, node, scope)
    if isinstance(function, Foreign):
        return _foreign(interpreter, function, arguments, named, node, scope)
    if isinstance(function, Bind | Op):
        return function
    if isinstance(function, Module):
        return DATA
    if reaches([*arguments, *named.values()]):
        interpreter.unclear(scope, node, _written(node), f"what it is given can reach the database; {UNDECIDED}")
    return Clause() if isinstance(function, Clause | Column | SqlType | Table) else DATA


def _written(node: ast.expr) -> str:
    text = ast.unparse(node.func) if isinstance(node, ast.Call) else ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."


def _operation(
    interpreter: "Interpreter",
    function: Bound,
    arguments: list[Any],
    named: dict[str, Any],
    node: ast.expr,
    scope: Scope,
) -> Any:
    """op.something()"""
    name = function.name
    label = f"op.{name}"
    if name == "execute":
        execute(interpreter, "op.execute", arguments[:1] or [named.get("sqltext", DATA)], node, scope)
        return None
    if name == "batch_alter_table":
        table = arguments[0] if arguments else named.get("table_name", DATA)
        return Op(_known_text(table))
    if name in ("get_bind", "get_context"):
        return Bind() if name == "get_bind" else Name("alembic.context")
    if name in ("f", "inline_literal"):
        return arguments[0] if arguments else DATA
    if name == "run_async":
        return interpreter.call(arguments[0], [Bind(), *arguments[1:]], named, node, scope) if arguments else DATA
    if name == "invoke":
        execute(interpreter, "op.invoke", arguments[:1], node, scope)
        return None
    handler = OPERATIONS.get(name)
    interpreter.statements += 1
    if handler is None:
        interpreter.statements -= 1
        interpreter.unclear(
            scope, node, label, f"{label} is not one of Alembic's own operations; use those, or plain SQL"
        )
        return DATA
    effects = handler(interpreter.known, function.owner.table, arguments, named)
    interpreter.emit(scope, node, label, effects)
    return Table(_known_text(arguments[0])) if name == "create_table" and arguments else None


def _known_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def execute(interpreter: "Interpreter", label: str, values: list[Any], node: ast.expr, scope: Scope) -> None:
    """Something is executed: a text, a statement, or a construct, in each of its alternatives."""
    for value in alternatives(values[0] if values else DATA):
        if isinstance(value, str | Sql):
            text = value if isinstance(value, str) else value.text
            reading = read_sql(text, interpreter.known)
            interpreter.statements += reading.statements
            interpreter.unresolved += reading.unresolved
            interpreter.emit(scope, node, label, reading.effects, sql=text)
        elif isinstance(value, Write | Ddl):
            interpreter.statements += 1
            interpreter.emit(scope, node, label, _of_construct(interpreter, value))
        elif isinstance(value, Clause | Table):
            interpreter.statements += 1
            interpreter.emit(scope, node, label, ())
        else:
            what = f"what {label} executes is not known; write it as a literal, or build it from literals"
            interpreter.unclear(scope, node, label, what)


def _of_construct(interpreter: "Interpreter", value: Write | Ddl) -> list[Effect]:
    if isinstance(value, Write):
        return _of_write(interpreter, value)
    if value.verb != "drop":
        return []
    if value.name and interpreter.known.drop(value.kind, value.name):
        return []
    pattern = f"DROP {value.kind.upper()}" if value.kind != "metadata" else "MetaData.drop_all"
    kind = {"index": Kind.GUARD, "view": Kind.GUARD, "constraint": Kind.CONSTRAINT}.get(value.kind, Kind.LOST)
    what = "drops every table it knows" if value.kind == "metadata" else f"drops {value.kind} {value.name}".strip()
    return [Effect(kind, pattern, value.name, what)]


def _of_write(interpreter: "Interpreter", value: Write) -> list[Effect]:
    if value.table and interpreter.known.made_table(value.table):
        return []
    name = value.table or "a table"
    if value.verb == "UPDATE":
        return [Effect(Kind.FILTERED, "UPDATE", value.table, f"changes rows of {name}")]
    if value.is_filtered:
        return [Effect(Kind.FILTERED, "DELETE FROM … WHERE", value.table, f"deletes the rows of {name} that match")]
    return [Effect(Kind.LOST, "DELETE FROM … (all rows)", value.table, f"deletes every row of {name}")]


def _connection(
    interpreter: "Interpreter",
    function: Bound,
    arguments: list[Any],
    named: dict[str, Any],
    node: ast.expr,
    scope: Scope,
) -> Any:
    """A method of a connection, an engine, a cursor or a session."""
    name = function.name
    if name in EXECUTING:
        given = arguments[:1] or [next(iter(named.values()), DATA)]
        execute(interpreter, name if name != "execute" else "execute", given, node, scope)
        return DATA
    if name == "run_sync" or (name in ("run_callable", "transaction") and arguments):
        return interpreter.call(arguments[0], [Bind(), *arguments[1:]], named, node, scope) if arguments else DATA
    if name == "query":
        return Write("QUERY", _table_name(interpreter, arguments[0] if arguments else DATA))
    if name == "delete":
        interpreter.statements += 1
        effect = Effect(Kind.LOST, "session.delete", "", "deletes rows that code chooses; which ones is not known")
        interpreter.emit(scope, node, "session.delete", [effect])
        return None
    if name in HARMLESS or name.startswith(("bulk_insert", "bulk_save", "is_", "get_")):
        connecting = ("connect", "begin", "begin_nested", "cursor", "connection", "execution_options", "get_bind")
        return Bind() if name in (*connecting, "raw_connection", "configure") else DATA
    if name.startswith("bulk_update"):
        interpreter.emit(scope, node, name, [Effect(Kind.FILTERED, "UPDATE", "", "changes rows that code chooses")])
        return None
    interpreter.unclear(scope, node, f"….{name}", f"what {name} does to the database is not known; use execute()")
    return DATA


def _table_name(interpreter: "Interpreter", value: Any) -> str:
    if isinstance(value, Table):
        return value.name
    if isinstance(value, Class | Instance):
        return table_of(interpreter, value).name
    if isinstance(value, Bound) and isinstance(value.owner, Class):
        return table_of(interpreter, value.owner).name
    return value.name.rsplit(".", 1)[-1] if isinstance(value, Foreign) else ""


def _table(
    interpreter: "Interpreter",
    function: Bound,
    arguments: list[Any],
    named: dict[str, Any],
    node: ast.expr,
    scope: Scope,
) -> Any:
    table = function.owner.name
    if function.name in ("delete", "update"):
        return _filtered(Write(function.name.upper(), table), arguments)
    if function.name == "drop":
        interpreter.statements += 1
        interpreter.emit(scope, node, "Table.drop", _of_construct(interpreter, Ddl("table", table, "drop")))
        return None
    if function.name == "create":
        interpreter.statements += 1
        if not named.get("checkfirst"):
            interpreter.known.create("table", table)
        return None
    return Table(table) if function.name in ("alias", "to_metadata") else Clause()


def _write(
    interpreter: "Interpreter",
    function: Bound,
    arguments: list[Any],
    named: dict[str, Any],
    node: ast.expr,
    scope: Scope,
) -> Any:
    """delete(t).where(…), and session.query(t).filter(…).delete()"""
    owner: Write = function.owner
    if function.name in ("where", "filter", "filter_by"):
        return _filtered(owner, [*arguments, *named.values()])
    if owner.verb == "QUERY" and function.name in ("delete", "update"):
        write = Write(function.name.upper(), owner.table, owner.is_filtered)
        interpreter.statements += 1
        interpreter.emit(scope, node, f"query.{function.name}", _of_write(interpreter, write))
        return DATA
    if owner.verb == "QUERY" and function.name in ("all", "first", "one", "one_or_none", "count", "scalar", "get"):
        interpreter.statements += 1
        return DATA
    return owner


def _filtered(write: Write, conditions: list[Any]) -> Write:
    """Only a condition that is not known to be true keeps a row out."""
    is_filtered = write.is_filtered or any(_keeps_rows(each) for each in conditions)
    return Write(write.verb, write.table, is_filtered)


def _keeps_rows(condition: Any) -> bool:
    if isinstance(condition, str | Sql):
        text = condition if isinstance(condition, str) else condition.text
        where = ask_sql(f"SELECT 1 WHERE {text}")
        return bool(where is None or is_effective(where.whereClause))
    return condition is not True and condition is not None


def _ddl(
    interpreter: "Interpreter",
    function: Bound,
    arguments: list[Any],
    named: dict[str, Any],
    node: ast.expr,
    scope: Scope,
) -> Any:
    """Enum.drop, MetaData.drop_all, Index.drop, …"""
    owner: Ddl = function.owner
    if function.name in ("drop", "drop_all"):
        interpreter.statements += 1
        label = "MetaData.drop_all" if owner.kind == "metadata" else f"{owner.kind}.drop"
        interpreter.emit(scope, node, label, _of_construct(interpreter, Ddl(owner.kind, owner.name, "drop")))
        return None
    if function.name in ("create", "create_all"):
        interpreter.statements += 1
        if owner.name and named.get("checkfirst") is False:
            interpreter.known.create(owner.kind, owner.name)
        return None
    return owner if function.name in ("with_variant", "adapt", "copy") else DATA


def _of_something(
    interpreter: "Interpreter",
    function: Bound,
    arguments: list[Any],
    named: dict[str, Any],
    node: ast.expr,
    scope: Scope,
) -> Any:
    """A method of something that does nothing by itself: harmless unless it is given the database."""
    owner, name = function.owner, function.name
    found = files.call(owner, name, arguments)
    if found is not None:
        return found
    given = [*arguments, *named.values()]
    if reaches(given) and name not in ("bind", "append", "add"):
        if name in ("drop", "drop_all"):
            effect = Effect(Kind.LOST, f"{name}()", "", "drops what it stands for")
            interpreter.emit(scope, node, name, [effect])
        elif name not in ("create", "create_all", "inspect"):
            interpreter.unclear(scope, node, _written(node), f"it is given the database; {UNDECIDED}")
    if isinstance(owner, Sql) and name in ("bindparams", "columns", "execution_options", "label"):
        return owner
    if isinstance(owner, SqlType):
        return owner if name == "with_variant" else DATA
    return Clause() if isinstance(owner, Clause | Column | Sql) else DATA


def _foreign(
    interpreter: "Interpreter",
    function: Foreign,
    arguments: list[Any],
    named: dict[str, Any],
    node: ast.expr,
    scope: Scope,
) -> Any:
    last = function.name.rsplit(".", 1)[-1]
    if last in EXECUTING and "." in function.name:
        execute(interpreter, _written(node), arguments[:1], node, scope)
        return DATA
    given = [*arguments, *named.values()]
    if last in ("drop", "drop_all") and "." in function.name:
        interpreter.emit(
            scope, node, last, [Effect(Kind.LOST, f"{last}()", "", f"{_written(node)} drops what it stands for")]
        )
        return None
    if reaches(given) and last not in ("create", "create_all") and not last[:1].isupper():
        interpreter.foreign_call(node, scope, function.name)
        return DATA
    if last in HARMLESS and "." in function.name:
        return DATA
    return Foreign(f"{function.name}()")


def _library(
    interpreter: "Interpreter", path: str, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope
) -> Any:
    """A call of a name of SQLAlchemy, Alembic or the standard library."""
    if path.startswith(RUNNING):
        interpreter.unclear(
            scope, node, path.removeprefix("builtins."), "it runs code that cannot be seen here; write it out"
        )
        return DATA
    if path.startswith("builtins."):
        return _builtin(interpreter, path.removeprefix("builtins."), arguments, named, node, scope)
    if path.startswith("alembic."):
        return _alembic(interpreter, path, arguments, named, node, scope)
    if path.startswith("sqlalchemy."):
        return _sqlalchemy(interpreter, path.rsplit(".", 1)[-1], arguments, named, path)
    if path == "functools.partial" and arguments:
        return _partial(arguments[0], arguments[1:], named)
    if path in ("textwrap.dedent", "inspect.cleandoc") and arguments:
        return OneOf(tuple(arguments[0].values)) if isinstance(arguments[0], OneOf) else arguments[0]
    found = files.library(path, arguments)
    if found is not None:
        return found
    if reaches([*arguments, *named.values()]) and not path.startswith(("contextlib.", "typing.", "copy.", "logging.")):
        interpreter.unclear(scope, node, path, f"it is given the database; {UNDECIDED}")
    return DATA


def _partial(function: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
    if isinstance(function, Function):
        return Function(function.node, function.scope, (*function.given, *arguments), function.named | named)
    return function


def _alembic(
    interpreter: "Interpreter", path: str, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope
) -> Any:
    last = path.rsplit(".", 1)[-1]
    if last in DROPS:
        name = arguments[0] if arguments else named.get("table_name", "")
        return Ddl(DROPS[last], _known_text(name), "drop")
    if last in ("get_context", "MigrationContext") or path.endswith("MigrationContext.configure"):
        return Name("alembic.context")
    if last in ("get_bind", "connection"):
        return Bind()
    if last == "execute":
        execute(interpreter, "context.execute", arguments[:1], node, scope)
        return None
    return Clause() if last.endswith("Op") else DATA


def _sqlalchemy(interpreter: "Interpreter", last: str, arguments: list[Any], named: dict[str, Any], path: str) -> Any:
    """A constructor or function of SQLAlchemy, by its last name."""
    first = arguments[0] if arguments else next(iter(named.values()), None)
    if last in ("text", "DDL", "literal_column", "TextClause"):
        return _as_sql(first)
    if last in ("delete", "update"):
        return Write(last.upper(), _table_name(interpreter, first))
    if last in ("Table", "table", "TableClause"):
        return Table(_known_text(first))
    if last in BINDS:
        return Bind()
    if last in ("true", "false"):
        return last == "true"
    if last in DROPS:
        return Ddl(DROPS[last], _table_name(interpreter, first) or _known_text(getattr(first, "name", first)), "drop")
    if last in ("Enum", "ENUM", "Sequence", "Index", "DOMAIN"):
        name = named.get("name", first if last in ("Sequence", "Index", "DOMAIN") else "")
        kind = {"Sequence": "sequence", "Index": "index"}.get(last, "type")
        return Ddl(kind, _known_text(name))
    if last in ("MetaData", "declarative_base", "automap_base") or path.endswith(".metadata"):
        return Ddl("metadata", "") if last == "MetaData" else Clause()
    if last in ("Column", "column"):
        return Column(_known_text(first))
    if last == "inspect":
        return DATA
    return sql_type(last, arguments, named) if is_type(last) else Clause()


def _as_sql(value: Any) -> Any:
    if isinstance(value, OneOf):
        return OneOf(tuple(_as_sql(each) for each in value.values))
    return Sql(value) if isinstance(value, str) else DATA


def _builtin(
    interpreter: "Interpreter", name: str, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope
) -> Any:
    """A builtin function, or a name that nobody has defined."""
    if name in BUILTINS:
        return BUILTINS[name](interpreter, arguments, node, scope)
    if name in ("globals", "locals", "vars"):
        return Name(f"builtins.{name}()")
    if name in ("setattr", "delattr") and reaches(arguments[:1]):
        interpreter.unclear(scope, node, name, "an operation is replaced; what is called later cannot be seen")
        return None
    if name == "open":
        return files.opened(arguments, scope.path) or DATA
    if name in HARMLESS_BUILTINS:
        return DATA
    star = scope.find("*", interpreter)
    if isinstance(star, Name | Foreign):
        return interpreter.call(interpreter.attribute_of(star, name), arguments, named, node, scope)
    if name[:1].isupper() and name.endswith(("Error", "Exception", "Warning", "Interrupt", "Exit")):
        return DATA
    return Foreign(f"{name}()")


def _getattr(interpreter: "Interpreter", arguments: list[Any], _node: ast.expr, _scope: Scope) -> Any:
    if len(arguments) > 1 and isinstance(arguments[1], str):
        return interpreter.attribute_of(arguments[0], arguments[1])
    if len(arguments) > 1 and isinstance(arguments[1], OneOf):
        return OneOf(tuple(interpreter.attribute_of(arguments[0], str(each)) for each in arguments[1].values))
    return Bound(arguments[0], "an unknown operation") if arguments and reaches(arguments[0]) else DATA


def _map(interpreter: "Interpreter", arguments: list[Any], node: ast.expr, scope: Scope) -> Any:
    items = interpreter.items(arguments[1]) if len(arguments) > 1 else None
    if items is None:
        interpreter.call(arguments[0], [DATA], {}, node, scope) if arguments else None
        return DATA
    return [interpreter.call(arguments[0], [each], {}, node, scope) for each in items]


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A builtin over values that can be counted."""

    def handler(interpreter: "Interpreter", arguments: list[Any], _node: ast.expr, _scope: Scope) -> Any:
        lists = [interpreter.items(each) if not is_constant(each) else each for each in arguments]
        if any(each is None and not is_constant(argument) for each, argument in zip(lists, arguments, strict=True)):
            return DATA
        try:
            found = function(*lists)
        except (TypeError, ValueError, OverflowError, MemoryError):
            return DATA
        return found

    return handler


def _limited(*arguments: Any) -> list[int] | Data:
    numbers = range(*arguments)
    return list(numbers) if len(numbers) <= 10_000 else DATA


def _as_text(_interpreter: "Interpreter", arguments: list[Any], _node: ast.expr, _scope: Scope) -> Any:
    value = arguments[0] if arguments else ""
    return value.text if isinstance(value, Sql) else str(value) if is_constant(value) else DATA


BUILTINS: dict[str, Callable[..., Any]] = {
    "getattr": _getattr,
    "map": _map,
    "str": _as_text,
    "list": _plain(lambda value=(): list(value)),
    "tuple": _plain(lambda value=(): tuple(value)),
    "reversed": _plain(lambda value: list(reversed(list(value)))),
    "enumerate": _plain(lambda value, start=0: [tuple(each) for each in enumerate(value, start)]),
    "zip": _plain(lambda *values: [tuple(each) for each in zip(*values, strict=False)]),
    "range": _plain(_limited),
    "sorted": _plain(lambda value, *_: sorted(value)),
    "set": _plain(lambda value=(): list(value)),
    "frozenset": _plain(lambda value=(): list(value)),
}
HARMLESS_BUILTINS = {
    "print", "len", "int", "float", "bool", "dict", "bytes", "isinstance", "issubclass", "hasattr", "any", "all",
    "sum", "min", "max", "abs", "round", "repr", "type", "super", "iter", "next", "id", "hash", "filter", "callable",
    "chr", "ord", "hex", "format", "slice", "object", "divmod", "pow", "input", "staticmethod", "classmethod", "property",
}  # fmt: skip

OWNERS: dict[type, Callable[..., Any]] = {
    Op: _operation,
    Bind: _connection,
    Table: _table,
    Write: _write,
    Ddl: _ddl,
}
