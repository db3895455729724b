"""Phase validators 2 and 3: each rule of style guide and rulebook, on catalogs and on real databases."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from conftest import ROOT, subject_of
from gatebook import governance_catalog
from gatebook.catalog import Snapshot
from gatebook.database import Database
from gatebook.governance_catalog import (
    STYLE,
    Rulebook,
    StyleGuide,
    field_type,
    judge_exceptions,
    judge_mapping,
    judge_style,
    load_style_guide,
    mapping_of,
)  # fmt: skip
from gatebook.project import Project
from gatebook.readiness import materialized_views_are

GUIDE = StyleGuide.model_validate(
    {
        "names": {"pattern": "[a-z][a-z0-9_]*", "longest_bytes": 12},
        "types": [
            {"columns": "*_at", "types": ["timestamp with time zone"], "why": "a moment has a time zone"},
            {"columns": "*_cents", "types": ["integer", "bigint"], "why": "money is whole"},
        ],
        "indexes": ["idx_*"],
        "constraints": {"check": "ck_*", "foreign key": ["fk_*", "*_fkey"]},
        "isolated_by": "owner_id",
        "comments": ["table"],
    }
)
TABLE = {"kind": "table", "row_security": True, "forced": True, "comment": "Why."}


def column(type_: str, *, nullable: bool = False) -> dict[str, Any]:
    return {"type": type_, "nullable": nullable}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param({("column", "t.made_at"): column("timestamp with time zone")}, "", id="all is well"),
        pytest.param({("table", "Bad"): TABLE}, "table Bad: its name is not [a-z][a-z0-9_]*", id="capitals"),
        pytest.param(
            {("column", "t.a_much_too_long_name"): column("text")},
            "column t.a_much_too_long_name: its name has more than 12 bytes",
            id="length",
        ),
        pytest.param(
            {("column", "t.made_at"): column("timestamp without time zone")},
            "column t.made_at: its type is timestamp without time zone; *_at is timestamp with time zone: "
            "a moment has a time zone",
            id="time zone",
        ),
        pytest.param(
            {("column", "t.a_cents"): column("numeric")},
            "column t.a_cents: its type is numeric; *_cents is integer or bigint: money is whole",
            id="money",
        ),
        pytest.param({("index", "t.t_a"): {}}, "index t.t_a: its name is not idx_*", id="index"),
        pytest.param(
            {("constraint", "t.a_check"): {"definition": "CHECK ((a > 0))"}},
            "constraint t.a_check: its name is not ck_*",
            id="check",
        ),
        pytest.param(
            {("constraint", "t.a_b"): {"definition": "FOREIGN KEY (a) REFERENCES b(id)"}},
            "constraint t.a_b: its name is not fk_* or *_fkey",
            id="foreign key",
        ),
        pytest.param(
            {("column", "t.owner_id"): column("uuid", nullable=True)},
            "column t.owner_id: it may be NULL, and a row without it belongs to nobody",
            id="nobody's row",
        ),
        pytest.param(
            {("table", "t"): TABLE | {"forced": False}, ("column", "t.owner_id"): column("uuid")},
            "table t: row security is not on and forced",
            id="row security",
        ),
        pytest.param({("table", "u"): TABLE | {"comment": None}}, "table u: it has no comment", id="comment"),
    ],
)
def test_rules(more: Snapshot, reason: str) -> None:
    verdict = judge_style("the rules", {("table", "t"): TABLE} | more, GUIDE, STYLE)

    assert (verdict.name, verdict.reason) == ("FAIL" if reason else "PASS", reason)


def test_nothing_to_look_at_is_unknown() -> None:
    assert judge_style("the rules", {}, GUIDE, STYLE).name == "UNKNOWN"


def test_an_exception_excuses_one_object_and_must_be_needed() -> None:
    guide = GUIDE.model_copy(update={"exceptions": {"column t.made_at": "history", "column u.made_at": "to come"}})
    bad: Snapshot = {("column", "t.made_at"): column("date")}
    good: Snapshot = {("column", "t.made_at"): column("timestamp with time zone")}

    assert judge_style("x", bad, guide, STYLE).name == judge_exceptions(bad, guide).name == "PASS"
    assert judge_exceptions(good, guide).reason == "nothing to excuse, or no reason: column t.made_at"


@pytest.mark.parametrize(
    ("kind", "type_", "how", "says"),
    [
        ("number", "bigint", "round(total_cents * 0.01, 2)", "allowed"),
        ("number", "bigint", "as it is", "cents are handed on as they are"),
        ("number", "text", "as it is", "number may not come from text"),
        ("string(date)", "date", "as it is", "allowed"),
        ("string(date)", "not there", "as it is", "string(date) may not come from not there"),
        ("array", "text", "as it is", "array may not come from text"),
    ],
)
def test_rulebook(kind: str, type_: str, how: str, says: str) -> None:
    book = Rulebook(types={"number": ["bigint", "numeric"], "string(date)": ["date"]}, money="*_cents")
    row = {"field type": kind, "column": "v.total_cents", "column type": type_, "transformation": how}

    assert mapping_of(row, book) == says


def test_mapping_is_judged() -> None:
    row = {"endpoint": "e", "field": "f", "column": "v.c"}

    assert judge_mapping(()).name == "UNKNOWN"
    assert judge_mapping(({**row, "mapping": "still to come"},)).name == "PASS"
    assert judge_mapping(({**row, "mapping": "x"},)).reason == "e.f from v.c: x"


def test_types_of_fields() -> None:
    fields = {"a": {"type": "string", "format": "date"}, "b": {"type": ["integer", "null"]}, "c": {}}
    schema = {"properties": {"items": {"items": {"properties": fields}}}}

    assert [field_type(schema, "items", name) for name in "abcd"] == ["string(date)", "integer", "", ""]


@pytest.mark.server
@pytest.mark.parametrize("phase", ["2", "3"])
def test_green_before_the_first_phase_and_after_the_last(
    phase: str, project: Project, legacy_copy: Database, migrated_copy: Database
) -> None:
    for database in (legacy_copy, migrated_copy):
        verdicts = governance_catalog.examined(project, database.name, phase)
        assert [(each.name, each.reason) for each in verdicts] == [("PASS", "")] * len(verdicts)


@pytest.mark.server
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (
            'CREATE TABLE "BadName" (id uuid)',
            'table "BadName": its name is not [a-z][a-z0-9_]*; table "BadName": it has no comment',
        ),
        ("ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY", ""),
        ("ALTER TABLE dead_events NO FORCE ROW LEVEL SECURITY", "table dead_events: row security is not on and forced"),
        ("COMMENT ON TABLE tenants IS NULL", "table tenants: it has no comment"),
        (
            "ALTER TABLE tenants ADD COLUMN seen_at date",
            "column tenants.seen_at: its type is date; *_at is timestamp with time zone: a moment has a time zone",
        ),
    ],
)  # fmt: skip
def test_a_live_catalog_that_breaks_a_rule(
    statement: str, reason: str, project: Project, migrated_copy: Database
) -> None:
    with migrated_copy.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()
    verdicts = governance_catalog.examined(project, migrated_copy.name, "2")

    assert "; ".join(each.reason for each in verdicts if each.reason) == reason


def test_every_exception_of_ours_has_a_reason(project: Project) -> None:
    assert all(len(why.split()) > 3 for why in load_style_guide(project).exceptions.values())


@pytest.mark.server
@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT 1", 0),
        ("ALTER TABLE tenants DROP COLUMN api_key_hash", 1),
        ("ALTER TABLE attribution_allocations ALTER COLUMN effective_sample_size TYPE bigint", 2),
    ],
    ids=["none", "BLOCKING", "HIGH only"],
)
def test_exit_codes_of_the_compliance_script(statement: str, code: int, migrated_copy: Database) -> None:
    with migrated_copy.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()
    migrated_copy.engine.dispose()
    script = ROOT / "scripts" / "validate-schema-compliance.py"
    command = [sys.executable, script, "--database", migrated_copy.name, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)

    assert (done.returncode, done.stderr) == (code, "")
    counts = json.loads(done.stdout)["severities"]
    assert (counts["BLOCKING"] > 0, counts["HIGH"] > 0) == {0: (False, False), 1: (True, False), 2: (False, True)}[code]


@pytest.mark.server
@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("SELECT 1", ""),
        ("DROP INDEX idx_mv_channel_performance_unique", "mv_channel_performance"),
        ("REFRESH MATERIALIZED VIEW mv_daily_revenue_summary WITH NO DATA", "mv_daily_revenue_summary"),
        ("DROP MATERIALIZED VIEW mv_realtime_revenue CASCADE", "mv_realtime_revenue"),
    ],
)
def test_materialized_views_that_are_not_ready(
    statement: str, missing: str, migrated_copy: Database, project: Project
) -> None:
    names = ("mv_channel_performance", "mv_daily_revenue_summary", "mv_realtime_revenue", "mv_reconciliation_status")
    with migrated_copy.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()
    with subject_of(migrated_copy, project) as subject:
        verdict = materialized_views_are(*names)(subject)

    reason = f"missing, empty, or without a unique index: {missing}" if missing else ""
    assert (verdict.name, verdict.reason) == ("FAIL" if missing else "PASS", reason)
