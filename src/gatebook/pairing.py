"""Two SELECTs paired by a key inside the database, in one statement: what is missing, extra, different.

Only counts and a few offending rows leave the server, however large the sides are. A role that may not see all
rows gets fewer of them and no error, so whatever the comparison has read is held against row security
afterwards: then it could not tell.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from gatebook import row_security
from gatebook.catalog import Query, execute
from gatebook.errors import ConfigurationError
from gatebook.verdicts import Rows

SAMPLE_ROWS = 20
LONGEST_TEXT = 1000  # characters of a value in the sample
INTEGERS = (20, 21, 23)  # pg_type.oid of bigint, smallint, integer: the difference of two may not fit into one
NUMBERS = (*INTEGERS, 700, 701, 1700)  # real, double precision, numeric

Types = Mapping[str, int]


@dataclass(frozen=True)
class Comparison:
    """What must be equal to what.

    raw         SELECT over the source tables that gives the key and the measures
    seen        SELECT over the view that must give the same; `of_view` writes the plain one
    key         columns that name each row once, on both sides
    measures    columns that must be the same, NULL equal to NULL and NaN to NaN
    tolerances  measure -> largest absolute difference that is still the same; 0 where not stated
    view        the relation that is refreshed and whose age is told: as in SQL, quoted where it must be
    Errors      ConfigurationError for a comparison that cannot mean anything
    """

    raw: str
    seen: str
    key: tuple[str, ...]
    measures: tuple[str, ...]
    tolerances: Mapping[str, Decimal | int] = field(default_factory=lambda: MappingProxyType({}))
    view: str = ""

    def __post_init__(self) -> None:
        names = (*self.key, *self.measures)
        strange = sorted(set(self.tolerances) - set(self.measures))
        problem = ""
        if not self.key or not self.measures:
            problem = "without a key and a measure nothing would be compared"
        elif len(set(names)) < len(names):
            problem = "a column is named twice"
        elif strange:
            problem = f"there is a tolerance for {', '.join(strange)}, which is no measure"
        elif not all(Decimal(each).is_finite() and each >= 0 for each in self.tolerances.values()):
            problem = "a tolerance is a number from 0 up"
        if problem:
            raise ConfigurationError(
                problem,
                where=f"comparison with {self.view or 'a view'}: key {self.key}, measures {self.measures}",
                next_step="name each key column and each measure once, and tolerances by their measure",
            )


@dataclass(frozen=True)
class Difference:
    """How two sides differ, in exact counts.

    missing, extra, different  rows only in raw, only in the view, in both with another measure; rows with NULL in
                               their key are left out, and all three are 0 where a key is not unique
    null_keys_*      rows with NULL in their key
    repeated_keys_*  keys that more than one row has
    sample           the first offending rows by key: kind, key columns, each measure on both sides, as text
    problem          why nothing could be compared; the counts then mean nothing
    """

    rows_raw: int = 0
    rows_view: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    null_keys_raw: int = 0
    null_keys_view: int = 0
    repeated_keys_raw: int = 0
    repeated_keys_view: int = 0
    sample: Rows = ()
    problem: str = ""

    @property
    def rows(self) -> int:
        """Rows that are not the same on both sides."""
        return self.missing + self.extra + self.different

    @property
    def is_paired(self) -> bool:
        return not (self.null_keys_raw or self.null_keys_view or self.repeated_keys_raw or self.repeated_keys_view)

    def __str__(self) -> str:
        return (
            f"{self.missing:,} missing, {self.extra:,} extra, {self.different:,} different "
            f"(raw has {self.rows_raw:,} rows, the view {self.rows_view:,})"
        )


# Rows on both sides that are not unique would pair up with each other, n times m: where there are any, nothing is
# joined. Key and measures are renamed, so that theirs never meet names of ours.
COMPARE = """
WITH gatebook_raw AS MATERIALIZED (
SELECT {columns}, {unkeyed} AS unkeyed, true AS here FROM (
{raw}
) q
), gatebook_seen AS MATERIALIZED (
SELECT {columns}, {unkeyed} AS unkeyed, true AS here FROM (
{seen}
) q
), repeated AS MATERIALIZED (
SELECT 'not unique in raw' AS kind, {keys} FROM gatebook_raw WHERE NOT unkeyed GROUP BY {keys} HAVING count(*) > 1
 UNION ALL
SELECT 'not unique in view', {keys} FROM gatebook_seen WHERE NOT unkeyed GROUP BY {keys} HAVING count(*) > 1
), offending AS MATERIALIZED (
SELECT CASE WHEN s.here IS NULL THEN 'missing' WHEN r.here IS NULL THEN 'extra' ELSE 'different' END AS kind,
       {either}, {raws}, {views}
  FROM (SELECT * FROM gatebook_raw WHERE NOT unkeyed AND NOT EXISTS (SELECT FROM repeated)) r
  FULL JOIN (SELECT * FROM gatebook_seen WHERE NOT unkeyed AND NOT EXISTS (SELECT FROM repeated)) s
       ON {same_key}
 WHERE s.here IS NULL OR r.here IS NULL OR {different}
 UNION ALL
SELECT 'NULL in key in raw', {keys}, {measures}, {nulls} FROM gatebook_raw WHERE unkeyed
 UNION ALL
SELECT 'NULL in key in view', {keys}, {nulls}, {measures} FROM gatebook_seen WHERE unkeyed
 UNION ALL
SELECT kind, {keys}, {nulls}, {nulls} FROM repeated
)
SELECT counts.*, sample.kind, {shown}
  FROM (SELECT (SELECT count(*) FROM gatebook_raw) AS rows_raw,
               (SELECT count(*) FROM gatebook_seen) AS rows_view,
               count(*) FILTER (WHERE kind = 'missing') AS missing,
               count(*) FILTER (WHERE kind = 'extra') AS extra,
               count(*) FILTER (WHERE kind = 'different') AS different,
               count(*) FILTER (WHERE kind = 'NULL in key in raw') AS null_keys_raw,
               count(*) FILTER (WHERE kind = 'NULL in key in view') AS null_keys_view,
               count(*) FILTER (WHERE kind = 'not unique in raw') AS repeated_keys_raw,
               count(*) FILTER (WHERE kind = 'not unique in view') AS repeated_keys_view
          FROM offending) counts
  LEFT JOIN (SELECT * FROM offending ORDER BY {keys}, kind LIMIT {limit}) sample ON true
 ORDER BY {keys}, sample.kind
