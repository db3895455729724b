"""What reaches the database: Alembic's operations, connections and sessions, statements and objects of SQLAlchemy."""

from collections.abc import Callable
from typing import Any

from gatebook.safety.calls import EXECUTING, HARMLESS, Call, table_name, text_of
from gatebook.safety.effects import Effect, Kind
from gatebook.safety.known import Known
from gatebook.safety.operations import OPERATIONS, ask_sql
from gatebook.safety.predicates import is_effective
from gatebook.safety.sql import read_sql
from gatebook.safety.things import (
    DATA,
    MORE,
    Bind,
    Bound,
    Clause,
    Ddl,
    Name,
    Op,
    Sql,
    Table,
    Write,
    alternatives,
)  # fmt: skip

CONNECTING = {
    "connect", "begin", "begin_nested", "cursor", "connection", "execution_options", "get_bind", "raw_connection",
    "configure",
}  # fmt: skip
READING = ("all", "first", "one", "one_or_none", "count", "scalar", "get", "exists")
KINDS = {"index": Kind.GUARD, "view": Kind.GUARD, "constraint": Kind.CONSTRAINT}


def execute(label: str, given: Any, made: Call) -> None:
    """Something is executed: a text, a statement, or a construct, in each of its alternatives."""
    for value in alternatives(given):
        if isinstance(value, str | Sql):
            text = value if isinstance(value, str) else value.text
            reading = read_sql(text, made.interpreter.known)
            made.interpreter.statements += reading.statements
            made.interpreter.unresolved += reading.unresolved
            made.emit(label, reading.effects, sql=text)
        elif isinstance(value, Write | Ddl | Clause | Table):
            made.interpreter.statements += 1
            made.emit(label, of_construct(value, made.interpreter.known))
        else:
            what = f"what {label} executes is not known; write it as a literal, or build it from literals"
            made.unclear(label, what)


def of_construct(value: Any, known: Known) -> list[Effect]:
    """The effects of a statement or a construct of DDL when it is executed."""
    if isinstance(value, Write):
        return _of_write(value, known)
    if not isinstance(value, Ddl) or value.verb != "drop" or (value.name and known.drop(value.kind, value.name)):
        return []
    if value.kind == "metadata":
        return [Effect(Kind.LOST, "MetaData.drop_all", "", "drops every table it knows")]
    what = f"drops {value.kind} {value.name}".strip()
    return [Effect(KINDS.get(value.kind, Kind.LOST), f"DROP {value.kind.upper()}", value.name, what)]


def _of_write(value: Write, known: Known) -> list[Effect]:
    if value.table and known.made_table(value.table):
        return []
    name = value.table or "a table"
    if value.verb == "UPDATE":
        return [Effect(Kind.FILTERED, "UPDATE", value.table, f"changes rows of {name}")]
    if value.is_filtered:
        return [Effect(Kind.FILTERED, "DELETE FROM … WHERE", value.table, f"deletes the rows of {name} that match")]
    return [Effect(Kind.LOST, "DELETE FROM … (all rows)", value.table, f"deletes every row of {name}")]


def _operation(function: Bound, made: Call) -> Any:
    return operation(function.name, function.owner.table, made)


def operation(name: str, batch: str | None, made: Call) -> Any:
    """op.something(); batch is the table inside `with op.batch_alter_table(table)`."""
    if name in DIRECT:
        return DIRECT[name](made)
    label = f"op.{name}"
    handler = OPERATIONS.get(name)
    if handler is None:
        made.unclear(label, f"{label} is not one of Alembic's own operations; use those, or plain SQL")
        return DATA
    if MORE in made.named and name == "alter_column":
        made.unclear(label, "what ** gives it is not known; write its arguments out")
    made.interpreter.statements += 1
    made.emit(label, handler(made.interpreter.known, batch, made.arguments, made.named))
    return Table(text_of(made.first)) if name == "create_table" else None


def _run_async(made: Call) -> Any:
    return made.again(made.arguments[0], Bind(), *made.arguments[1:]) if made.arguments else DATA


def _batch(made: Call) -> Any:
    if made.named.get("recreate") == "always" and made.named.get("copy_from") is not None:
        made.unclear("op.batch_alter_table", "the table is made anew from copy_from; what that leaves out is lost")
    return Op(text_of(made.first))


