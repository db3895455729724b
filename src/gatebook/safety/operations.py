"""Alembic's own operations: what each makes, and what it takes away."""

from collections.abc import Callable
from typing import Any

from gatebook.safety.dropping import is_plain_cast
from gatebook.safety.effects import Effect, Kind
from gatebook.safety.grammar import ParseError, ast, parse_sql
from gatebook.safety.known import Known, normal
from gatebook.safety.sqltypes import text_of
from gatebook.safety.things import MISSING, Column, Foreign
from gatebook.safety.types import holds_anything, narrows, parse_type, read_type

Handler = Callable[[Known, str | None, list[Any], dict[str, Any]], list[Effect]]
TELL = "give existing_type= and type_= as types of SQLAlchemy"


def _argument(arguments: list[Any], named: dict[str, Any], place: int, *names: str) -> Any:
    for name in names:
        if name in named:
            return named[name]
    return arguments[place] if 0 <= place < len(arguments) else MISSING


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _table(name: Any, named: dict[str, Any]) -> str:
    schema = _text(named.get("schema"))
    return normal(f"{schema}.{_text(name)}" if schema else _text(name))


def _of_batch(batch: str | None, arguments: list[Any], named: dict[str, Any], place: int) -> tuple[str, list[Any]]:
    """The table and the other arguments: inside a batch the table is not said again."""
    if batch is not None:
        return _table(batch, named), arguments
    table = _argument(arguments, named, place, "table_name", "source_table")
    return _table(table, named), arguments[:place] + arguments[place + 1 :]