"""
COUNTS = (
    *("rows_raw", "rows_view", "missing", "extra", "different"),
    *("null_keys_raw", "null_keys_view", "repeated_keys_raw", "repeated_keys_view"),
)

# Row shape: table. What this transaction has touched: a table that the planner found to hide all of its rows is in
# no plan, and a function's tables never are, but a lock has been taken on each.
TOUCHED = """
SELECT DISTINCT l.relation::pg_catalog.regclass::text AS table
  FROM pg_catalog.pg_locks l
 WHERE l.locktype = 'relation' AND l.pid = pg_catalog.pg_backend_pid()
   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
 ORDER BY 1
"""

# The comparison has many small expressions; compiling them took longer than one run over three million rows saves.
WITHOUT_JIT = "SET LOCAL jit = off"

SAYS: Mapping[str | None, str] = MappingProxyType(
    {
        "55P03": "another session held a lock for longer than lock_timeout; run again when it is done",
        "57014": "a statement was cancelled, or ran for longer than statement_timeout; run again, or allow more time",
        "53100": "the server's disk is full; make room, then run again",
        "42501": "this role lacks a privilege; run as the owner, or grant it",
        "42P01": "a relation is not there; check its name and schema",
        "42804": "types do not go together; cast one of them",
        "42883": "types do not go together; cast one of them",
        "55000": "a view has not been filled or cannot be refreshed this way; REFRESH it by itself first",
        "25006": "this transaction may only read; compare as it is, without a refresh",
        "25001": "statements of this transaction see different moments; begin it as REPEATABLE READ",
        "40001": "another session refreshed the same view meanwhile; run again",
        "40P01": "two sessions waited for each other; run again",
    }
)


def of_view(
    view: str,
    *,
    raw: str,
    key: tuple[str, ...],
    measures: tuple[str, ...],
    tolerances: Mapping[str, Decimal | int] = MappingProxyType({}),
) -> Comparison:
    """A comparison with the view's own rows."""
    seen = select((*key, *measures), sql.SQL(view))  # regclass text: quoted where it must be
    return Comparison(raw, seen, key, measures, tolerances, view)


def select(names: Iterable[str], source: sql.Composable) -> str:
    listed = sql.SQL(", ").join(map(sql.Identifier, names))
    return sql.SQL("SELECT {} FROM {}").format(listed, source).as_string()


def compare(connection: sa.Connection, comparison: Comparison, *, sample_rows: int = SAMPLE_ROWS) -> Difference:
    """What differs at this moment: one SELECT, so a read-only transaction will do, and nothing is left behind.

    connection  in a transaction, not in autocommit; it stays usable after a problem
    """
    savepoint = connection.begin_nested()  # rolling it back also gives up the locks by which we know what was read
    doing = "raw"
    try:
        raw = columns(connection, comparison.raw)
        doing = "view"
        problem = unfit(comparison, raw=raw, view=columns(connection, comparison.seen))
        if problem:
            return Difference(problem=problem)
        doing = "comparison"
        execute(connection, WITHOUT_JIT)
        rows = execute(connection, statement(comparison, raw, sample_rows=sample_rows)).all()
        hidden = _hidden(connection)
    except sa.exc.DBAPIError as error:
        return Difference(problem=f"{doing}: {told(error)}")
    finally:
        savepoint.rollback()
    return Difference(problem=hidden) if hidden else _difference(comparison, rows)


def columns(connection: sa.Connection, text: str) -> Types:
    """Columns of a SELECT with the oids of their types; LIMIT 0 plans the statement and runs nothing of it."""
    cursor: Any = execute(connection, f"SELECT * FROM (\n{bare(text)}\n) q LIMIT 0").cursor
    return {each.name: each.type_code for each in cursor.description}