DIRECT: dict[str, Callable[[Call], Any]] = {
    "execute": lambda made: execute("op.execute", made.first, made),
    "invoke": lambda made: execute("op.invoke", made.first, made),
    "batch_alter_table": _batch,
    "get_bind": lambda _: Bind(),
    "get_context": lambda _: Name("alembic.context"),
    "f": lambda made: made.first,
    "inline_literal": lambda made: made.first,
    "run_async": _run_async,
}


def _connection(function: Bound, made: Call) -> Any:
    """A method of a connection, an engine, a cursor or a session."""
    name = function.name
    if name in EXECUTING:
        execute(name, made.first, made)
        return DATA
    if name in ("run_sync", "run_callable", "transaction"):
        return _run_async(made)
    if name == "query":
        return Write("QUERY", table_name(made.interpreter, made.first))
    if name == "delete":
        made.interpreter.statements += 1
        what = "deletes rows that code chooses; which ones is not known"
        made.emit("session.delete", [Effect(Kind.LOST, "session.delete", "", what)])
        return None
    if name.startswith("bulk_update"):
        made.emit(name, [Effect(Kind.FILTERED, "UPDATE", "", "changes rows that code chooses")])
        return None
    if name in HARMLESS or name.startswith(("bulk_insert", "bulk_save", "is_", "get_")):
        return Bind() if name in CONNECTING else DATA
    made.unclear(f"….{name}", f"what {name} does to the database is not known; use execute()")
    return DATA


def _table(function: Bound, made: Call) -> Any:
    name, table = function.name, function.owner.name
    if name in ("delete", "update"):
        return _filtered(Write(name.upper(), table), made.arguments)
    if name == "drop":
        made.interpreter.statements += 1
        made.emit("Table.drop", of_construct(Ddl("table", table, "drop"), made.interpreter.known))
        return None
    if name == "create":
        made.interpreter.statements += 1
        if not made.named.get("checkfirst"):
            made.interpreter.known.create("table", table)
        return None
    return function.owner if name in ("alias", "to_metadata") else Clause()


def _write(function: Bound, made: Call) -> Any:
    """delete(t).where(…), and session.query(t).filter(…).delete()"""
    owner: Write = function.owner
    if function.name in ("where", "filter", "filter_by"):
        return _filtered(owner, [*made.arguments, *made.named.values()])
    if owner.verb != "QUERY":
        return owner
    if function.name in ("delete", "update"):
        write = Write(function.name.upper(), owner.table, owner.is_filtered)
        made.interpreter.statements += 1
        made.emit(f"query.{function.name}", _of_write(write, made.interpreter.known))
        return DATA
    made.interpreter.statements += function.name in READING
    return DATA if function.name in READING else owner


def _filtered(write: Write, conditions: list[Any]) -> Write:
    """Only a condition that is not known to be true keeps a row out."""
    return Write(write.verb, write.table, write.is_filtered or any(_keeps_rows(each) for each in conditions))


def _keeps_rows(condition: Any) -> bool:
    if isinstance(condition, str | Sql):
        text = condition if isinstance(condition, str) else condition.text
        select = ask_sql(f"SELECT 1 WHERE {text}")
        return select is None or is_effective(select.whereClause)
    return condition is not True and condition is not None


def _ddl(function: Bound, made: Call) -> Any:
    """Enum.drop, MetaData.drop_all, Index.drop, …"""
    owner: Ddl = function.owner
    if function.name in ("drop", "drop_all"):
        made.interpreter.statements += 1
        label = "MetaData.drop_all" if owner.kind == "metadata" else f"{owner.kind}.drop"
        made.emit(label, of_construct(Ddl(owner.kind, owner.name, "drop"), made.interpreter.known))
        return None
    if function.name in ("create", "create_all"):
        made.interpreter.statements += 1
        if owner.name and made.named.get("checkfirst") is False:
            made.interpreter.known.create(owner.kind, owner.name)
        return None
    return owner if function.name in ("with_variant", "adapt", "copy") else DATA


OWNERS: dict[type, Callable[[Bound, Call], Any]] = {
    Op: _operation,
    Bind: _connection,
    Table: _table,
    Write: _write,
    Ddl: _ddl,
}
