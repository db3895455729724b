"""Plans of PostgreSQL 14 and 18 as they came from the servers: rows, times and what changed between two."""

import json
from pathlib import Path
from typing import Any

import pytest

from gatebook.plan_changes import plan_changes
from gatebook.plans import Node, Plan

FOLDER = Path(__file__).with_name("plans")
DOCUMENTS = {version: json.loads((FOLDER / f"postgresql-{version}.json").read_text()) for version in (14, 18)}
CASES = [(version, name) for version, documents in DOCUMENTS.items() for name in documents]
versions = pytest.mark.parametrize("version", DOCUMENTS)
cases = pytest.mark.parametrize(("version", "name"), CASES)


def plan(version: int, name: str) -> Plan:
    return Plan(DOCUMENTS[version][name])


def only(found: Plan, title: str) -> Node:
    (node,) = (node for node in found.nodes if node.title == title)
    return node


def node(kind: str, *children: dict[str, Any], **facts: Any) -> dict[str, Any]:
    plain = {"Node Type": kind, "Parent Relationship": "Outer", "Total Cost": 10.0, "Plan Rows": 100}
    ran = {"Actual Rows": 10, "Actual Loops": 1, "Actual Total Time": 1.0}
    return {**plain, **ran, **{key.replace("_", " "): value for key, value in facts.items()}, "Plans": list(children)}


def document(top: dict[str, Any]) -> dict[str, Any]:
    return {"Plan": top, "Planning Time": 0.1, "Execution Time": 1.1}


# -- the tree


@cases
def test_times_of_the_nodes_add_up_to_that_of_the_whole(version: int, name: str) -> None:
    found = plan(version, name)
    total = found.nodes[0].total_ms

    assert total is not None
    assert sum(node.self_ms or 0 for node in found.nodes) == pytest.approx(total, rel=0.06, abs=0.03)
    assert all((node.self_ms or 0) <= (node.total_ms or 0) for node in found.nodes)
    assert total <= found.execution_ms


@cases
def test_a_plan_is_the_same_after_it_was_stored(version: int, name: str) -> None:
    found = plan(version, name)
    again = Plan(json.loads(found.to_json()))

    assert again.table == found.table
    assert again.to_json() == found.to_json()
    assert plan_changes(again.document, found.document) == ()


@versions
def test_rows_and_times_are_those_of_all_loops(version: int) -> None:
    scan = only(plan(version, "loops"), "Index Scan")

    assert (scan.loops, scan.rows, scan.rows_estimated, scan.total_ms) == (500, 500, 500, 0.5)


@pytest.mark.parametrize(("version", "rows", "is_rounded"), [(14, 0, True), (18, 25, False)])
def test_rows_of_a_loop_are_whole_numbers_before_18(version: int, rows: float, is_rounded: bool) -> None:
    """One row in every 20 loops: before 18 the server says 0, which does not mean that there was none."""
    found = plan(version, "fraction")
    scan = only(found, "Index Scan")

    assert (scan.rows, scan.is_rounded, found.rows, found.saw_no_rows) == (rows, is_rounded, 25, False)


@versions
def test_time_under_a_gather_is_that_of_the_clock(version: int) -> None:
    found = plan(version, "parallel")
    scan, gather = only(found, "Parallel Seq Scan"), only(found, "Gather Merge")

    assert (scan.processes, scan.loops, gather.processes) == (3, 3, 1)
    assert scan.rows == pytest.approx(200_000, abs=2)
    assert (scan.total_ms or 0) < (gather.total_ms or 0) <= found.execution_ms


@versions
def test_a_cte_is_paid_by_whoever_reads_it_first(version: int) -> None:
    found = plan(version, "cte")
    scans = [node for node in found.nodes if node.title == "CTE Scan"]
    (cte,) = (node for node in found.nodes if node.subplan == "CTE big")

    assert [node.relation for node in scans] == ["big"] * 3
    assert cte.label.endswith(" (CTE big)")
    assert (cte.total_ms or 0) > 20
    assert max(node.self_ms or 0 for node in scans) < 1  # the slowest took 20 ms with the CTE


@versions
def test_an_init_plan_is_paid_by_the_node_that_names_it(version: int) -> None:
    found = plan(version, "initplan")
    scan, aggregate = found.nodes[0], found.nodes[1]

    assert (scan.title, aggregate.label) == ("Index Scan", "Aggregate (InitPlan 1)")
    assert scan.self_ms == pytest.approx((scan.total_ms or 0) - (aggregate.total_ms or 0))


