"""Each check: a green, a red and an unknown case, and the exact words of the red one."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from gatebook import checks
from gatebook.verdicts import VERDICTS, Check, Fail, Pass, Rows, Unknown, worst

NOTHING_SEEN = "nothing was seen: the table does not exist, or the query found nothing"
NOTHING_ASKED = "nothing was asked for, so nothing is proven"
NO_ROWS = "there were no rows to look at, so nothing is proven"

TABLES: Rows = ({"table": "tenants", "row_security": True, "forced": True, "comment": None},)
COLUMNS: Rows = (
    {"column": "id", "type": "uuid", "nullable": False, "default": None, "comment": "INVARIANT: none. Identity."},
    {"column": "state", "type": "text", "nullable": True, "default": "'new'::text", "comment": None},
)


def column(name: str, type_: str, *, nullable: bool = False, default: str | None = None) -> dict[str, Any]:
    return {"column": name, "type": type_, "nullable": nullable, "default": default}


def index(name: str, **changes: Any) -> dict[str, Any]:
    plain = {"columns": ["a"], "included": [], "predicate": None, "is_unique": False, "is_valid": True}
    return {"index": name, **plain, "definition": f"CREATE INDEX {name} ON t USING btree (a)", **changes}


def foreign_key(**changes: Any) -> dict[str, Any]:
    plain = {"constraint": "fk", "type": "foreign key", "references": "parent", "on_delete": "CASCADE"}
    definition = "FOREIGN KEY (a) REFERENCES parent(id) ON DELETE CASCADE"
    return plain | {"is_validated": True, "definition": definition} | changes


def counted(name: str, seen: int | None, wrong: int | None) -> dict[str, Any]:
    return {"table": "t", "column": name, "rows_seen": seen, "rows_wrong": wrong}


@dataclass(frozen=True)
class Case:
    """A check with rows it passes, rows it fails and why, rows from which it cannot tell and why."""

    check: Check
    what: str
    green: Rows
    red: Rows
    reason: str
    unknown: Rows = field(default=())
    unknown_reason: str = NOTHING_SEEN


WANTED_KEY = checks.has_foreign_key(
    references="parent", definition="FOREIGN KEY (a) REFERENCES parent(id) ON DELETE CASCADE", on_delete="CASCADE"
)
KEY_REASON = "no foreign key of the table is as wanted"

CASES = {
    "has_table": Case(
        checks.has_table("tenants"),
        "table tenants as specified",
        green=TABLES,
        red=({"table": "tenant"},),
        reason="missing: tenants",
    ),
    "has_column by name": Case(
        checks.has_column("id"),
        "column id as specified",
        green=COLUMNS,
        red=COLUMNS[1:],
        reason="missing: id",
    ),
    "has_column type": Case(
        checks.has_column("id", type="uuid", nullable=False),
        "column id as specified",
        green=COLUMNS,
        red=(column("id", "text"),),
        reason="id: type is 'text', wanted 'uuid'",
    ),
    "has_column nullable": Case(
        checks.has_column("id", type="uuid", nullable=False),
        "column id as specified",
        green=COLUMNS,
        red=(column("id", "uuid", nullable=True),),
        reason="id: nullable is True, wanted False",
    ),
    "has_column without default": Case(
        checks.has_column("id", default=None),
        "column id as specified",
        green=COLUMNS,
        red=(column("id", "uuid", default="gen_random_uuid()"),),
        reason="id: default is 'gen_random_uuid()', wanted None",
    ),
    "have_columns": Case(
        checks.have_columns([column("id", "uuid"), column("state", "text", nullable=True, default="'new'::text")]),
        "column id, state as specified",
        green=(*COLUMNS, column("extra", "text")),
        red=(column("state", "integer", nullable=True), column("extra", "text")),
        reason="missing: id; state: type is 'integer', wanted 'text', default is None, wanted \"'new'::text\"",
    ),
    "columns_are, one too many": Case(
        checks.columns_are([column("id", "uuid"), column("state", "text", nullable=True, default="'new'::text")]),
        "column id, state as specified",
        green=COLUMNS,
        red=(*COLUMNS, column("zone", "text"), column("extra", "text")),
        reason="extra columns: extra, zone",
    ),
    "columns_are, one too few": Case(
        checks.columns_are([column("id", "uuid"), column("state", "text", nullable=True, default="'new'::text")]),
        "column id, state as specified",
        green=COLUMNS,
        red=(COLUMNS[0], column("extra", "text")),
        reason="missing: state",
    ),
    "has_comment": Case(
        checks.has_comment("id", invariant="none"),
        "comments with their invariant on id",
        green=COLUMNS,
        red=({"column": "id", "comment": None},),
        reason="no such tag with a purpose in the comment of: id",
    ),
    "have_comments": Case(
        checks.have_comments({"id": "none", "state": "auth_critical"}),
        "comments with their invariant on id, state",
        green=(COLUMNS[0], {"column": "state", "comment": "INVARIANT: auth_critical. state of the tenant"}),
        red=(COLUMNS[0], {"column": "state", "comment": "INVARIANT: financial_critical. State of the tenant"}),
        reason="no such tag with a purpose in the comment of: state",
    ),
    "has_index keys": Case(
        checks.has_index("i", columns=["a", "b DESC"]),
        "index i as specified",
        green=(index("i", columns=["a", "b DESC"]),),
        red=(index("i", columns=["a", "b"]),),
        reason="i: columns is ['a', 'b'], wanted ['a', 'b DESC']",
    ),
    "has_index payload": Case(
        checks.has_index("i", columns=["a"], included=["b"]),
        "index i as specified",
        green=(index("i", included=["b"]),),
        red=(index("i"),),
        reason="i: included is [], wanted ['b']",
    ),
    "has_index predicate": Case(
        checks.has_index("i", columns=["a"], predicate="(a > 0)"),
        "index i as specified",
        green=(index("i", predicate="(a > 0)"),),
        red=(index("i", predicate="(a > 1)"),),
        reason="i: predicate is '(a > 1)', wanted '(a > 0)'",
    ),
    "has_index valid": Case(
        checks.has_index("i", columns=["a"]),
        "index i as specified",
        green=(index("i"),),
        red=(index("i", is_valid=False),),
        reason="i: is_valid is False, wanted True",
    ),
    "have_indexes": Case(
        checks.have_indexes({"i": ["a"], "j": ["b"]}),
        "index i, j as specified",
        green=(index("i"), index("j", columns=["b"]), index("k")),
        red=(index("j", columns=["b"], predicate="(b > 0)"), index("k")),
        reason="missing: i; j: predicate is '(b > 0)', wanted None",
    ),
    "has_unique_index": Case(
        checks.has_unique_index("i", columns=["a"]),
        "index i as specified",
        green=(index("i", is_unique=True),),
        red=(index("i"),),
        reason="i: is_unique is False, wanted True",
    ),
    "has_unique_index, partial": Case(
        checks.has_unique_index("i", columns=["a"]),
        "index i as specified",
        green=(index("i", is_unique=True),),
        red=(index("i", is_unique=True, predicate="(a IS NOT NULL)"),),
        reason="i: predicate is '(a IS NOT NULL)', wanted None",
    ),
    "lacks_indexes": Case(
        checks.lacks_indexes("i", "j"),
        "no index i or j",
        green=(index("k"),),
        red=(index("j"), index("k")),
        reason="still there: j",
    ),
    "has_foreign_key rule": Case(
        WANTED_KEY,
        "foreign key to parent ON DELETE CASCADE",
        green=({**foreign_key(), "comment": "beside the point"},),
        red=(foreign_key(on_delete="NO ACTION", definition="FOREIGN KEY (a) REFERENCES parent(id)"),),
        reason=KEY_REASON,
    ),
    "has_foreign_key validated": Case(
        WANTED_KEY,
        "foreign key to parent ON DELETE CASCADE",
        green=(foreign_key(),),
        red=(foreign_key(is_validated=False),),
        reason=KEY_REASON,
    ),
    "has_foreign_key among others": Case(
        WANTED_KEY,
        "foreign key to parent ON DELETE CASCADE",
        green=({"constraint": "pk", "type": "primary key"}, foreign_key()),
        red=({"constraint": "pk", "type": "primary key"},),
        reason=KEY_REASON,
    ),
    "holds_for_all": Case(
        checks.holds_for_all("every row holds its backfill"),
        "every row holds its backfill",
        green=(counted("a", 1200, 0),),
        red=(counted("a", 1200, 0), counted("b", 1200, 1100), counted("c", 1, 1)),
        reason="rows that are not as the backfill should have left them: b: 1,100 of 1,200 rows, c: 1 of 1 rows",
        unknown_reason=NO_ROWS,
    ),
    "holds_for_all, no rows in one table": Case(
        checks.holds_for_all("every row holds its backfill"),
        "every row holds its backfill",
        green=(counted("a", 2, 0), counted("b", 3, 0)),
        red=(counted("a", 0, 0), counted("b", 3, 1)),
        reason="rows that are not as the backfill should have left them: b: 1 of 3 rows",
        unknown=(counted("a", 0, 0), counted("b", 3, 0)),
        unknown_reason=NO_ROWS,
    ),
    "holds_for_all, NULL": Case(
        checks.holds_for_all("every row holds its backfill"),
        "every row holds its backfill",
        green=(counted("a", 2, 0),),
        red=(counted("a", 2, 2),),
        reason="rows that are not as the backfill should have left them: a: 2 of 2 rows",
        unknown=(counted("a", 2, None),),
        unknown_reason=NO_ROWS,
    ),
    "holds_for_all, known to have been empty": Case(
        checks.holds_for_all("every row holds its backfill", empty_before=["t"]),
        "every row holds its backfill",
        green=(counted("a", 1, 0),),
        red=(counted("a", 1, 1),),
        reason="rows that are not as the backfill should have left them: a: 1 of 1 rows",
        unknown=(counted("a", 1, None),),
        unknown_reason=NO_ROWS,
    ),
}

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@cases
def test_green(case: Case) -> None:
    verdict = case.check(case.green)

    assert isinstance(verdict, Pass)
    assert verdict.is_green
    assert (verdict.what, verdict.reason) == (case.what, "")
    assert verdict.have != ()


@cases
def test_red(case: Case) -> None:
    verdict = case.check(case.red)

    assert isinstance(verdict, Fail)
    assert not verdict.is_green
    assert (verdict.what, verdict.reason) == (case.what, case.reason)


@cases
def test_unknown(case: Case) -> None:
    verdict = case.check(case.unknown)

    assert isinstance(verdict, Unknown)
    assert not verdict.is_green
    assert (verdict.what, verdict.reason) == (case.what, case.unknown_reason)


def test_none_is_what_must_be_seen_in_a_table_that_was_empty() -> None:
    verdict = checks.holds_for_all("backfill", empty_before=["t"])((counted("a", 0, 0),))
    assert (verdict.name, verdict.reason) == ("PASS", "no rows before the phase in t")


@pytest.mark.parametrize(
    ("check", "rows"),
    [
        pytest.param(checks.have_columns([]), COLUMNS, id="have_columns"),
        pytest.param(checks.columns_are([]), COLUMNS, id="columns_are"),
        pytest.param(checks.have_comments({}), COLUMNS, id="have_comments"),
        pytest.param(checks.have_indexes({}), (index("i"),), id="have_indexes"),
        pytest.param(checks.lacks_indexes(), (index("i"),), id="lacks_indexes"),
    ],
)
def test_nothing_asked_is_never_green(check: Check, rows: Rows) -> None:
    verdict = check(rows)

    assert (verdict.name, verdict.reason) == ("UNKNOWN", NOTHING_ASKED)


def test_a_red_check_shows_only_what_was_asked_for() -> None:
    verdict = checks.has_column("state", type="integer")(COLUMNS)

    assert verdict.have == ({"column": "state", "type": "text"},)
    assert verdict.want == ({"column": "state", "type": "integer"},)


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        pytest.param("INVARIANT: auth_critical. Hash of the key.", "PASS", id="as wanted"),
        pytest.param("INVARIANT: auth_critical – hash of the key", "PASS", id="dash and small letter"),
        pytest.param("Key. INVARIANT: auth_critical. Größe des Schlüssels", "PASS", id="tag later, beyond ASCII"),
        pytest.param("INVARIANT: auth_critical", "FAIL", id="no purpose"),
        pytest.param("INVARIANT: auth_critical. –", "FAIL", id="no word in the purpose"),
        pytest.param("INVARIANT: auth_critical_v2. Hash of the key.", "FAIL", id="longer tag"),
        pytest.param("INVARIANT: auth_criticality. Hash of the key.", "FAIL", id="longer word"),
        pytest.param("invariant: auth_critical. Hash of the key.", "FAIL", id="small letters"),
        pytest.param("Hash of the key. INVARIANT: auth_critical", "FAIL", id="purpose before the tag"),
        pytest.param("", "FAIL", id="empty"),
        pytest.param(None, "FAIL", id="NULL"),
    ],
)
def test_comments_carry_tag_and_purpose(comment: str | None, name: str) -> None:
    verdict = checks.has_comment("key", invariant="auth_critical")(({"column": "key", "comment": comment},))

    assert verdict.name == name
    assert verdict.have == ({"column": "key", "comment": comment},)


def test_is_empty_passes_on_nothing_and_counts_what_offends() -> None:
    check = checks.is_empty("no orphans")
    offending = tuple({"id": number} for number in range(1234))

    assert check(()) == Pass("no orphans")
    assert check(offending) == Fail("no orphans", offending[:20], (), "1,234 offending rows")


@pytest.mark.parametrize(
    ("names", "verdict"),
    [
        pytest.param(["PASS", "PASS"], "PASS", id="all green"),
        pytest.param(["PASS", "UNKNOWN"], "UNKNOWN", id="one unknown"),
        pytest.param(["UNKNOWN", "FAIL", "PASS"], "FAIL", id="one red"),
        pytest.param(["PASS", "NOT REACHED"], "UNKNOWN", id="one not reached"),
        pytest.param(["PASS", "pass"], "UNKNOWN", id="no verdict of ours"),
        pytest.param([], "UNKNOWN", id="none"),
    ],
)
def test_worst(names: list[str], verdict: str) -> None:
    assert worst(iter(names)) == verdict


def test_only_a_pass_is_green_and_verdicts_cannot_be_changed() -> None:
    assert [name for name, kind in VERDICTS.items() if kind("a claim").is_green] == ["PASS"]
    with pytest.raises(AttributeError):
        Fail("a claim").reason = "none"  # type: ignore[misc]
