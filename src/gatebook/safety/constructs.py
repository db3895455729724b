"""Constructors and functions of SQLAlchemy and Alembic, by their names."""

from collections.abc import Callable
from typing import Any

from gatebook.safety.calls import Call, alternatives_of, table_name, text_of
from gatebook.safety.execution import execute
from gatebook.safety.functions import listed, sounds_destructive
from gatebook.safety.sqltypes import is_type, sql_type
from gatebook.safety.things import DATA, Bind, Bound, Clause, Column, Ddl, Name, Sql, Table, Write

BINDS = {
    "create_engine", "create_async_engine", "engine_from_config", "async_engine_from_config", "Session",
    "sessionmaker", "AsyncSession", "async_sessionmaker", "scoped_session", "Connection", "object_session",
}  # fmt: skip
DROPS = {
    "DropTable": "table", "DropSchema": "schema", "DropIndex": "index", "DropSequence": "sequence",
    "DropConstraint": "constraint", "DropView": "view", "DropTableOp": "table", "DropColumnOp": "column",
    "DropIndexOp": "index", "DropConstraintOp": "constraint", "DropColumn": "column", "DropEnumType": "type",
}  # fmt: skip
OBJECTS = {"Sequence": "sequence", "Index": "index", "Enum": "type", "ENUM": "type", "DOMAIN": "type"}


LOGIC: dict[str, Callable[[list[bool]], bool]] = {
    "true": lambda _: True, "false": lambda _: False, "or_": any, "and_": all, "not_": lambda given: not all(given),
    "literal": all,
}  # fmt: skip


def alembic(path: str, made: Call) -> Any:
    """alembic.context, alembic.migration and the constructs of alembic.operations.ops."""
    last = path.rsplit(".", 1)[-1]
    if last in DROPS:
        return Ddl(DROPS[last], text_of(made.first), "drop")
    if last in ("get_context", "MigrationContext") or path.endswith("MigrationContext.configure"):
        return Name("alembic.context")
    if last in ("get_bind", "connection"):
        return Bind()
    if last == "execute":
        execute("context.execute", made.first, made)
        return None
    return Clause() if last.startswith(("Create", "Add", "Rename", "BulkInsert")) else DATA


def sqlalchemy(path: str, made: Call) -> Any:
    """A name of SQLAlchemy, by its last part."""
    last, first = path.rsplit(".", 1)[-1], made.first
    if path.startswith(("sqlalchemy.event.", "sqlalchemy.ext.compiler.")):
        return _hook(last, made)
    if last in ("text", "DDL", "literal_column", "TextClause"):
        return alternatives_of(first, lambda each: Sql(each) if isinstance(each, str) else DATA)
    if last in ("delete", "update"):
        return Write(last.upper(), table_name(made.interpreter, first))
    if last in ("Table", "table", "TableClause"):
        return Table(text_of(first))
    if last in BINDS:
        return Bind()
    if last in LOGIC and all(isinstance(each, bool) for each in made.arguments):
        return LOGIC[last](made.arguments)
    if last == "or_" and any(each is True for each in made.arguments):
        return True
    if path.startswith("sqlalchemy.func."):
        _function(last, made)
    return _element(last, made)


def _element(last: str, made: Call) -> Any:
    """An object of a schema, a type, or an expression."""
    first = made.first
    if last in DROPS:
        name = table_name(made.interpreter, first) or text_of(getattr(first, "name", first))
        return Ddl(DROPS[last], name, "drop")
    if last in OBJECTS:
        is_named_first = last in ("Sequence", "Index", "DOMAIN")
        return Ddl(OBJECTS[last], text_of(made.named.get("name", first if is_named_first else "")))
    if last == "MetaData":
        return Ddl("metadata", "")
    if last in ("Column", "column"):
        return Column(text_of(first))
    if last == "inspect":
        return DATA
    if is_type(last):
        return sql_type(last, made.arguments, made.named)
    return deleting(made.arguments) or Clause()


def _hook(name: str, made: Call) -> Any:
    """SQLAlchemy's events, and @compiles: what runs later, and what is written otherwise."""
    for each in made.arguments:
        if isinstance(each, Sql):
            execute(f"event.{name}", each, made)
    if name == "compiles" and isinstance(made.first, Name) and not is_type(made.first.path.rsplit(".", 1)[-1]):
        made.unclear("compiles", "SQLAlchemy then writes other SQL than is seen here; execute it as a text")
    return DATA


def deleting(arguments: list[Any]) -> Write | None:
    """A DELETE inside another statement, as a common table expression."""
    for each in arguments:
        while isinstance(each, Bound):
            each = each.owner
        if isinstance(each, Write) and each.verb == "DELETE":
            return each
    return None


def _function(name: str, made: Call) -> None:
    """func.name(…): a function made here, or one that destroys, is taken to be called."""
    if made.interpreter.known.function(name) or listed(name) or sounds_destructive(name):
        texts = ", ".join(f"$gatebook${each}$gatebook$" for each in made.arguments if isinstance(each, str))
        execute(f"func.{name}", f"SELECT {name}({texts})", made)