@versions
def test_a_subplan_runs_as_often_as_its_parent_has_rows(version: int) -> None:
    aggregate = only(plan(version, "subplan"), "Aggregate")

    assert (aggregate.subplan, aggregate.loops, aggregate.rows) == ("SubPlan 1", 19, 19)


@versions
def test_what_was_never_executed_has_no_numbers(version: int) -> None:
    found = plan(version, "never")
    last = found.nodes[-1]

    assert (last.is_executed, last.rows, last.self_ms, last.total_ms) == (False, None, None, None)
    assert found.indexes == ["s_pkey"]
    assert found.saw_no_rows
    assert found.frame["rows_actual"].isna().tolist() == [False, False, True]


@versions
def test_sequential_scans_are_seen_in_every_form(version: int) -> None:
    assert plan(version, "parallel").sequential_scans == ["t"]
    assert plan(version, "append").sequential_scans == ["part_1", "part_2"]
    assert plan(version, "initplan").sequential_scans == ["s"]
    assert plan(version, "bitmap").sequential_scans == []


def test_a_sequential_scan_counts_even_where_it_was_not_executed() -> None:
    top = node("Append", node("Seq Scan", Relation_Name="t", Actual_Loops=0), node("Result"))

    assert Plan(document(top)).sequential_scans == ["t"]


@versions
def test_the_frame_has_a_line_for_each_node(version: int) -> None:
    frame = plan(version, "bitmap").frame

    assert frame["node"].tolist() == ["Bitmap Heap Scan", "└ Bitmap Index Scan"]
    assert frame["relation"].tolist() == ["t", ""]
    assert frame["index"].tolist() == ["", "t_grp"]
    assert frame["rows_actual"].tolist() == [1000, 4000]
    assert "Filter: (v < '50000'::numeric)" in frame["condition"][0]
    assert list(frame) == [
        *("node", "relation", "index", "condition", "rows_estimated", "rows_actual", "loops", "self_ms", "total_ms"),
        *("buffers_hit", "buffers_read", "cost"),
    ]


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        pytest.param({"Node Type": "Seq Scan", "Parallel Aware": True}, "Parallel Seq Scan", id="parallel"),
        pytest.param({"Node Type": "Index Scan", "Scan Direction": "Backward"}, "Index Scan Backward", id="backward"),
        pytest.param({"Node Type": "Hash Join", "Join Type": "Left"}, "Hash Left Join", id="hash join"),
        pytest.param({"Node Type": "Hash Join", "Join Type": "Inner"}, "Hash Join", id="inner join"),
        pytest.param({"Node Type": "Nested Loop", "Join Type": "Semi"}, "Nested Loop Semi Join", id="loop"),
        pytest.param({"Node Type": "Aggregate", "Strategy": "Plain", "Partial Mode": "Simple"}, "Aggregate", id="sum"),
        pytest.param({"Node Type": "Aggregate", "Strategy": "Sorted"}, "GroupAggregate", id="groups"),
        pytest.param(
            {"Node Type": "Aggregate", "Strategy": "Hashed", "Partial Mode": "Partial"},
            "Partial HashAggregate",
            id="hash",
        ),
        pytest.param({"Node Type": "SetOp", "Strategy": "Hashed", "Command": "Except"}, "HashSetOp Except", id="set"),
        pytest.param(
            {"Node Type": "SetOp", "Strategy": "Sorted", "Command": "Except"}, "SetOp Except", id="sorted set"
        ),
    ],
)
def test_a_node_is_named_as_in_explain_s_text(facts: dict[str, Any], title: str) -> None:
    assert Node(facts).title == title


# -- what it saw


@pytest.mark.parametrize(
    ("top", "saw_no_rows"),
    [
        pytest.param(node("Index Scan", Relation_Name="t"), False, id="rows"),
        pytest.param(node("Index Scan", Relation_Name="t", Actual_Rows=0), True, id="none"),
        pytest.param(node("Aggregate", node("Seq Scan", Relation_Name="t", Actual_Rows=0)), True, id="sum of none"),
        pytest.param(
            node("Aggregate", node("Seq Scan", Relation_Name="t", Actual_Rows=0, Actual_Loops=9)), False, id="rounded"
        ),
        pytest.param(
            node("Aggregate", node("Seq Scan", Relation_Name="t", Actual_Rows=0.0, Actual_Loops=9)), True, id="exact"
        ),
        pytest.param(
            node("Append", node("Seq Scan", Relation_Name="t", Actual_Rows=0), node("Seq Scan", Relation_Name="s")),
            False, id="one of two",
        ),
        pytest.param(node("Result"), False, id="no table"),
    ],
)  # fmt: skip
def test_whether_it_saw_rows(top: dict[str, Any], saw_no_rows: bool) -> None:
    assert Plan(document(top)).saw_no_rows == saw_no_rows