def _drop_table(known: Known, _batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    table = _table(_argument(arguments, named, 0, "table_name"), named)
    if table and known.drop("table", table):
        return []
    return [Effect(Kind.LOST, "op.drop_table", table, f"drops table {table or '(not known)'} with its rows")]


def _drop_column(known: Known, batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    table, rest = _of_batch(batch, arguments, named, 0)
    column = _text(_argument(rest, named, 0, "column_name"))
    name = f"{table}.{column}"
    if table and column and (known.drop("column", name) or known.made_table(table)):
        return []
    return [Effect(Kind.LOST, "op.drop_column", name, f"drops column {name} with its values")]


def _drop_constraint(known: Known, batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    table, rest = _of_batch(batch, arguments, named, 1)
    constraint = _text(_argument(rest, named, 0, "constraint_name"))
    name = f"{table}.{constraint}"
    if table and (known.drop("constraint", name) or known.made_table(table)):
        return []
    return [
        Effect(
            Kind.CONSTRAINT,
            "op.drop_constraint",
            name,
            f"{table or 'a table'} is no longer held to {constraint or 'one that is named when it runs'}",
        )
    ]


def _drop_index(known: Known, batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    index = _text(_argument(arguments, named, 0, "index_name"))
    table = _table(batch or _argument(arguments, named, 1, "table_name"), named)
    if known.drop("index", index) or (table and known.made_table(table)):
        return []
    return [
        Effect(Kind.GUARD, "op.drop_index", index, f"drops index {index}; if it is unique, nothing refuses duplicates")
    ]


def _create_table(known: Known, _batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    if not named.get("if_not_exists"):
        known.create("table", _table(_argument(arguments, named, 0, "table_name"), named))
    return []


def _add_column(known: Known, batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    table, rest = _of_batch(batch, arguments, named, 0)
    column = _argument(rest, named, 0, "column")
    if isinstance(column, Column) and not named.get("if_not_exists"):
        known.create("column", f"{table}.{column.name}")
    return []


def _create_constraint(known: Known, batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    table, rest = _of_batch(batch, arguments, named, 1)
    known.create("constraint", f"{table}.{_text(_argument(rest, named, 0, 'constraint_name'))}")
    return []


def _create_index(known: Known, _batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    if not named.get("if_not_exists"):
        known.create("index", _text(_argument(arguments, named, 0, "index_name")))
    return []


def _rename_table(known: Known, _batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    old = _table(_argument(arguments, named, 0, "old_table_name"), named)
    known.rename("table", old, _table(_argument(arguments, named, 1, "new_table_name"), named))
    return []


def _alter_column(known: Known, batch: str | None, arguments: list[Any], named: dict[str, Any]) -> list[Effect]:
    table, rest = _of_batch(batch, arguments, named, 0)
    column = _text(_argument(rest, named, 0, "column_name"))
    name = f"{table}.{column}"
    new_name = _text(named.get("new_column_name", named.get("name")))
    effects: list[Effect] = []
    if not (table and column and known.made_column(table, column)):
        if named.get("nullable") is True and named.get("existing_nullable") is not True:
            effects.append(Effect(Kind.GUARD, "DROP NOT NULL", name, f"{name} may be NULL from now on"))
        if "server_default" in named and named["server_default"] is None:
            effects.append(Effect(Kind.GUARD, "DROP DEFAULT", name, f"{name} has no default any more"))
        effects += _type_change(name, column, named)
    if new_name:
        known.rename("column", name, f"{table}.{new_name}")
    return effects


def _type_change(name: str, column: str, named: dict[str, Any]) -> list[Effect]:
    if named.get("type_") is None:
        return []
    new, old = text_of(named["type_"]), text_of(named.get("existing_type"))
    why = _narrowing(column, old, new, named)
    return [Effect(Kind.NARROWED, "op.alter_column type_", name, f"{name}: {why}")] if why else []


def _narrowing(column: str, old: str, new: str, named: dict[str, Any]) -> str:
    """One sentence on what a change of type may do to values; '' when nothing."""
    using = named.get("postgresql_using")
    parsed = parse_type(new) if new else None
    if using is not None and not (isinstance(using, str) and _casts_only(using, column, new)):
        return "the USING expression may cut or round"
    if parsed is not None and holds_anything(parsed):
        return ""
    if not new or isinstance(named["type_"], Foreign):
        return f"the new type is not known here; {TELL}"
    return narrows(old, new) if old else f"its old type is not known here, so {new} may cut or round; {TELL}"


def _casts_only(using: str, column: str, new: str) -> bool:
    """USING column::new says no more than the change itself."""
    select = ask_sql(f"SELECT {using}")
    if select is None or len(select.targetList or ()) != 1:
        return False
    node = select.targetList[0].val
    wanted = parse_type(new) if new else None
    if isinstance(node, ast.TypeCast) and wanted is not None:
        return isinstance(node.arg, ast.ColumnRef) and read_type(node.typeName) == wanted
    return bool(is_plain_cast(node, column))


def ask_sql(text: str) -> Any:
    """The one statement of a text, or None when PostgreSQL cannot parse it."""
    try:
        statements = parse_sql(text)
    except (ParseError, ValueError, RecursionError):
        return None
    return statements[0].stmt if len(statements) == 1 else None


def _nothing(_known: Known, _batch: str | None, _arguments: list[Any], _named: dict[str, Any]) -> list[Effect]:
    return []


def _drop_entity(_known: Known, _batch: str | None, _arguments: list[Any], _named: dict[str, Any]) -> list[Effect]:
    return [Effect(Kind.GUARD, "op.drop_entity", "", "drops a view, function, trigger or policy")]


TAKING_AWAY = ("drop_table", "drop_column", "drop_constraint")
OPERATIONS: dict[str, Handler] = {
    "drop_table": _drop_table,
    "drop_column": _drop_column,
    "drop_constraint": _drop_constraint,
    "drop_index": _drop_index,
    "drop_entity": _drop_entity,
    "create_table": _create_table,
    "add_column": _add_column,
    "create_index": _create_index,
    "create_unique_constraint": _create_constraint,
    "create_check_constraint": _create_constraint,
    "create_foreign_key": _create_constraint,
    "create_primary_key": _create_constraint,
    "create_exclude_constraint": _create_constraint,
    "rename_table": _rename_table,
    "alter_column": _alter_column,
    "bulk_insert": _nothing,
    "create_table_comment": _nothing,
    "drop_table_comment": _nothing,
    "create_entity": _nothing,
    "replace_entity": _nothing,
}
