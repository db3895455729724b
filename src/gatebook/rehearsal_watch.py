"""READ: a throw-away database before and after one migration, as its superuser, whom no policy filters.

Before, every table's rows are kept as text in a schema that the migration cannot see into, and an event trigger
notes what is dropped: by DO, by EXECUTE, by CASCADE. Afterwards tables are followed by oid and columns by number,
so a new name is no loss; a table that was dropped and made again is followed by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from gatebook.catalog import Query, Row, Rows, execute
from gatebook.rehearsal_losses import GUARDS, SECURITY, TABLE, Loss, What
from gatebook.rehearsal_rows import Column, Table, compared, keep

# Nobody but its owner may look into the schema; the function writes as its owner, whoever drops.
BEGIN = """
CREATE SCHEMA gatebook_rehearsal;
CREATE SEQUENCE gatebook_rehearsal.firing;
CREATE TABLE gatebook_rehearsal.dropped (firing bigint, classid oid, objid oid, objsubid int, named bool, cascade bool);
CREATE FUNCTION gatebook_rehearsal.note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    DECLARE this bigint := nextval('gatebook_rehearsal.firing');
    BEGIN
        INSERT INTO gatebook_rehearsal.dropped
        SELECT this, classid, objid, objsubid, original, normal FROM pg_event_trigger_dropped_objects();
    END $$;
CREATE EVENT TRIGGER gatebook_rehearsal ON sql_drop EXECUTE FUNCTION gatebook_rehearsal.note();
"""

OURS = """
WITH spaces AS (
  SELECT oid, nspname::text AS schema FROM pg_catalog.pg_namespace
   WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'gatebook_rehearsal')
), ours AS (
  SELECT c.*, s.schema FROM pg_catalog.pg_class c JOIN spaces s ON s.oid = c.relnamespace
   WHERE c.relname NOT IN ('alembic_version', 'alembic_version_pkc')
)
"""

# The rows of a partitioned table are kept as a whole: they may move between its partitions.
TABLES = (
    OURS
    + """
SELECT o.oid::bigint AS oid, o.schema, o.relname::text AS name, o.relkind::text AS relkind
  FROM ours o WHERE o.relkind IN ('r', 'p') AND NOT o.relispartition ORDER BY o.schema, o.relname
"""
)

# is_key: of the primary key, else of the unique index without NULLs that was made first
COLUMNS = (
    OURS
    + """
, keys AS (
  SELECT DISTINCT ON (i.indrelid) i.indrelid, i.indkey
    FROM pg_catalog.pg_index i
   WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid = i.indrelid AND NOT a.attnotnull AND a.attnum = ANY (i.indkey))
   ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid
)
SELECT a.attrelid::bigint AS oid, a.attnum AS number, a.attname::text AS name,
       coalesce(nullif(t.typbasetype, 0), t.oid)::pg_catalog.regtype::text AS type,
       coalesce(a.attnum = ANY (k.indkey), false) AS is_key
  FROM ours o
  JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN keys k ON k.indrelid = o.oid
 WHERE o.relkind IN ('r', 'p') AND NOT o.relispartition ORDER BY 1, 2
"""
)

STORAGE = (
    OURS
    + """
SELECT o.oid::bigint AS oid, o.schema || '.' || o.relname AS relation, o.relkind::text AS relkind,
       coalesce(pg_catalog.pg_relation_filenode(o.oid), 0)::bigint AS filenode,
       CASE WHEN o.relkind = 'p' THEN 0 ELSE pg_catalog.pg_table_size(o.oid) END AS size_bytes
  FROM ours o WHERE o.relkind IN ('r', 'p', 'm') ORDER BY 2
"""
)

# Everything that can be dropped, by its address. table_oid: the table whose part it is, else 0.
OBJECTS = (
    OURS
    + """
