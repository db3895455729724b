"""A raw aggregation against what a materialized view holds. Three ways to ask:

compare               what differs at this moment, in the caller's transaction; `verdict` judges it
refresh_and_compare   refresh first, in the same snapshot: exact while others write; nothing is kept
compare_as_is         refresh nothing, and tell a view that is stale from one that is wrong
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from gatebook import migrations
from gatebook.catalog import Query, Row, execute
from gatebook.pairing import SAMPLE_ROWS, Comparison, Difference, bare, columns, compare, of_view, select, told, unfit
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

__all__ = [
    "REFRESH_LOCK", "Comparison", "Difference", "Recorded", "compare", "compare_as_is", "contents_checksum", "of_view",
    "refresh_and_compare", "verdict",
]  # fmt: skip

REFRESH_LOCK = 20251115  # first key of the advisory lock; the second is hashtext of the view's regclass text

LOCK = "SELECT pg_catalog.pg_advisory_lock(%(group)s, %(view)s)"
UNLOCK = "SELECT pg_catalog.pg_advisory_unlock(%(group)s, %(view)s)"

# Row shape: one row, or none where there is no such relation. An index is of use to REFRESH ... CONCURRENTLY when it
# is unique for every row and by columns alone. A plain REFRESH, by another session, moves the relation to another
# file, and then even a snapshot from before it sees the new rows.
VIEW = """
SELECT c.oid::pg_catalog.regclass::text AS name, c.relname::text AS relname, n.nspname::text AS schema,
       c.relkind = 'm' AS is_materialized, c.relispopulated AS is_populated,
       EXISTS (SELECT FROM pg_catalog.pg_index i
                WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                  AND i.indpred IS NULL AND i.indexprs IS NULL) AS has_unique_index,
       pg_catalog.hashtext(c.oid::pg_catalog.regclass::text) AS lock,
       CASE WHEN c.relkind = 'm' THEN pg_catalog.pg_get_viewdef(c.oid) END AS definition,
       CASE WHEN c.relkind = 'm' THEN pg_catalog.md5(pg_catalog.pg_get_viewdef(c.oid)) END AS definition_md5,
       coalesce(pg_catalog.pg_relation_filenode(c.oid), 0) <> c.relfilenode AS is_newer_than_snapshot,
       pg_catalog.statement_timestamp() AS now
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = pg_catalog.to_regclass(%(view)s)
"""


@dataclass(frozen=True)
class Recorded:
    """What the log of refreshes holds of the last one.

    refreshed_at       with its time zone
    contents_checksum  as contents_checksum() gives it
    definition_md5     md5(pg_get_viewdef(view))
    """

    refreshed_at: datetime
    contents_checksum: str
    definition_md5: str
    rows: int


def verdict(what: str, comparison: Comparison, difference: Difference, *, age: str = "") -> Verdict:
    """Green when both sides have the same rows, and have any.

    age  when the view was refreshed, in words
    """
    if difference.problem:
        return Unknown(what, reason=difference.problem)
    if not difference.is_paired:
        return Unknown(what, difference.sample, (), _unpaired(comparison, difference))
    if not difference.rows_raw and not difference.rows_view:
        return Unknown(what, _summary(difference, age), (), "both sides are empty, so nothing was compared")
    if difference.rows:
        return Fail(what, difference.sample, (), str(difference))
    return Pass(what, _summary(difference, age), ())


def refresh_and_compare(
    connection: sa.Connection,
    comparison: Comparison,
    *,
    what: str = "",
    sample_rows: int = SAMPLE_ROWS,
    lock_timeout_ms: int = migrations.LOCK_TIMEOUT_MS,
    statement_timeout_ms: int = migrations.STATEMENT_TIMEOUT_MS,
) -> Verdict:
    """Refresh the view and compare, both in one snapshot: exact while others write. Nothing of it is kept.

    Two refreshes of one view wait for each other at an advisory lock. It is taken before the snapshot, in a
    transaction of its own: with a snapshot from before another's refresh, the view could not be refreshed again.

    connection  one that may write; the transaction it is in is rolled back
    """
    what = what or _claim(comparison)
    limits = {"lock_timeout_ms": lock_timeout_ms, "statement_timeout_ms": statement_timeout_ms}
    connection.rollback()
    try:
        migrations.set_limits(connection, **limits)
        view = _view(connection, comparison)
        problem = _unfit_view(comparison, view) or unfit(comparison, raw=columns(connection, comparison.raw))
        if problem or view is None:
            return Unknown(what, reason=problem)
        with _locked(connection, view):
            execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            migrations.set_limits(connection, **limits)
            execute(connection, _refresh(view))
            difference = compare(connection, comparison, sample_rows=sample_rows)
    except sa.exc.DBAPIError as error:
        return Unknown(what, reason=f"{told(error)}; the view holds what it held before")
    finally:
        connection.rollback()
    return verdict(what, comparison, difference, age="within this comparison")


def compare_as_is(
    connection: sa.Connection,
    comparison: Comparison,
    *,
    recorded: Recorded | None,
    accept_stale: bool = False,
    what: str = "",
    sample_rows: int = SAMPLE_ROWS,
) -> Verdict:
    """Compare without a refresh, and where the two differ say whether the view is stale or wrong.

    connection    in no transaction, or in one that is REPEATABLE READ: all that is read here is of one moment
    recorded      the last refresh, read from its log in the same transaction; None where none is on record
    accept_stale  green, too, is a view whose definition is right and that holds what its last refresh left
    """
    what = what or _claim(comparison)
    is_mine = not connection.in_transaction()
    try:
        execute(connection, f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ{', READ ONLY' if is_mine else ''}")
        difference = compare(connection, comparison, sample_rows=sample_rows)
        view = _view(connection, comparison)
        judged = verdict(what, comparison, difference, age=_age(view, recorded))
        if not isinstance(judged, Fail):
            return judged
        if view is None or not view["is_materialized"]:
            return Unknown(what, judged.have, (), f"{difference}; {_unfit_view(comparison, view)}")
        judged = (
            _wrong_definition(connection, judged, comparison, view)
            or _other_contents(connection, judged, view, recorded)
            or _stale(judged, difference, age=_age(view, recorded), accept=accept_stale)
        )
        return _of_this_moment(connection, judged, comparison)
    except sa.exc.DBAPIError as error:
        return Unknown(what, reason=told(error))
    finally:
        if is_mine:
            connection.rollback()


def contents_checksum(connection: sa.Connection, view: str) -> tuple[int, str]:
    """Number of rows and the sum of their 64-bit hashes, independent of their order, as decimal text.

    view    as in SQL, quoted where it must be
    Source  the text of each row, under the settings of the session (see database.SESSION)
    """
    text = sql.SQL(
        "SELECT count(*), coalesce(sum(pg_catalog.hashtextextended((v.*)::text, 0)::numeric), 0)::text FROM {} v"
    ).format(sql.SQL(view))
    rows, checksum = tuple(execute(connection, text.as_string()).one())
    return rows, checksum


# -- judging


def _claim(comparison: Comparison) -> str:
    return f"{comparison.view or 'the view'} holds what its source rows add up to"


def _summary(difference: Difference, age: str) -> Rows:
    counts = {"rows_raw": difference.rows_raw, "rows_view": difference.rows_view, "missing": difference.missing}
    return ({**counts, "extra": difference.extra, "different": difference.different, "refreshed": age},)


def _unpaired(comparison: Comparison, difference: Difference) -> str:
    found = {
        "rows of raw with NULL in the key": difference.null_keys_raw,
        "rows of the view with NULL in the key": difference.null_keys_view,
        "keys that are not unique in raw": difference.repeated_keys_raw,
        "keys that are not unique in the view": difference.repeated_keys_view,
    }
    counts = ", ".join(f"{count:,} {words}" for words, count in found.items() if count)
    key = ", ".join(comparison.key)
    return f"rows cannot be paired by {key}: {counts}; take a key that names each row once and is never NULL"


def _age(view: Row | None, recorded: Recorded | None) -> str:
    if view is None or recorded is None:
        return "no refresh is on record"
    return _ago(view["now"] - recorded.refreshed_at)


def _ago(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    for unit, length, until in (("second", 1, 120), ("minute", 60, 7200), ("hour", 3600, 172_800)):
        if seconds < until:
            return f"{seconds // length} {unit}{'' if seconds // length == 1 else 's'} ago"
    return f"{seconds // 86_400} days ago"


# -- refreshing


def _view(connection: sa.Connection, comparison: Comparison) -> Row | None:
    rows = Query(VIEW, {"view": comparison.view}).run(connection) if comparison.view else ()
    return rows[0] if rows else None


def _unfit_view(comparison: Comparison, view: Row | None) -> str:
    """Why this cannot be refreshed, or nothing."""
    if not comparison.view:
        return "the comparison does not say which view is meant; name it"
    if view is None:
        return f"there is no view {comparison.view}; check its name and schema, and that its migration ran"
    if not view["is_materialized"]:
        return f"{comparison.view} is no materialized view, so it is never refreshed; use compare alone"
    return ""


def _refresh(view: Row) -> str:
    """Concurrently where that is possible: then others read the view meanwhile."""
    concurrently = "CONCURRENTLY " if view["is_populated"] and view["has_unique_index"] else ""
    return f"REFRESH MATERIALIZED VIEW {concurrently}{view['name']}"


@contextlib.contextmanager
def _locked(connection: sa.Connection, view: Row) -> Iterator[None]:
    """Hold the advisory lock of the view's refreshes, in no transaction. A session that cannot let go is closed."""
    keys = {"group": REFRESH_LOCK, "view": view["lock"]}
    try:
        execute(connection, LOCK, keys)
        connection.rollback()  # the lock belongs to the session
        yield
    finally:
        try:
            connection.rollback()
            execute(connection, UNLOCK, keys)
            connection.rollback()
        except sa.exc.DBAPIError:
            connection.invalidate()


