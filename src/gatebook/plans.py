"""Executed plans as PostgreSQL reports them in JSON: a tree of nodes with their rows, times and buffers.

What a node says of itself is for one of its loops; here rows and times are those of all loops together. Where
several processes share a node, its time is what passed on the clock, not the sum over the processes.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from gatebook.verdicts import Rows

Facts = Mapping[str, Any]

SOURCES = ("Relation Name", "CTE Name", "Function Name", "Table Function Name", "Tuplestore Name")
CONDITIONS = (
    *("Index Cond", "Recheck Cond", "TID Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter", "One-Time Filter"),
    *("Order By", "Sort Key", "Presorted Key", "Group Key"),
)
STRATEGIES = {"Sorted": "Group", "Hashed": "Hash", "Mixed": "Mixed"}


@dataclass(frozen=True)
class Node:
    """One node where it stands in its plan.

    facts      what EXPLAIN says of it, under PostgreSQL's names and without its children
    parent     its parent's place in depth-first order
    processes  how many processes ran it at the same time
    self_ms    milliseconds in the node itself, without its children; None when it was never executed
    """

    facts: Facts
    depth: int = 0
    parent: int | None = None
    processes: float = 1.0
    self_ms: float | None = None

    @property
    def title(self) -> str:
        """The type as EXPLAIN's text names it: Parallel Seq Scan, Hash Left Join, Finalize GroupAggregate."""
        return _title(self.facts)

    @property
    def label(self) -> str:
        """The title, and for which subplan or CTE the node stands."""
        return f"{self.title} ({self.subplan})" if self.subplan else self.title

    @property
    def subplan(self) -> str | None:
        """InitPlan 1, SubPlan 2 or CTE name, where the node is the top of one."""
        name = self.facts.get("Subplan Name")
        return re.sub(r" \(returns .*\)$", "", name) if name else None

    @property
    def relation(self) -> str | None:
        """What it reads: a table or view by its name without schema, a CTE or a function."""
        return next((str(self.facts[key]) for key in SOURCES if key in self.facts), None)

    @property
    def index(self) -> str | None:
        name = self.facts.get("Index Name")
        return None if name is None else str(name)

    @property
    def condition(self) -> str:
        """All its conditions and keys, each after its name."""
        found = ((key, self.facts[key]) for key in CONDITIONS if key in self.facts)
        return "; ".join(
            f"{key}: {', '.join(map(str, each)) if isinstance(each, list) else each}" for key, each in found
        )

    @property
    def loops(self) -> int:
        return int(self.facts.get("Actual Loops", 0))

    @property
    def is_executed(self) -> bool:
        return self.loops > 0

    @property
    def rows(self) -> float | None:
        """Rows of all loops. Before PostgreSQL 18 these are as exact as whole rows for each loop can be."""
        return float(self.facts["Actual Rows"]) * self.loops if self.is_executed else None

    @property
    def is_rounded(self) -> bool:
        """The rows are a mean over several loops that the server has rounded: 0 may stand for some."""
        return self.loops > 1 and isinstance(self.facts["Actual Rows"], int)

    @property
    def rows_estimated(self) -> float:
        """What the planner expected of as many loops as there were."""
        return float(self.facts["Plan Rows"]) * max(self.loops, 1)

    @property
    def total_ms(self) -> float | None:
        """Milliseconds on the clock in the node and all below it."""
        return float(self.facts["Actual Total Time"]) * self.loops / self.processes if self.is_executed else None

    @property
    def buffers(self) -> tuple[int, int]:
        """Blocks found in shared buffers, and read from outside of them, by the node and all below it."""
        return self.facts.get("Shared Hit Blocks", 0), self.facts.get("Shared Read Blocks", 0)


