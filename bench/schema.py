"""Indexes and keys taken off tables for a load, and put back exactly as they were, comments included.

What there is, is read from the catalog, so that it does not depend on the revision. Nothing is run here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

# Primary keys, unique constraints and foreign keys of the tables, and foreign keys that point at them; these first.
CONSTRAINTS = """
SELECT k.conrelid::pg_catalog.regclass::text AS table, pg_catalog.quote_ident(k.conname) AS name,
       k.contype = 'f' AS is_foreign, k.convalidated AS is_validated,
       pg_catalog.pg_get_constraintdef(k.oid) AS definition,
       CASE WHEN k.contype <> 'f' THEN pg_catalog.pg_get_indexdef(k.conindid) END AS index_definition,
       pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment,
       CASE WHEN k.contype <> 'f' THEN pg_catalog.obj_description(k.conindid, 'pg_class') END AS index_comment
  FROM pg_catalog.pg_constraint k
 WHERE k.contype IN ('p', 'u') AND k.conrelid = ANY (%(tables)s::pg_catalog.regclass[])
    OR k.contype = 'f' AND (k.conrelid = ANY (%(tables)s::pg_catalog.regclass[])
                            OR k.confrelid = ANY (%(tables)s::pg_catalog.regclass[]))
 ORDER BY is_foreign DESC, k.conrelid::pg_catalog.regclass::text, k.conname
"""

# The largest tables' come first, so that sessions that share them end at about the same time.
INDEXES = """
SELECT i.indexrelid::pg_catalog.regclass::text AS name, pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
       pg_catalog.obj_description(i.indexrelid, 'pg_class') AS comment
  FROM pg_catalog.pg_index i
 WHERE i.indrelid = ANY (%(tables)s::pg_catalog.regclass[])
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                    WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
 ORDER BY pg_catalog.array_position(%(tables)s::pg_catalog.regclass[], i.indrelid::pg_catalog.regclass),
          i.indnatts DESC, 1
"""


@dataclass(frozen=True)
class Dismantling:
    """Statements that take indexes and keys off, and those that put them back, to be run in the order of the fields.

    indexes      may run at the same time as each other
    validations  one list for each table: the lists may run at the same time, each in its order
    """

    drop: tuple[str, ...]
    indexes: tuple[str, ...]
    keys: tuple[str, ...]
    validations: tuple[tuple[str, ...], ...]
    comments: tuple[str, ...]


def dismantling(session: psycopg.Connection[Any], tables: Sequence[str]) -> Dismantling:
    """What these tables have, as statements. Keys are made from indexes, which sessions can build at the same time."""
    cursor: psycopg.Cursor[Any] = session.cursor(row_factory=namedtuple_row)
    constraints = cursor.execute(CONSTRAINTS, {"tables": list(tables)}).fetchall()
    indexes = cursor.execute(INDEXES, {"tables": list(tables)}).fetchall()
    foreign = [each for each in constraints if each.is_foreign]
    return Dismantling(
        drop=(
            *(f"ALTER TABLE {each.table} DROP CONSTRAINT {each.name}" for each in constraints),
            *(f"DROP INDEX {each.name}" for each in indexes),
        ),
        indexes=(
            *(each.definition for each in indexes),
            *(each.index_definition for each in constraints if not each.is_foreign),
        ),
        keys=tuple(_key(each) for each in [*(each for each in constraints if not each.is_foreign), *foreign]),
        validations=tuple(
            tuple(
                f"ALTER TABLE {table} VALIDATE CONSTRAINT {each.name}"
                for each in foreign
                if each.table == table and each.is_validated
            )
            for table in dict.fromkeys(each.table for each in foreign)
        ),
        comments=tuple(_comments(constraints, indexes)),
    )


def _key(constraint: Any) -> str:
    """A foreign key is first made without a look at the rows, which locks both tables only for a moment."""
    start = f"ALTER TABLE {constraint.table} ADD CONSTRAINT {constraint.name}"
    if constraint.is_foreign:
        return f"{start} {constraint.definition.removesuffix(' NOT VALID')} NOT VALID"
    kind, _, _ = constraint.definition.partition(" (")
    return f"{start} {kind} USING INDEX {constraint.name}"


def _comments(constraints: Sequence[Any], indexes: Sequence[Any]) -> list[str]:
    wanted = [(f"CONSTRAINT {each.name} ON {each.table}", each.comment) for each in constraints]
    wanted += [(f"INDEX {each.name}", each.index_comment) for each in constraints if not each.is_foreign]
    wanted += [(f"INDEX {each.name}", each.comment) for each in indexes]
    return [f"COMMENT ON {what} IS {sql.Literal(text).as_string()}" for what, text in wanted if text]
