"""What the catalog says: columns, indexes, constraints, comments as rows; the whole schema as a snapshot.

A function here returns a Query: constant SQL with its parameters, not yet run. Whoever holds a connection runs
it, shows the SQL beside the verdict, and hands the rows to a check. Names that are visible on the search path
are printed without their schema, as PostgreSQL itself does.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

Row = Mapping[str, Any]
Rows = tuple[Row, ...]
Key = tuple[str, str]
Snapshot = dict[Key, dict[str, Any]]


@dataclass(frozen=True)
class Query:
    """One statement; with parameters, these are named in psycopg's form, %(name)s."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def run(self, connection: sa.Connection) -> Rows:
        return tuple(dict(row) for row in execute(connection, self.sql, self.parameters).mappings())


def execute(connection: sa.Connection, sql: str, parameters: Mapping[str, Any] | None = None) -> sa.CursorResult[Any]:
    """Run SQL as it stands; only with parameters does the driver look for placeholders in it."""
    if parameters:
        return connection.exec_driver_sql(sql, dict(parameters))
    return connection.exec_driver_sql(sql, None, {"no_parameters": True})


def columns(table: str) -> Query:
    """Shape  column, type, nullable, default, comment; in the order of the table"""
    return Query(COLUMNS, {"table": table})


def indexes(table: str) -> Query:
    """Shape  index, columns, included, predicate, is_unique, is_valid, method, definition, comment; by name"""
    return Query(INDEXES, {"table": table})


def constraints(table: str) -> Query:
    """Shape  constraint, type, references, on_delete, is_validated, definition, comment; by name"""
    return Query(CONSTRAINTS, {"table": table})


def tables() -> Query:
    """Shape  table, row_security, forced, comment; ordinary and partitioned tables, by name"""
    return Query(TABLES)


# A NOT NULL that is not valid (new in 18) lets old rows be NULL.
COLUMNS = """
SELECT a.attname::text AS column,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull
       OR EXISTS (SELECT FROM pg_catalog.pg_constraint n
                   WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND NOT n.convalidated
                     AND n.conkey = ARRAY[a.attnum]) AS nullable,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default,
       pg_catalog.col_description(a.attrelid, a.attnum) AS comment
  FROM pg_catalog.pg_attribute a
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = pg_catalog.to_regclass(%(table)s) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
"""

# indoption: bit 0 = DESC, bit 1 = NULLS FIRST; DESC implies NULLS FIRST unless said otherwise
INDEXES = """
SELECT c.relname::text AS index,
       ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k, true)
                    || CASE i.indoption[k - 1] WHEN 0 THEN '' WHEN 1 THEN ' DESC NULLS LAST'
                                               WHEN 2 THEN ' NULLS FIRST' ELSE ' DESC' END
               FROM pg_catalog.generate_series(1, i.indnkeyatts) k ORDER BY k) AS columns,
       ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k, true)
               FROM pg_catalog.generate_series(i.indnkeyatts + 1, i.indnatts) k ORDER BY k) AS included,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate,
       i.indisunique AS is_unique,
       i.indisvalid AND i.indisready AND i.indislive AS is_valid,
       m.amname::text AS method,
       pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
       pg_catalog.obj_description(i.indexrelid, 'pg_class') AS comment
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_am m ON m.oid = c.relam
 WHERE i.indrelid = pg_catalog.to_regclass(%(table)s)
 ORDER BY c.relname
"""

CONSTRAINTS = """
SELECT k.conname::text AS constraint,
       CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'f' THEN 'foreign key' WHEN 'u' THEN 'unique'
                      WHEN 'c' THEN 'check' WHEN 'x' THEN 'exclusion' ELSE k.contype::text END AS type,
       CASE WHEN k.confrelid <> 0 THEN k.confrelid::pg_catalog.regclass::text END AS references,
       CASE k.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT'
                          WHEN 'r' THEN 'RESTRICT' WHEN 'a' THEN 'NO ACTION' END AS on_delete,
       k.convalidated AS is_validated,
       pg_catalog.pg_get_constraintdef(k.oid) AS definition,
       pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment
  FROM pg_catalog.pg_constraint k
 WHERE k.conrelid = pg_catalog.to_regclass(%(table)s) AND k.contype IN ('p', 'f', 'u', 'c', 'x')
 ORDER BY k.conname
"""