@dataclass(frozen=True)
class Plan:
    """One executed plan, as EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) gave it.

    Units  cost in the planner's units, times in milliseconds on the server
    """

    document: Facts

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Depth first, each parent before its children."""
        return _with_self_times(_collected(self.document["Plan"], None, []))

    @property
    def total_cost(self) -> float:
        return float(self.document["Plan"]["Total Cost"])

    @property
    def planning_ms(self) -> float:
        return float(self.document["Planning Time"])

    @property
    def execution_ms(self) -> float:
        return float(self.document["Execution Time"])

    @property
    def rows(self) -> int:
        """Rows that the statement returned."""
        return round(self.nodes[0].rows or 0)

    @property
    def indexes(self) -> list[str]:
        """Indexes that were read; one of a node that was never executed was not."""
        return [node.index for node in self.nodes if node.index and node.is_executed]

    @property
    def sequential_scans(self) -> list[str]:
        """Tables that the plan scans sequentially, executed this time or not, by several processes or one."""
        return [str(node.relation) for node in self.nodes if node.facts["Node Type"] == "Seq Scan"]

    @property
    def saw_no_rows(self) -> bool:
        """It returned none, or found none in any table."""
        read = [node for node in self.nodes if "Relation Name" in node.facts]
        return self.rows == 0 or (bool(read) and all(not node.rows and not node.is_rounded for node in read))

    @property
    def table(self) -> Rows:
        """One row a node; names are indented by depth.

        Shape  node, relation, index, condition, rows_estimated, rows_actual, loops, self_ms, total_ms, buffers_hit,
               buffers_read, cost
        """
        return tuple(_row(node) for node in self.nodes)

    @property
    def frame(self) -> pd.DataFrame:
        """The table for pandas; what a node that was never executed has not is missing."""
        return pd.DataFrame(list(self.table)).astype({"rows_estimated": "Int64", "rows_actual": "Int64"})

    def to_json(self) -> str:
        """The same text for the same plan, without the many counters that are 0. Plan(json.loads(…)) reads it."""
        return json.dumps(_without_noise(self.document), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


# -- reading a document


def _collected(facts: Facts, parent: int | None, into: list[Node]) -> list[Node]:
    above = None if parent is None else into[parent]
    own = {key: value for key, value in facts.items() if key != "Plans"}
    place = len(into)
    into.append(Node(own, above.depth + 1 if above else 0, parent, _processes(own, above) if above else 1.0))
    for child in facts.get("Plans", []):
        _collected(child, place, into)
    return into


def _processes(facts: Facts, above: Node) -> float:
    """Each process runs what stands under a Gather once for each loop of the Gather."""
    is_shared = above.facts["Node Type"] in ("Gather", "Gather Merge") and facts.get("Parent Relationship") == "Outer"
    if is_shared and above.is_executed:
        return max(float(facts.get("Actual Loops", 0)) / above.loops, 1.0)
    return above.processes


def _with_self_times(nodes: list[Node]) -> tuple[Node, ...]:
    """Total time without that of the children.

    An InitPlan or CTE runs inside whichever node first asks for it, and not where it hangs in the tree: its time is
    taken from a node that names it, and what is left from its parent, which waits for parallel workers to stop.
    """
    own = [node.total_ms or 0.0 for node in nodes]
    late = []
    for place, node in enumerate(nodes):
        if node.facts.get("Parent Relationship") == "InitPlan":
            late.append(place)
        elif node.parent is not None:
            own[node.parent] -= node.total_ms or 0.0
    for place in late:
        left = nodes[place].total_ms or 0.0
        first, others = _asking(nodes, place, own)
        for asking in (*first, nodes[place].parent or 0, *others):
            taken = min(left, max(own[asking], 0.0))
            own[asking] -= taken
            left -= taken
    return tuple(
        replace(node, self_ms=max(each, 0.0)) if node.is_executed else node
        for node, each in zip(nodes, own, strict=True)
    )


def _asking(nodes: Sequence[Node], place: int, own: Sequence[float]) -> tuple[list[int], list[int]]:
    """The nodes that name an InitPlan ($0 before PostgreSQL 17) or scan a CTE: the slowest, the others."""
    name = str(nodes[place].facts.get("Subplan Name", ""))
    if name.startswith("CTE "):
        found = [at for at, node in enumerate(nodes) if f"CTE {node.facts.get('CTE Name')}" == name]
    else:
        names = [*re.findall(r"\$\d+", name), f"({nodes[place].subplan})"]
        pattern = re.compile("|".join(rf"{re.escape(each)}(?!\d)" for each in names))
        found = [at for at, node in enumerate(nodes) if at != place and pattern.search(node.condition)]
    found.sort(key=lambda at: -own[at])
    return found[:1], found[1:]


def _title(facts: Facts) -> str:
    kind, join = str(facts["Node Type"]), facts.get("Join Type", "Inner")
    strategy = STRATEGIES.get(facts.get("Strategy", ""), "")
    if kind == "Aggregate":
        mode = facts.get("Partial Mode", "Simple")
        kind = f"{mode if mode != 'Simple' else ''} {strategy}{kind}".strip()
    elif kind == "SetOp":
        kind = f"{strategy if strategy == 'Hash' else ''}SetOp {facts.get('Command', '')}".strip()
    elif join != "Inner":
        kind = f"{kind.removesuffix(' Join')} {join} Join"
    backward = " Backward" if facts.get("Scan Direction") == "Backward" else ""
    return f"{'Parallel ' if facts.get('Parallel Aware') else ''}{kind}{backward}"


def _row(node: Node) -> dict[str, Any]:
    hit, read = node.buffers
    return {
        "node": "\u00a0\u00a0" * (node.depth - 1) + "└ " * (node.depth > 0) + node.label,
        "relation": node.relation or "",
        "index": node.index or "",
        "condition": node.condition,
        "rows_estimated": round(node.rows_estimated),
        "rows_actual": None if node.rows is None else round(node.rows),
        "loops": node.loops,
        "self_ms": None if node.self_ms is None else round(node.self_ms, 3),
        "total_ms": None if node.total_ms is None else round(node.total_ms, 3),
        "buffers_hit": hit,
        "buffers_read": read,
        "cost": float(node.facts["Total Cost"]),
    }


def _without_noise(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_noise(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept = {key: _without_noise(each) for key, each in value.items() if not _is_noise(key, each)}
    return {key: each for key, each in kept.items() if key not in ("Planning", "Triggers") or each}


def _is_noise(key: str, value: Any) -> bool:
    return value is False or (value == 0 and key.endswith((" Blocks", " Read Time", " Write Time")))


def condition_text(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