# -- stale or wrong


def _wrong_definition(connection: sa.Connection, judged: Verdict, comparison: Comparison, view: Row) -> Verdict | None:
    """What the view's own definition computes now against raw."""
    defined = _as_defined(comparison, view)
    difference = compare(connection, defined)
    untold = difference.problem
    if not untold and not difference.is_paired:
        untold = f"as defined: {_unpaired(comparison, difference)}"
    if not untold and _reads(connection, defined.seen, view):
        untold = f"seen reads {comparison.view} by a name that the definition cannot stand in for; leave out its schema"
    if untold:
        reason = f"{judged.reason}; whether it is stale or wrong cannot be told: {untold}"
        return Unknown(judged.what, judged.have, (), reason)
    if difference.rows:
        reason = f"wrong: the definition computes something else than raw: {difference}"
        return Fail(judged.what, difference.sample, (), reason)
    return None


def _as_defined(comparison: Comparison, view: Row) -> Comparison:
    """The same comparison with the view's definition, run now, in place of what the view holds."""
    names, definition = (*comparison.key, *comparison.measures), bare(view["definition"])
    if comparison.seen == select(names, sql.SQL(comparison.view)):
        return replace(comparison, seen=select(names, sql.SQL(f"(\n{definition}\n) q")))
    stand_in = sql.Identifier(view["relname"]).as_string()
    seen = f"WITH {stand_in} AS (\n{definition}\n) SELECT * FROM (\n{bare(comparison.seen)}\n) q"
    return replace(comparison, seen=seen)