# What is ours: no system schema, nothing an extension brought, not Alembic's own table.
RELATIONS = """
WITH ours AS (
  SELECT c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relpersistence, c.relrowsecurity,
         c.relforcerowsecurity, c.relispopulated, c.reloptions, c.relreplident,
         c.oid::pg_catalog.regclass::text AS name,
         pg_catalog.pg_get_userbyid(c.relowner)::text AS owner
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relname <> 'alembic_version'
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                      WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid
                        AND e.deptype = 'e')
)
"""

TABLES = (
    RELATIONS
    + """
SELECT name AS table, relrowsecurity AS row_security, relforcerowsecurity AS forced,
       pg_catalog.obj_description(oid, 'pg_class') AS comment
  FROM ours WHERE relkind IN ('r', 'p') ORDER BY name
"""
)

# Each query of the snapshot: object, then its attributes. The owner of a table is written <owner>, so that the
# same schema owned by two roles is the same schema; the owner's own rights leave out MAINTAIN (new in 17).
SNAPSHOT_QUERIES: Mapping[str, str] = MappingProxyType(
    {
        "table": RELATIONS
        + """
SELECT name AS object,
       CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                    WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE relkind::text END AS kind,
       owner, relpersistence::text AS persistence, relrowsecurity AS row_security, relforcerowsecurity AS forced,
       pg_catalog.array_to_string(reloptions, ', ') AS options, relreplident::text AS replica_identity,
       CASE WHEN relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(oid) END AS definition,
       CASE WHEN relkind = 'm' THEN relispopulated END AS populated,
       pg_catalog.obj_description(oid, 'pg_class') AS comment
  FROM ours WHERE relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY name
""",
        "column": RELATIONS
        + """
SELECT o.name || '.' || pg_catalog.quote_ident(a.attname) AS object,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull
       OR EXISTS (SELECT FROM pg_catalog.pg_constraint n
                   WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND NOT n.convalidated
                     AND n.conkey = ARRAY[a.attnum]) AS nullable,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default, a.attidentity::text AS identity,
       a.attgenerated::text AS generated, a.attcollation::pg_catalog.regcollation::text AS collation,
       pg_catalog.col_description(a.attrelid, a.attnum) AS comment
  FROM ours o
  JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE o.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY o.name, a.attname
""",
        "constraint": RELATIONS
        + """
SELECT o.name || '.' || pg_catalog.quote_ident(k.conname) AS object,
       pg_catalog.pg_get_constraintdef(k.oid) AS definition, k.convalidated AS validated,
       NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                    WHERE t.tgconstraint = k.oid AND t.tgenabled NOT IN ('O', 'A')) AS enforced,
       pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment
  FROM ours o JOIN pg_catalog.pg_constraint k ON k.conrelid = o.oid AND k.contype IN ('p', 'f', 'u', 'c', 'x')
 ORDER BY o.name, k.conname
""",
        "index": RELATIONS
        + """
SELECT o.name || '.' || pg_catalog.quote_ident(c.relname) AS object,
       pg_catalog.pg_get_indexdef(i.indexrelid) AS definition,
       i.indisvalid AND i.indisready AND i.indislive AS valid,
       pg_catalog.obj_description(i.indexrelid, 'pg_class') AS comment
  FROM ours o
  JOIN pg_catalog.pg_index i ON i.indrelid = o.oid
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                    WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
 ORDER BY o.name, c.relname
""",
        "policy": RELATIONS
        + """
SELECT o.name || '.' || pg_catalog.quote_ident(p.polname) AS object,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                     ELSE 'ALL' END AS command,
       p.polpermissive AS permissive,
       pg_catalog.array_to_string(
         ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' WHEN o.relowner THEN '<owner>'
                             ELSE pg_catalog.pg_get_userbyid(r)::text END
                 FROM pg_catalog.unnest(p.polroles) r ORDER BY 1), ', ') AS roles,
       pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS using,
       pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS check,
       pg_catalog.obj_description(p.oid, 'pg_policy') AS comment
  FROM ours o JOIN pg_catalog.pg_policy p ON p.polrelid = o.oid ORDER BY o.name, p.polname
""",
        "trigger": RELATIONS
        + """
SELECT o.name || '.' || pg_catalog.quote_ident(t.tgname) AS object,
       pg_catalog.pg_get_triggerdef(t.oid) AS definition, t.tgenabled::text AS enabled,
       pg_catalog.obj_description(t.oid, 'pg_trigger') AS comment
  FROM ours o JOIN pg_catalog.pg_trigger t ON t.tgrelid = o.oid AND NOT t.tgisinternal ORDER BY o.name, t.tgname
""",
        "grant": RELATIONS
        + """
SELECT o.name || ' to ' || g.role AS object, g.privileges
  FROM ours o,
       LATERAL (SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' WHEN o.relowner THEN '<owner>'
                                      ELSE pg_catalog.pg_get_userbyid(x.grantee)::text END AS role,
                       pg_catalog.string_agg(x.privilege_type
                                             || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END,
                                             ', ' ORDER BY x.privilege_type) AS privileges
                  FROM pg_catalog.aclexplode(coalesce(o.relacl, pg_catalog.acldefault(
                         CASE o.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", o.relowner))) x
                 WHERE NOT (x.grantee = o.relowner AND x.privilege_type = 'MAINTAIN')
                 GROUP BY x.grantee) g
 WHERE o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY 1
""",
        "column grant": RELATIONS
        + """
SELECT o.name || '.' || pg_catalog.quote_ident(a.attname) || ' to '
       || CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee)::text END AS object,
       pg_catalog.string_agg(x.privilege_type, ', ' ORDER BY x.privilege_type) AS privileges
  FROM ours o
  JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND NOT a.attisdropped AND a.attacl IS NOT NULL,
       LATERAL pg_catalog.aclexplode(a.attacl) x
 GROUP BY 1 ORDER BY 1
""",
        "sequence": RELATIONS
        + """
SELECT o.name AS object, pg_catalog.format_type(s.seqtypid, NULL) AS type, s.seqstart AS start,
       s.seqincrement AS increment, s.seqmax AS max, s.seqmin AS min, s.seqcycle AS cycle,
       pg_catalog.obj_description(o.oid, 'pg_class') AS comment
  FROM ours o JOIN pg_catalog.pg_sequence s ON s.seqrelid = o.oid ORDER BY o.name
""",
        "function": """
SELECT p.oid::pg_catalog.regprocedure::text AS object, pg_catalog.pg_get_userbyid(p.proowner)::text AS owner,
       CASE WHEN p.prokind = 'a' THEN p.prosrc ELSE pg_catalog.pg_get_functiondef(p.oid) END AS definition,
       p.prosecdef AS security_definer, pg_catalog.array_to_string(p.proconfig, ', ') AS config,
       pg_catalog.md5(p.prosrc) AS body_md5,
       (SELECT pg_catalog.string_agg(g.caller, ', ' ORDER BY g.caller)
          FROM (SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee)::text END
                       || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS caller
                  FROM pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) x
                 WHERE x.grantee <> p.proowner) g) AS callers,
       pg_catalog.obj_description(p.oid, 'pg_proc') AS comment
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                    WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid AND e.deptype = 'e')
 ORDER BY 1
""",
        "type": """
SELECT t.oid::pg_catalog.regtype::text AS object, t.typtype::text AS kind,
       CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) END AS base,
       (SELECT pg_catalog.string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
          FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS labels,
       (SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname)
          FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid) AS constraints,
       (SELECT pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', '
                                     ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND NOT a.attisdropped) AS attributes,
       t.typdefault AS default, pg_catalog.obj_description(t.oid, 'pg_type') AS comment
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND (t.typtype IN ('d', 'e', 'r') OR t.typrelid IN (SELECT oid FROM pg_catalog.pg_class WHERE relkind = 'c'))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                    WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid AND e.deptype = 'e')
 ORDER BY 1
""",
        "rule": RELATIONS
        + """
SELECT o.name || '.' || pg_catalog.quote_ident(r.rulename) AS object, pg_catalog.pg_get_ruledef(r.oid) AS definition
  FROM ours o JOIN pg_catalog.pg_rewrite r ON r.ev_class = o.oid AND r.rulename <> '_RETURN' ORDER BY 1
""",
        "statistics": RELATIONS
        + """
SELECT pg_catalog.quote_ident(s.stxname) AS object, pg_catalog.pg_get_statisticsobjdef(s.oid) AS definition
  FROM ours o JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = o.oid ORDER BY 1
""",
        "schema": """
SELECT n.nspname::text AS object, pg_catalog.pg_get_userbyid(n.nspowner)::text AS owner,
       pg_catalog.array_to_string(n.nspacl, ', ') AS grants,
       pg_catalog.obj_description(n.oid, 'pg_namespace') AS comment
  FROM pg_catalog.pg_namespace n
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1
""",
        "extension": """
SELECT e.extname::text AS object, e.extversion AS version FROM pg_catalog.pg_extension e ORDER BY 1
""",
        "default privileges": """
SELECT pg_catalog.pg_get_userbyid(d.defaclrole)::text || ' in ' || coalesce(n.nspname::text, 'any schema') || ' on '
       || d.defaclobjtype::text AS object, pg_catalog.array_to_string(d.defaclacl, ', ') AS grants
  FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace ORDER BY 1
""",
    }
)