# -- what changed

SCAN = node("Seq Scan", Relation_Name="t", Filter="(day = '2025-11-15'::date)")
BY_INDEX = node("Index Scan", Relation_Name="t", Index_Name="t_day", Index_Cond="(day = '2025-11-15'::date)")


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in plan_changes(document(before), document(after))]


@pytest.mark.parametrize("name", DOCUMENTS[14])
def test_another_server_s_plan_of_the_same_shape_is_the_same(name: str) -> None:
    """But for one: 18 joins differently."""
    found = plan_changes(DOCUMENTS[14][name], DOCUMENTS[18][name])

    assert [row["what"] for row in found] == (
        ["node type", "Hash Cond", "Merge Cond", "node type"] if name == "cte" else []
    )


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        pytest.param(SCAN, SCAN, [], id="the same"),
        pytest.param(SCAN, {**SCAN, "Actual Rows": 99, "Actual Total Time": 99.0}, [], id="slower, other rows"),
        pytest.param(SCAN, {**SCAN, "Filter": "(day = '2026-01-01'::date)"}, [], id="another day"),
        pytest.param(
            {**SCAN, "Filter": "((id <= '7'::smallint) AND (n > 1.5))"},
            {**SCAN, "Filter": "((id <= '70000'::integer) AND (n > 2))"},
            [],
            id="other numbers",
        ),
        pytest.param(
            SCAN,
            {**SCAN, "Filter": "(other = '2025-11-15'::date)"},
            [("Seq Scan", "Filter", "(day = '2025-11-15'::date)", "(other = '2025-11-15'::date)")],
            id="another condition",
        ),
        pytest.param(
            SCAN,
            BY_INDEX,
            [
                ("Seq Scan", "node type", "Seq Scan", "Index Scan"),
                ("Seq Scan", "index", None, "t_day"),
                ("Seq Scan", "Index Cond", None, "(day = '2025-11-15'::date)"),
                ("Seq Scan", "Filter", "(day = '2025-11-15'::date)", None),
            ],
            id="an index",
        ),
        pytest.param(
            BY_INDEX, {**BY_INDEX, "Index Name": "x"}, [("Index Scan", "index", "t_day", "x")], id="another index"
        ),
        pytest.param(SCAN, {**SCAN, "Relation Name": "s"}, [("Seq Scan", "relation", "t", "s")], id="another table"),
        pytest.param(SCAN, {**SCAN, "Plan Rows": 200, "Total Cost": 20.0}, [], id="twice the estimate"),
        pytest.param(
            SCAN,
            {**SCAN, "Plan Rows": 49, "Total Cost": 20.5},
            [("Seq Scan", "total cost", 10.0, 20.5), ("Seq Scan", "rows estimated", 100, 49)],
            id="other estimates",
        ),
        pytest.param(
            node("Limit", SCAN),
            node("Limit", node("Sort", SCAN)),
            [("Limit > Seq Scan", "node added", None, "Sort")],
            id="a node on top",
        ),
        pytest.param(
            node("Limit", node("Sort", BY_INDEX)),
            node("Limit", BY_INDEX),
            [("Limit > Sort", "node gone", "Sort", None)],
            id="a node less",
        ),
        pytest.param(
            node("Append", node("Seq Scan", Relation_Name="p1"), node("Seq Scan", Relation_Name="p2")),
            node("Append", *(node("Seq Scan", Relation_Name=name) for name in ("p0", "p1", "p2"))),
            [("Append", "node added", None, "Seq Scan on p0")],
            id="a partition more",
        ),
        pytest.param(
            node("Append", BY_INDEX, SCAN),
            node("Append", BY_INDEX),
            [("Append", "node gone", "Seq Scan on t", None)],
            id="a child less",
        ),
        pytest.param(
            node("Hash Join", SCAN, node("Hash", node("Seq Scan", Relation_Name="s"))),
            node("Hash Join", SCAN, node("Hash", node("Seq Scan", Relation_Name="s", Plan_Rows=1))),
            [("Hash Join > Hash > Seq Scan", "rows estimated", 100, 1)],
            id="deep down",
        ),
    ],
)
def test_what_changed(before: dict[str, Any], after: dict[str, Any], found: list[tuple[Any, ...]]) -> None:
    assert changes(before, after) == found