, tables AS (SELECT oid, schema, relname::text AS name FROM ours WHERE relkind IN ('r', 'p', 'v', 'm', 'f'))
, found (class, objid, objsubid, kind, schema, "table", name, table_oid) AS (
  SELECT 'pg_class', o.oid, 0,
         CASE o.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                        WHEN 'S' THEN 'sequence' ELSE 'table' END, o.schema, o.relname::text, '', 0::oid
    FROM ours o WHERE o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT 'pg_class', o.oid, 0, 'index', o.schema, t.name, o.relname::text, t.oid
    FROM ours o JOIN pg_catalog.pg_index i ON i.indexrelid = o.oid JOIN tables t ON t.oid = i.indrelid
  UNION ALL
  SELECT 'pg_class', t.oid, a.attnum, 'column', t.schema, t.name, a.attname::text, t.oid
    FROM tables t JOIN ours o ON o.oid = t.oid AND o.relkind IN ('r', 'p', 'f')
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT 'pg_constraint', k.oid, 0, 'constraint', t.schema, t.name, k.conname::text, t.oid
    FROM pg_catalog.pg_constraint k JOIN tables t ON t.oid = k.conrelid
   WHERE k.contype IN ('p', 'f', 'u', 'c', 'x') AND k.conparentid = 0
  UNION ALL
  SELECT 'pg_constraint', k.oid, 0, 'constraint', s.schema, y.typname::text, k.conname::text, 0
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_type y ON y.oid = k.contypid
    JOIN spaces s ON s.oid = y.typnamespace WHERE k.contype = 'c'
  UNION ALL
  SELECT 'pg_trigger', g.oid, 0, 'trigger', t.schema, t.name, g.tgname::text, t.oid
    FROM pg_catalog.pg_trigger g JOIN tables t ON t.oid = g.tgrelid WHERE NOT g.tgisinternal
  UNION ALL
  SELECT 'pg_policy', p.oid, 0, 'policy', t.schema, t.name, p.polname::text, t.oid
    FROM pg_catalog.pg_policy p JOIN tables t ON t.oid = p.polrelid
  UNION ALL
  SELECT 'pg_attrdef', d.oid, 0, 'default', t.schema, t.name, a.attname::text, t.oid
    FROM pg_catalog.pg_attrdef d JOIN tables t ON t.oid = d.adrelid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  UNION ALL
  SELECT 'pg_rewrite', r.oid, 0, 'rule', t.schema, t.name, r.rulename::text, t.oid
    FROM pg_catalog.pg_rewrite r JOIN tables t ON t.oid = r.ev_class WHERE r.rulename <> '_RETURN'
  UNION ALL
  SELECT 'pg_statistic_ext', x.oid, 0, 'statistics', s.schema, x.stxname::text, '', 0
    FROM pg_catalog.pg_statistic_ext x JOIN spaces s ON s.oid = x.stxnamespace
  UNION ALL
  SELECT 'pg_proc', p.oid, 0, CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
         s.schema, p.proname::text, '', 0
    FROM pg_catalog.pg_proc p JOIN spaces s ON s.oid = p.pronamespace
  UNION ALL
  SELECT 'pg_type', y.oid, 0, 'type', s.schema, y.typname::text, '', 0
    FROM pg_catalog.pg_type y JOIN spaces s ON s.oid = y.typnamespace
    LEFT JOIN pg_catalog.pg_class c ON c.oid = y.typrelid
   WHERE y.typtype IN ('d', 'e', 'r') OR c.relkind = 'c'
  UNION ALL
  SELECT 'pg_namespace', s.oid, 0, 'schema', '', s.schema, '', 0 FROM spaces s
  UNION ALL
  SELECT 'pg_extension', e.oid, 0, 'extension', '', e.extname::text, '', 0 FROM pg_catalog.pg_extension e
)
SELECT ('pg_catalog.' || class)::pg_catalog.regclass::oid::bigint AS classid, objid::bigint AS objid,
       objsubid::int AS objsubid, kind, schema, "table", name, table_oid::bigint AS table_oid
  FROM found ORDER BY classid, objid, objsubid, kind
"""
)

# Guards that are switched off, not dropped: those that are on.
SWITCHES = (
    OURS
    + """
SELECT 'row security' AS kind, o.oid::bigint AS objid, 0 AS objsubid, o.schema, o.relname::text AS "table", '' AS name
  FROM ours o WHERE o.relkind IN ('r', 'p') AND o.relrowsecurity
UNION ALL
SELECT 'forced row security', o.oid::bigint, 0, o.schema, o.relname::text, ''
  FROM ours o WHERE o.relkind IN ('r', 'p') AND o.relforcerowsecurity
UNION ALL
SELECT 'not null', o.oid::bigint, a.attnum, o.schema, o.relname::text, a.attname::text
  FROM ours o JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0
 WHERE o.relkind IN ('r', 'p') AND a.attnotnull AND NOT a.attisdropped
UNION ALL
SELECT 'trigger enabled', g.oid::bigint, 0, o.schema, o.relname::text, g.tgname::text
  FROM ours o JOIN pg_catalog.pg_trigger g ON g.tgrelid = o.oid WHERE g.tgenabled <> 'D' AND g.tgparentid = 0
 ORDER BY 1, 4, 5, 6
"""
)

STILL_THERE = """
SELECT c.oid::bigint AS objid, a.attnum::int AS objsubid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum > 0
UNION ALL SELECT oid::bigint, 0 FROM pg_catalog.pg_class
UNION ALL SELECT oid::bigint, 0 FROM pg_catalog.pg_trigger
"""

DROPPED = """
SELECT firing, classid::bigint, objid::bigint, objsubid, named, cascade
  FROM gatebook_rehearsal.dropped ORDER BY firing, named DESC, classid, objid, objsubid