def unfit(comparison: Comparison, **sides: Types) -> str:
    """Why these columns cannot be compared, or nothing.

    sides  raw or view or both
    """
    names = (*comparison.key, *comparison.measures)
    for side, types in sides.items():
        lacking = [name for name in names if name not in types]
        if lacking:
            has = ", ".join(types) or "none"
            return f"{side} has no column {', '.join(lacking)} (it has {has}); name its columns as key and measures do"
        wordy = [name for name in comparison.tolerances if types[name] not in NUMBERS]
        if wordy:
            return f"{side}: {', '.join(wordy)} is no number, so there can be no tolerance; compare it as it is"
    return ""


def statement(comparison: Comparison, types: Types, *, sample_rows: int) -> str:
    """The one SELECT.

    types  of the columns of raw
    """
    keys, measures = _numbered("k", comparison.key), _numbered("m", comparison.measures)
    raws, views, nulls = _numbered("r", measures), _numbered("s", measures), ["NULL"] * len(measures)
    beside = [name for both in zip(raws, views, strict=True) for name in both]
    named = zip((*comparison.key, *comparison.measures), (*keys, *measures), strict=True)
    pairs = zip(comparison.measures, measures, strict=True)
    made = sql.SQL(COMPARE).format(
        columns=sql.SQL(", ").join(sql.SQL("q.{} AS {}").format(*map(sql.Identifier, each)) for each in named),
        unkeyed=sql.SQL(" OR ").join(sql.SQL("q.{} IS NULL").format(sql.Identifier(each)) for each in comparison.key),
        raw=sql.SQL(bare(comparison.raw)),
        seen=sql.SQL(bare(comparison.seen)),
        keys=_list(keys),
        either=_list(f"coalesce(r.{key}, s.{key}) AS {key}" for key in keys),
        raws=_list(f"r.{each} AS {name}" for each, name in zip(measures, raws, strict=True)),
        views=_list(f"s.{each} AS {name}" for each, name in zip(measures, views, strict=True)),
        same_key=sql.SQL(" AND ".join(f"r.{key} = s.{key}" for key in keys)),
        different=sql.SQL(" OR ").join(_different(comparison, name, short, types) for name, short in pairs),
        measures=_list(measures),
        nulls=_list(nulls),
        shown=_list(f"pg_catalog.left(sample.{each}::text, {LONGEST_TEXT})" for each in (*keys, *beside)),
        limit=sql.Literal(sample_rows),
    )
    return made.as_string()


def bare(text: str) -> str:
    """A SELECT as it may stand in brackets, on lines of its own: its last line may be a comment."""
    return text.strip().rstrip("; \t\r\n")


def told(error: sa.exc.DBAPIError) -> str:
    """The server's error in a sentence, decided by SQLSTATE, with its own words in brackets."""
    cause = error.orig
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    words = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    meaning = SAYS.get(state, "the database answered with an error")
    return f"{meaning} ({words or str(cause).strip().partition(chr(10))[0]}, SQLSTATE {state or 'none'})"


def _numbered(letter: str, names: Sequence[str]) -> list[str]:
    return [f"{letter}{place}" for place in range(1, len(names) + 1)]


def _list(parts: Iterable[str]) -> sql.Composable:
    return sql.SQL(", ".join(parts))


def _different(comparison: Comparison, measure: str, short: str, types: Types) -> sql.Composable:
    """With a tolerance: not the same, and too far apart or not comparable at all. NaN is equal to NaN only."""
    differs = sql.SQL(f"r.{short} IS DISTINCT FROM s.{short}")
    tolerance = comparison.tolerances.get(measure, 0)
    if not tolerance:
        return differs
    wide = "::numeric" if types[measure] in INTEGERS else ""
    return sql.SQL("({} AND (abs(r.{}{} - s.{}) <= {}) IS NOT TRUE)").format(
        differs, sql.SQL(short), sql.SQL(wide), sql.SQL(short), sql.Literal(tolerance)
    )


def _hidden(connection: sa.Connection) -> str:
    """Why rows of what was read may be hidden from this role, or nothing; what was touched before counts as read."""
    touched = {str(row["table"]) for row in Query(TOUCHED).run(connection)}
    hidden = ", ".join(each for each in row_security.filtered_tables(connection) if each in touched)
    if not hidden:
        return ""
    return (
        f"row security may hide rows of {hidden} from this role, so what it reads need not be all there is; "
        "give the role a policy that shows it all of them"
    )


def _difference(comparison: Comparison, rows: Sequence[sa.Row[Any]]) -> Difference:
    kind = "kind of difference" if "kind" in comparison.key else "kind"
    pairs = [f"{measure} {side}" for measure in comparison.measures for side in ("raw", "view")]
    found = [tuple(row)[len(COUNTS) :] for row in rows]
    sample = tuple(dict(zip((kind, *comparison.key, *pairs), row, strict=True)) for row in found if row[0] is not None)
    counts: dict[str, Any] = dict(zip(COUNTS, rows[0][: len(COUNTS)], strict=True))
    return Difference(**counts, sample=sample)
