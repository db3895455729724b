"""How PostgreSQL answers a query: its plan is taken, and judged by the way it goes, its cost and its time.

EXPLAIN ANALYZE runs its statement, so it is only ever sent inside a read-only transaction: the server itself
refuses a statement that would write.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa

from gatebook.catalog import execute
from gatebook.errors import StatementRefused
from gatebook.plan_changes import plan_changes
from gatebook.plans import Node, Plan
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

__all__ = ["Plan", "access_path", "explain", "plan_changes", "serves"]

NOT_A_QUERY = "the text is not one query that only reads"
REFUSED = {
    "42601": NOT_A_QUERY,  # syntax error; two statements; CREATE TABLE AS, which a read-only EXPLAIN would run
    "0A000": NOT_A_QUERY,  # WITH that writes
    "25006": "a statement that writes is not explained",
    "25P01": "a plan is only taken inside a transaction, and this connection commits each statement by itself",
}
INDEX_ONLY = {f"{parallel}Index Only Scan{way}" for parallel in ("", "Parallel ") for way in ("", " Backward")}


def explain(connection: sa.Connection, sql: str, parameters: Mapping[str, Any] | None = None) -> Plan:
    """EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) of one query, in a read-only transaction; nothing it does is kept.

    A transaction that could write is read-only meanwhile, and may write again afterwards.

    parameters  by name, in psycopg's form %(name)s; the plan is the one for these values
    Errors      StatementRefused for what writes, locks rows, or is not one query; sqlalchemy's for other failures
    """
    text = sql.strip().rstrip(";")
    with _refusing(text), _read_only(connection), _one_statement(connection):
        execute(connection, f"EXPLAIN SELECT FROM (\n{text}\n) AS query", parameters)
        found = execute(connection, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", parameters).scalar_one()
    return Plan(found[0])


def access_path(
    what: str,
    plan: Plan,
    *,
    index: str | Collection[str] = (),
    index_only: bool = False,
    no_sequential_scan_of: str | Collection[str] = (),
    no_reading_of: str | Collection[str] = (),
    max_cost: float | None = None,
    max_ms: float | None = None,
) -> Verdict:
    """The query goes the wanted way. A plan that saw no rows proves nothing: Unknown.

    index                  each of these indexes is read, by an index, index-only or bitmap scan
    index_only             True: they are read by index-only scans, and nothing else
    no_sequential_scan_of  tables without schema that the plan may not scan, executed this time or not; a partition
                           has a name of its own
    no_reading_of          tables that the plan may not touch in any way
    max_cost, max_ms       below which the planner's cost and the execution on the server stay
    """
    claims = [*_claims_on_indexes(plan, _names(index), index_only=index_only)]
    claims += _claims_on_scans(plan, _names(no_sequential_scan_of))
    claims += _claims_on_reading(plan, _names(no_reading_of))
    claims += _claims_on_numbers(plan, {"total_cost": max_cost, "execution_ms": max_ms})
    have, want = (_path(plan),), ({claim.key: claim.wanted for claim in claims},) if claims else ()
    problems = [claim.problem for claim in claims if claim.problem]
    if not claims:
        return Unknown(what, have, want, "nothing was asked for, so nothing is proven")
    if plan.saw_no_rows:
        return Unknown(what, have, want, "; ".join(["the query found no rows, so nothing is proven", *problems]))
    return Fail(what, have, want, "; ".join(problems)) if problems else Pass(what, have, want)


def serves(connection: sa.Connection, queries: Mapping[str, str], *, what: str, limit_ms: float) -> Verdict:
    """Each index appears in the plan of its query and the query ends within the limit.

    Sequential and bitmap scans and sorts are discouraged meanwhile: on a small table the planner is right to prefer
    them, and the question here is whether the index can serve the query at all, order included.
    """
    for path in ("seqscan", "bitmapscan", "sort"):
        execute(connection, f"SET LOCAL enable_{path} = off")
    plans = {index: explain(connection, sql) for index, sql in queries.items()}
    have: Rows = tuple(
        {
            "index": index,
            "used": index in plan.indexes,
            "node": next((node.title for node in plan.nodes if node.index == index), "–"),
            "total_cost": round(plan.total_cost, 1),
            "execution_ms": round(plan.execution_ms, 2),
        }
        for index, plan in plans.items()
    )
    want: Rows = tuple({"index": index, "used": True, "execution_ms": f"< {limit_ms:g}"} for index in queries)
    if not have:
        return Unknown(what, have, want, "no query was given")
    unused = [str(row["index"]) for row in have if not row["used"]]
    slow = [str(row["index"]) for row in have if row["execution_ms"] >= limit_ms]
    if unused or slow:
        problems = [f"not used: {', '.join(unused)}"] * bool(unused) + [f"too slow: {', '.join(slow)}"] * bool(slow)
        return Fail(what, have, want, "; ".join(problems))
    return Pass(what, have, want)


# -- sending


@contextmanager
def _refusing(sql: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        problem = REFUSED.get(getattr(error.orig, "sqlstate", None) or "")
        if problem is None:
            raise
        raise StatementRefused(
            f"{problem}: {_first_line(str(error.orig))}",
            where=_first_line(sql),
            next_step="give one query that only reads, in a transaction",
        ) from error


@contextmanager
def _read_only(connection: sa.Connection) -> Iterator[None]:
    """Read-only until the end of the block, whatever the transaction around it may do; then all is undone.

    A savepoint's own mode ends with it (https://www.postgresql.org/docs/current/sql-set-transaction.html).
    """
    execute(connection, "SAVEPOINT explained")
    try:
        execute(connection, "SET TRANSACTION READ ONLY")
        yield
    finally:
        execute(connection, "ROLLBACK TO SAVEPOINT explained")
        execute(connection, "RELEASE SAVEPOINT explained")


@contextmanager
def _one_statement(connection: sa.Connection) -> Iterator[None]:
    """Send by the extended protocol, in which a text holds one statement and never a COMMIT with another after it."""

    def start(_connection: Any, cursor: Any, _sql: str, _parameters: Any, _context: Any, _many: bool) -> None:
        cursor.format = psycopg.pq.Format.BINARY  # psycopg keeps to the simple one for text without parameters

    sa.event.listen(connection, "before_cursor_execute", start)
    try:
        yield
    finally:
        sa.event.remove(connection, "before_cursor_execute", start)


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


# -- judging


def _names(names: str | Collection[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


@dataclass(frozen=True)
class _Claim:
    """One wish, under the name that it has among what was found; no problem where it is fulfilled."""

    key: str
    wanted: str
    problem: str


def _claims_on_indexes(plan: Plan, indexes: Collection[str], *, index_only: bool) -> Iterator[_Claim]:
    if indexes:
        missing = ", ".join(sorted(set(indexes) - set(plan.indexes)))
        yield _Claim("indexes", ", ".join(indexes), f"index not used: {missing}" if missing else "")
    if index_only:
        reading = [node for node in plan.nodes if (node.index in indexes if indexes else node.index or node.relation)]
        others = ", ".join(sorted({node.title for node in reading} - INDEX_ONLY))
        problem = f"not index-only: {others}" if others else "" if reading else "nothing is read by an index-only scan"
        yield _Claim("scans", "Index Only Scan", problem)


def _claims_on_scans(plan: Plan, tables: Collection[str]) -> Iterator[_Claim]:
    if tables:
        scanned = ", ".join(sorted(set(plan.sequential_scans) & set(tables)))
        wanted = f"none of {', '.join(tables)}"
        yield _Claim("sequential_scans", wanted, f"sequential scan of {scanned}" if scanned else "")


def _claims_on_reading(plan: Plan, tables: Collection[str]) -> Iterator[_Claim]:
    if tables:
        read = ", ".join(sorted({str(node.relation) for node in plan.nodes} & set(tables)))
        yield _Claim("reads", f"none of {', '.join(tables)}", f"it reads {read}" if read else "")


def _claims_on_numbers(plan: Plan, limits: Mapping[str, float | None]) -> Iterator[_Claim]:
    for key, limit in limits.items():
        if limit is not None:
            value, unit = getattr(plan, key), " ms" if key.endswith("_ms") else ""
            problem = f"{key} is {value:,.6g}{unit}, not below {limit:,g}{unit}" if value >= limit else ""
            yield _Claim(key, f"< {limit:g}", problem)


def _path(plan: Plan) -> dict[str, Any]:
    scans = [node for node in plan.nodes if node.is_executed and (node.index or "Relation Name" in node.facts)]
    return {
        "indexes": ", ".join(dict.fromkeys(plan.indexes)) or "–",
        "scans": ", ".join(dict.fromkeys(_scan(node) for node in scans)) or "–",
        "sequential_scans": ", ".join(dict.fromkeys(plan.sequential_scans)) or "–",
        "total_cost": round(plan.total_cost, 2),
        "execution_ms": round(plan.execution_ms, 3),
        "planning_ms": round(plan.planning_ms, 3),
        "rows": plan.rows,
    }


def _scan(node: Node) -> str:
    fetches = node.facts.get("Heap Fetches", 0)
    return f"{node.title} with {fetches:,} heap fetches" if fetches else node.title