"""

Address = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """A database at one moment. rows: oid -> rows of each table, kept before the migration."""

    tables: Mapping[int, Table]
    objects: Mapping[Address, Row]
    switches: Rows
    storage: Mapping[int, Row]
    rows: Mapping[int, int]

    @property
    def relations(self) -> dict[int, str]:
        return {oid: row["relation"] for oid, row in self.storage.items()}

    @property
    def empty(self) -> set[str]:
        """Tables without a row."""
        return {f"{table.schema}.{table.name}" for oid, table in self.tables.items() if not self.rows[oid]}


def begin(connection: sa.Connection) -> None:
    """Set up the watch, once for each throw-away database."""
    execute(connection, BEGIN)
    connection.commit()


def look(connection: sa.Connection) -> Look:
    """The catalog, with the rows of every table kept for comparing: any that were kept before are forgotten."""
    tables = _tables(connection)
    rows = {oid: keep(connection, table) for oid, table in tables.items()}
    execute(connection, "TRUNCATE gatebook_rehearsal.dropped")
    objects = {(row["classid"], row["objid"], row["objsubid"]): row for row in Query(OBJECTS).run(connection)}
    storage = {row["oid"]: row for row in Query(STORAGE).run(connection)}
    found = Look(tables, objects, Query(SWITCHES).run(connection), storage, rows)
    connection.commit()
    return found


def _tables(connection: sa.Connection) -> dict[int, Table]:
    columns: dict[int, dict[int, Column]] = {}
    for row in Query(COLUMNS).run(connection):
        columns.setdefault(row["oid"], {})[row["number"]] = Column(row["name"], row["type"], row["is_key"])
    return {row["oid"]: Table(**row, columns=columns.get(row["oid"], {})) for row in Query(TABLES).run(connection)}


# -- afterwards


def losses(connection: sa.Connection, before: Look) -> tuple[Loss, ...]:
    """What was there at the look before and is not now, or is not the same."""
    dropped = _dropped(connection, before)
    switched = _switched_off(connection, before)
    now = _tables(connection)
    by_name = {(table.schema, table.name): table for table in now.values()}
    changed: list[Loss] = []
    for oid, old in before.tables.items():
        new = now.get(oid) or by_name.get((old.schema, old.name))
        if new is not None and before.rows[oid]:
            changed += compared(connection, old, new)
    connection.rollback()
    return (*dropped, *switched, *changed)


def rewritten(connection: sa.Connection, before: Look) -> Rows:
    """Tables and materialized views whose rows were written anew. Shape  relation, kind, bytes_before, bytes_after"""
    kinds = {"r": "table", "p": "partitioned table", "m": "materialized view"}
    rows = tuple(
        {
            "relation": row["relation"],
            "kind": kinds[row["relkind"]],
            "bytes_before": before.storage[row["oid"]]["size_bytes"],
            "bytes_after": row["size_bytes"],
        }
        for row in Query(STORAGE).run(connection)
        if row["oid"] in before.storage and row["filenode"] != before.storage[row["oid"]]["filenode"]
    )
    connection.rollback()
    return rows


def _dropped(connection: sa.Connection, before: Look) -> list[Loss]:
    """What the event trigger noted, without what was made meanwhile and without the parts of a dropped table."""
    noted = Query(DROPPED).run(connection)
    gone = {row["objid"] for row in noted if row["objsubid"] == 0}
    found = []
    for row in noted:
        what = before.objects.get((row["classid"], row["objid"], row["objsubid"]))
        if what is None or what["table_oid"] in gone:
            continue
        takers = [each for each in noted if each["firing"] == row["firing"] and each["named"]]
        found.append(_drop(row, what, takers, before))
    return found


def _drop(row: Row, what: Row, takers: list[Row], before: Look) -> Loss:
    named = [before.objects.get((each["classid"], each["objid"], each["objsubid"])) for each in takers]
    parents = [_loss_of(each) for each in named if each is not None]
    is_part = not row["named"] and not row["cascade"]
    because = ", ".join(sorted({parent.target for parent in parents}))
    how = "by name" if row["named"] else f"by CASCADE of {because}" if row["cascade"] else f"as a part of {because}"
    taken_by = frozenset(name for parent in parents for name in parent.names) if is_part else frozenset()
    return _loss_of(what, rows=before.rows.get(row["objid"], 0), taken_by=taken_by, detail=f"dropped {how}")


def _loss_of(what: Row, *, rows: int = 0, taken_by: frozenset[str] = frozenset(), detail: str = "") -> Loss:
    kind = what["kind"]
    return Loss(
        What.GUARD if kind in GUARDS else What.OBJECT,
        kind,
        what["schema"],
        what["table"],
        what["name"],
        rows if kind == TABLE else 0,
        taken_by=taken_by,
        detail=detail,
    )


def _switched_off(connection: sa.Connection, before: Look) -> list[Loss]:
    on = {(row["kind"], row["objid"], row["objsubid"]) for row in Query(SWITCHES).run(connection)}
    there = {(row["objid"], row["objsubid"]) for row in Query(STILL_THERE).run(connection)}
    return [
        Loss(
            What.SECURITY if row["kind"] in SECURITY else What.GUARD,
            row["kind"],
            row["schema"],
            row["table"],
            row["name"],
            detail="switched off",
        )
        for row in before.switches
        if (row["kind"], row["objid"], row["objsubid"]) not in on and (row["objid"], row["objsubid"]) in there
    ]