def _reads(connection: sa.Connection, text: str, view: Row) -> bool:
    document: Any = execute(connection, f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) {text}").scalar_one()[0]
    wanted = (view["schema"], view["relname"])
    left = [document["Plan"]]
    while left:
        node: Mapping[str, Any] = left.pop()
        if (node.get("Schema"), node.get("Relation Name")) == wanted:
            return True
        left += node.get("Plans", [])
    return False


def _other_contents(connection: sa.Connection, judged: Verdict, view: Row, recorded: Recorded | None) -> Verdict | None:
    """What the view holds and how it is defined against what is on record of its last refresh."""
    if recorded is None:
        reason = f"{judged.reason}; whether it is stale or wrong cannot be told: no refresh of this view is on record"
        return Unknown(judged.what, judged.have, (), reason)
    rows, checksum = contents_checksum(connection, view["name"])
    have = {"rows": rows, "contents_checksum": checksum, "definition_md5": view["definition_md5"]}
    want = {name: getattr(recorded, name) for name in have}
    if have == want:
        return None
    if have["definition_md5"] != want["definition_md5"]:
        reason = "wrong: the definition is not the one of the last refresh on record"
    else:
        reason = "wrong: the contents are not what the last refresh on record left"
    return Fail(judged.what, (have,), (want,), f"{reason} ({_age(view, recorded)}); {judged.reason}")


def _stale(judged: Verdict, difference: Difference, *, age: str, accept: bool) -> Verdict:
    left = "contents are what that refresh left"
    if accept:
        reason = f"stale by {difference.rows:,} rows, refreshed {age}; {left}"
        return Pass(judged.what, _summary(difference, age), (), reason)
    return Fail(judged.what, judged.have, (), f"stale: {difference}; refreshed {age}, and {left}: refresh the view")


def _of_this_moment(connection: sa.Connection, judged: Verdict, comparison: Comparison) -> Verdict:
    view = _view(connection, comparison)
    if view is None or view["is_newer_than_snapshot"]:
        return Unknown(judged.what, reason="another session refreshed the view meanwhile; run again")
    return judged