def snapshot(connection: sa.Connection) -> Snapshot:
    """The whole schema of a database: (kind, object) -> attributes.

    Errors  none of its own; objects the role may not read are seen all the same, the catalog is public
    """
    found: Snapshot = {}
    for kind, sql in SNAPSHOT_QUERIES.items():
        for row in Query(sql).run(connection):
            found[kind, str(row["object"])] = {key: value for key, value in row.items() if key != "object"}
    return found


def diff(before: Snapshot, after: Snapshot) -> Rows:
    """What differs between two snapshots, one row for each attribute, sorted.

    Shape  change (added, removed, changed), kind, object, attribute, before, after
    """
    rows = []
    for key in sorted(before.keys() | after.keys()):
        kind, name = key
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            change = "added" if old is None else "removed"
            rows.append(_row(change, kind, name, "", _plain(old), _plain(new)))
        else:
            rows += [
                _row("changed", kind, name, attribute, old.get(attribute), new.get(attribute))
                for attribute in sorted(old.keys() | new.keys())
                if old.get(attribute) != new.get(attribute)
            ]
    return tuple(rows)


def fingerprint(snapshot: Snapshot) -> str:
    """SHA-256 of a snapshot, the same for the same schema on any server, whatever its owners are called."""
    ownerless = {key: {k: v for k, v in value.items() if k != "owner"} for key, value in snapshot.items()}
    text = json.dumps(sorted([list(key), value] for key, value in ownerless.items()), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _row(change: str, kind: str, name: str, attribute: str, before: Any, after: Any) -> Row:
    return {
        "change": change, "kind": kind, "object": name, "attribute": attribute, "before": before, "after": after,
    }  # fmt: skip


def summarise(difference: Rows) -> Rows:
    """A difference as people read it: change, kind, object, and in words what is or was."""
    return tuple(
        {"change": row["change"], "kind": row["kind"], "object": row["object"], "what": _words(row)}
        for row in difference
    )


def _words(row: Row) -> str:
    if row["change"] == "changed":
        return f"{row['attribute']}: {row['before']} → {row['after']}"
    return str(row["after"] if row["change"] == "added" else row["before"])


def _plain(attributes: Mapping[str, Any] | None) -> str | None:
    """The attributes that say something, as one line."""
    if attributes is None:
        return None
    silent = ("", "-", '"default"')
    said = {k: v for k, v in attributes.items() if not (v is None or v is False or v in silent)}
    return "; ".join(key if value is True else f"{key} {value}" for key, value in said.items())
