"""READ: which rows and values of a table are gone after a migration, compared inside the database.

The rows from before are kept as text in a schema of the watcher's. A value is the same when its text is, or, after a
change of type, when it is the same number, instant or document; never because a cast would make it so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from psycopg import sql

from gatebook.catalog import execute
from gatebook.rehearsal_losses import COLUMN, TABLE, Loss, What

KEPT = "gatebook_rehearsal"  # the schema

NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
EXACT = frozenset({"numeric"})  # one value has many texts: 1.0, 1.00
MOMENTS = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})
DOCUMENTS = frozenset({"json", "jsonb"})


@dataclass(frozen=True)
class Column:
    """type: of a domain, the type below it"""

    name: str
    type: str
    is_key: bool


@dataclass(frozen=True)
class Table:
    """columns: attribute number -> column"""

    oid: int
    schema: str
    name: str
    relkind: str
    columns: Mapping[int, Column]


def keep(connection: sa.Connection, table: Table) -> int:
    """Keep a table's rows as text: no type, no default and no constraint of it is held on to."""
    kept = sql.Identifier(KEPT, f"rows_{table.oid}")
    values = [
        sql.SQL("{}::text AS {}").format(sql.Identifier(column.name), sql.Identifier(f"c{number}"))
        for number, column in table.columns.items()
    ]
    execute(connection, sql.SQL("DROP TABLE IF EXISTS {}").format(kept).as_string())
    made = sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT {} FROM {}").format(
        kept, sql.SQL(", ").join(values), _source(table)
    )
    return execute(connection, made.as_string()).rowcount


def _source(table: Table) -> sql.Composable:
    """Rows of a child table that inherits are its own."""
    name = sql.Identifier(table.schema, table.name)
    return name if table.relkind == "p" else sql.SQL("ONLY {}").format(name)


def _form(own: str, old: str, new: str) -> sql.SQL:
    """The text form in which a value of both types is the same: 1.0 and 1.00, an instant with and without its zone.

    A real is compared as a real: as a double it would show digits that it never had.
    """
    types = {old, new}
    if types == {old} and not types <= EXACT:
        return sql.SQL("{}::text")
    if types <= NUMBERS:
        return sql.SQL("{}::real::text" if old == "real" else "pg_catalog.trim_scale({}::numeric)::text")
    if "boolean" in types and types <= NUMBERS | {"boolean"}:
        return sql.SQL("{}::boolean::int::text" if own == "boolean" else "pg_catalog.trim_scale({}::numeric)::text")
    if types <= MOMENTS:
        return sql.SQL("{}::timestamptz::text")
    return sql.SQL("{}::jsonb::text" if types == DOCUMENTS else "{}::text")


@dataclass(frozen=True)
class Pair:
    """A column before and after: how either side is read in the form that both have."""

    name: str
    is_key: bool
    before: sql.Composable
    after: sql.Composable


def _pairs(old: Table, new: Table) -> list[Pair]:
    by_name = {column.name: column for column in new.columns.values()}
    found = []
    for number, column in old.columns.items():
        other = new.columns.get(number) if new.oid == old.oid else by_name.get(column.name)
        if other is not None:
            kept, live = (_form(own, column.type, other.type) for own in (column.type, other.type))
            before = kept.format(sql.Identifier("o", f"c{number}"))
            found.append(Pair(column.name, column.is_key, before, live.format(sql.Identifier("n", other.name))))
    return found


def compared(connection: sa.Connection, old: Table, new: Table) -> list[Loss]:
    """Rows that are gone and values that differ: by the key where it is still there, else as multisets."""
    pairs = _pairs(old, new)
    has_key = sum(pair.is_key for pair in pairs) == sum(each.is_key for each in old.columns.values()) > 0
    lost, changed = (_by_key if has_key else _by_multiset)(connection, old, new, pairs)
    now = new.name if new.name != old.name else ""
    made = [Loss(What.ROWS, TABLE, old.schema, old.name, "", lost, now, detail="rows that are gone")] if lost else []
    return made + [
        Loss(What.VALUES, COLUMN, old.schema, old.name, name, count, now, detail="values that are not what they were")
        for name, count in changed.items()
        if count
    ]


def _by_key(connection: sa.Connection, old: Table, new: Table, pairs: list[Pair]) -> tuple[int, dict[str, int]]:
    """A row that is found has a tableoid, which no column of its own can be called."""
    rest = [pair for pair in pairs if not pair.is_key]
    differing = [
        sql.SQL("count(*) FILTER (WHERE n.tableoid IS NOT NULL AND ({}) IS DISTINCT FROM ({}))").format(
            pair.before, pair.after
        )
        for pair in rest
    ]
    keys = [sql.SQL("({}) = ({})").format(pair.before, pair.after) for pair in pairs if pair.is_key]
    statement = sql.SQL("SELECT {} FROM {} o LEFT JOIN {} n ON {}").format(
        sql.SQL(", ").join([sql.SQL("count(*) FILTER (WHERE n.tableoid IS NULL)"), *differing]),
        sql.Identifier(KEPT, f"rows_{old.oid}"),
        _source(new),
        sql.SQL(" AND ").join(keys),
    )
    lost, *counts = tuple(execute(connection, statement.as_string()).one())
    return int(lost), {pair.name: int(count) for pair, count in zip(rest, counts, strict=True)}


def _by_multiset(connection: sa.Connection, old: Table, new: Table, pairs: list[Pair]) -> tuple[int, dict[str, int]]:
    """Without a key nobody knows which row became which: values that occur less often than before are changed."""
    kept = sql.SQL("{} o").format(sql.Identifier(KEPT, f"rows_{old.oid}"))
    live = sql.SQL("{} n").format(_source(new))
    counts = sql.SQL("SELECT (SELECT count(*) FROM {}) - (SELECT count(*) FROM {})").format(kept, live)
    lost = max(0, int(execute(connection, counts.as_string()).scalar_one()))
    changed = {
        pair.name: max(0, _missing(connection, kept, live, [pair.before], [pair.after]) - lost) for pair in pairs
    }
    if pairs and not lost and not any(changed.values()):
        moved = _missing(connection, kept, live, [pair.before for pair in pairs], [pair.after for pair in pairs])
        changed = {"(values moved between rows)": moved}
    return lost, changed


def _missing(
    connection: sa.Connection,
    kept: sql.Composable,
    live: sql.Composable,
    before: list[sql.Composable],
    after: list[sql.Composable],
) -> int:
    statement = sql.SQL("SELECT count(*) FROM (SELECT {} FROM {} EXCEPT ALL SELECT {} FROM {}) gone").format(
        sql.SQL(", ").join(before), kept, sql.SQL(", ").join(after), live
    )
    return int(execute(connection, statement.as_string()).scalar_one())
