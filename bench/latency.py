"""How long an application waits: documented requests through the tenant's views, beside their floors and raw rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from statistics import median
from typing import Any
from uuid import UUID

import psycopg

from gatebook.catalog import Query
from gatebook.contract import load_contract, query
from gatebook.database import Database
from gatebook.errors import GatebookError
from gatebook.project import Project
from gatebook.timings import FLOOR, measure_all, percentiles
from loading import Session, run, timed

ROLE = "app_ro"
CUSTOMER = UUID(md5(b"customer 1", usedforsecurity=False).hexdigest())  # as loading.py makes it
EXECUTIONS = 300
RAW_EXECUTIONS = 7

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Request:
    """A documented request for the last days, and a query over the source rows that gives the same answer."""

    endpoint: str
    days: int
    raw: str


REQUESTS = {
    "channel": Request(
        "channel-performance",
        30,
        """
        SELECT channel_code AS channel, (created_at AT TIME ZONE 'UTC')::date AS date,
               round(sum(allocated_revenue_cents) / 100.0, 2) AS total_revenue, count(DISTINCT event_id) AS conversions,
               avg(confidence_score) AS confidence, count(*) AS allocations_count
          FROM attribution_allocations
         WHERE tenant_id = current_setting('app.current_tenant_id')::uuid
           AND created_at >= %(start)s::date::timestamp AT TIME ZONE 'UTC'
           AND created_at < (%(end)s::date + 1)::timestamp AT TIME ZONE 'UTC'
         GROUP BY 1, 2
         ORDER BY sum(allocated_revenue_cents) DESC, 1, 2 DESC
        """,
    ),
    "revenue": Request(
        "daily-revenue",
        90,
        """
        SELECT (verification_timestamp AT TIME ZONE 'UTC')::date AS date,
               round(coalesce(sum(amount_cents) FILTER (WHERE state = 'captured'), 0) / 100.0, 2) AS captured,
               round(coalesce(sum(amount_cents) FILTER (WHERE state = 'refunded'), 0) / 100.0, 2) AS refunded,
               round(coalesce(sum(amount_cents) FILTER (WHERE state = 'chargeback'), 0) / 100.0, 2) AS chargebacks,
               count(*) AS transaction_count, currency
          FROM revenue_ledger
         WHERE tenant_id = current_setting('app.current_tenant_id')::uuid
           AND state IN ('captured', 'refunded', 'chargeback')
           AND verification_timestamp >= %(start)s::date::timestamp AT TIME ZONE 'UTC'
           AND verification_timestamp < (%(end)s::date + 1)::timestamp AT TIME ZONE 'UTC'
         GROUP BY 1, currency
         ORDER BY 1 DESC, currency
        """,
    ),
}

# What the planner would not choose may be faster: the best of these counts.
SCANS = ("seqscan", "indexscan", "bitmapscan")
PLANNERS: Sequence[Sequence[str]] = (
    (),
    ("seqscan", "bitmapscan"),
    ("seqscan", "indexscan"),
    ("indexscan", "bitmapscan"),
)


@dataclass(frozen=True)
class Raw:
    """The best query over the source rows: milliseconds, how many times those of the request, and how it reads."""

    ms: float
    times: float
    plan: str


@dataclass(frozen=True)
class Latency:
    """Milliseconds by percentile of one request; of the same rows from a temporary table; and of SELECT 1."""

    request_ms: Mapping[float, float]
    copy_ms: Mapping[float, float]
    nothing_ms: Mapping[float, float]
    raw: Raw

    @property
    def transfer_ms(self) -> float:
        """What it costs to hand these rows over, without what a statement costs that does nothing; medians."""
        return max(self.copy_ms[50] - self.nothing_ms[50], 0.0)


def latency(database: Database, project: Project, request: Request) -> Latency:
    """One request as an application sends it, by its own role, and what it is measured against, in turns."""
    today = datetime.now(UTC).date()
    given = {"tenant": CUSTOMER, "start": today - timedelta(days=request.days), "end": today}
    asked = query(load_contract(project), request.endpoint, given)
    queries = {"request": asked, "copy": Query("SELECT * FROM pg_temp.answer")}
    measured = measure_all(
        lambda: _application(database, asked), queries, executions=EXECUTIONS, cold_executions=0, floor=True
    )
    found = {each.name: percentiles(each.warm_ms) for each in measured}
    with closing(_application(database, asked)) as session, closing(_application(database, asked)) as other:
        raw = _best_raw(other, Query(request.raw, asked.parameters), lambda: _rows(session, asked))
    return Latency(found["request"], found["copy"], found[FLOOR], raw)


def _application(database: Database, asked: Query) -> Session:
    """A connection for one customer, with the answer to the request in a temporary table."""
    session = database.open_session()
    run(session, f"SET app.current_tenant_id = '{CUSTOMER}'")
    psycopg.ClientCursor(session).execute(f"CREATE TEMP TABLE answer AS {asked.sql}".encode(), asked.parameters)
    run(session, f"GRANT SELECT ON answer TO {ROLE}", f"SET ROLE {ROLE}")
    session.commit()
    return session


def _best_raw(session: Session, raw: Query, request: Callable[[], Rows]) -> Raw:
    """The fastest way to the same answer without the view, each in turns with the request, on another connection."""
    session.prepare_threshold = None  # a prepared statement would keep the plan that it was prepared with
    if _rows(session, raw) != request():
        raise GatebookError("the query over the source rows gives another answer than the view", where=raw.sql.strip())
    found = []
    for switched_off in PLANNERS:
        for scan in SCANS:
            run(session, f"SET enable_{scan} = {'off' if scan in switched_off else 'on'}")
        plan = " and ".join(dict.fromkeys(_scans(_explained(session, raw))))
        pairs = [(timed(lambda: _rows(session, raw)), timed(request)) for _ in range(RAW_EXECUTIONS)]
        slow, fast = (median(column) for column in zip(*pairs, strict=True))
        found.append(Raw(slow * 1000, slow / fast, plan))
    return min(found, key=lambda each: each.ms)


def _rows(session: Session, asked: Query) -> Rows:
    return session.execute(asked.sql.encode(), asked.parameters).fetchall()


def _explained(session: Session, asked: Query) -> Any:
    row: Any = session.execute(f"EXPLAIN (FORMAT json) {asked.sql}".encode(), asked.parameters).fetchone()
    return row[0][0]["Plan"]


def _scans(node: Mapping[str, Any]) -> Iterator[str]:
    """How a plan reads: each scan, with its index."""
    if node["Node Type"].endswith("Scan"):
        yield f"{node['Node Type']} on {node.get('Index Name') or node.get('Relation Name')}"
    for child in node.get("Plans", ()):
        yield from _scans(child)
