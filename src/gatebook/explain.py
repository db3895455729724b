"""Plans as PostgreSQL explains them: which nodes, which indexes, how long.

EXPLAIN ANALYZE runs its statement, so it is only ever sent inside a read-only transaction: the server itself
refuses a statement that would write.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gatebook.catalog import execute
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict


@dataclass(frozen=True)
class Plan:
    """One executed plan.

    Units  cost in the planner's units, execution_ms in milliseconds on the server
    """

    nodes: tuple[Mapping[str, Any], ...]
    total_cost: float
    execution_ms: float

    @property
    def indexes(self) -> list[str]:
        return [node["Index Name"] for node in self.nodes if "Index Name" in node]


def explain(connection: sa.Connection, sql: str) -> Plan:
    """EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) of a SELECT, on a connection in a read-only transaction."""
    (document,) = execute(connection, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}").scalar_one()
    return Plan(tuple(_nodes(document["Plan"])), document["Plan"]["Total Cost"], document["Execution Time"])


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
            "node": next((node["Node Type"] for node in plan.nodes if node.get("Index Name") == index), "–"),
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


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield {key: value for key, value in plan.items() if key != "Plans"}
    for child in plan.get("Plans", []):
        yield from _nodes(child)
