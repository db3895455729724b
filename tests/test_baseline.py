"""Rows and catalog before and after a phase: checksums, seeing every row, and what counts as preserved."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import Databases
from gatebook import baseline, catalog, checks, history, preflight, preservation, row_security
from gatebook.baseline import State, Store, TableSum
from gatebook.catalog import execute
from gatebook.database import Database
from gatebook.declarations import Gates
from gatebook.errors import PhaseRefused
from gatebook.history import History, Step
from gatebook.phase import Phase
from gatebook.project import Project
from gatebook.verdicts import Verdict

SCHEMA = """
CREATE TABLE t (id int, a text, b text, n numeric, j jsonb);
INSERT INTO t SELECT i, 'a' || i, CASE WHEN i % 3 <> 0 THEN 'b' || i END, i / 4.0, jsonb_build_object('i', i)
  FROM generate_series(1, 50) i;
CREATE TABLE empty (id int, a text);
CREATE SCHEMA "other schema";
CREATE TABLE "other schema"."Odd %s {table}" ("odd ""column"" %s {x}" text);
INSERT INTO "other schema"."Odd %s {table}" VALUES ('100%'), ('{0}'), (NULL);
"""
COLUMNS = {"t": ["id", "a", "b", "n", "j"]}
ODD = '"other schema"."Odd %s {table}"'


@pytest.fixture(scope="module")
def database(databases: Databases) -> Iterator[Database]:
    made = databases.empty()
    with made.connect() as connection:
        execute(connection, SCHEMA)
        connection.commit()
    yield made
    databases.drop(made)


@pytest.fixture
def connection(database: Database) -> Iterator[sa.Connection]:
    with database.connect() as connection:
        yield connection


def sums(connection: sa.Connection, **options: Any) -> dict[str, TableSum]:
    return baseline.table_sums(connection, COLUMNS, **options)


# -- checksums


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param("UPDATE t SET a = a WHERE id < 25", id="rows in another place"),
        pytest.param("CREATE INDEX i ON t (a DESC); CLUSTER t USING i", id="rows in another order"),
        pytest.param("ALTER TABLE t ADD extra text DEFAULT 'x'", id="one more column"),
        pytest.param("ALTER TABLE t ALTER id TYPE bigint, ALTER a TYPE varchar(20)", id="types of the same text"),
        pytest.param("SET LOCAL enable_seqscan = off; CREATE INDEX ON t (id)", id="another plan"),
    ],
)
def test_the_same_rows_have_the_same_sums(connection: sa.Connection, statements: str) -> None:
    before = sums(connection)
    execute(connection, statements)

    assert sums(connection) == before
    assert baseline.data_differences(before, sums(connection)) == ()


@pytest.mark.parametrize(
    ("statements", "columns", "rows"),
    [
        pytest.param("UPDATE t SET a = 'A1' WHERE id = 1", "a", 50, id="a changed value"),
        pytest.param("UPDATE t SET a = 'a1 ' WHERE id = 1", "a", 50, id="one more blank"),
        pytest.param("UPDATE t SET b = '' WHERE id = 3", "b", 50, id="empty text for NULL"),
        pytest.param("UPDATE t SET b = NULL WHERE id = 1", "b", 50, id="NULL for text"),
        pytest.param("UPDATE t SET b = 'NULL' WHERE id = 3", "b", 50, id="the word NULL for NULL"),
        pytest.param("UPDATE t SET n = 0.250 WHERE id = 1", "n", 50, id="another scale"),
        pytest.param('UPDATE t SET j = \'{"i": "1"}\' WHERE id = 1', "j", 50, id="text for a number in JSON"),
        pytest.param("UPDATE t SET a = b, b = a WHERE id = 1", "a, b", 50, id="values swapped between columns"),
        pytest.param(
            "UPDATE t SET a = CASE id WHEN 1 THEN 'a2' ELSE 'a1' END WHERE id IN (1, 2)",
            "values moved between rows",
            50,
            id="values swapped between rows",
        ),
        pytest.param("DELETE FROM t WHERE id = 7", "id, a, b, n, j", 49, id="a lost row"),
        pytest.param("INSERT INTO t SELECT * FROM t WHERE id = 7", "id, a, b, n, j", 51, id="a doubled row"),
        pytest.param("INSERT INTO t VALUES (NULL)", "values moved between rows", 51, id="a row of NULLs"),
        pytest.param("ALTER TABLE t DROP COLUMN a", "a", 50, id="a lost column"),
        pytest.param("DROP TABLE t", "id, a, b, n, j", None, id="a lost table"),
    ],
)
def test_every_change_of_rows_is_noticed(
    connection: sa.Connection, statements: str, columns: str, rows: int | None
) -> None:
    before = sums(connection)
    execute(connection, statements)

    assert baseline.data_differences(before, sums(connection)) == (
        {"table": "t", "rows_before": 50, "rows_after": rows, "columns_differing": columns},
    )


def test_every_table_is_summed_whatever_it_is_called(connection: sa.Connection) -> None:
    columns = baseline.table_columns(connection)
    found = baseline.table_sums(connection, columns)

    assert columns == {ODD: ['odd "column" %s {x}'], "empty": ["id", "a"], "t": COLUMNS["t"]}
    assert {table: each.rows for table, each in found.items()} == {ODD: 3, "empty": 0, "t": 50}
    assert found["empty"] == TableSum(0, "0", {"id": "0", "a": "0"})


def test_sums_with_filled_nulls_are_those_of_the_filled_rows(connection: sa.Connection) -> None:
    wanted = sums(connection, fills={("t", "b"): "'%s ' || id"})
    before = sums(connection)
    execute(connection, "UPDATE t SET b = '%s ' || id WHERE b IS NULL")

    assert sums(connection) == wanted
    assert before != wanted
    assert [name for name in COLUMNS["t"] if before["t"].columns[name] != wanted["t"].columns[name]] == ["b"]


# -- what is kept of a database


def state(**tables: TableSum) -> State:
    snapshot: catalog.Snapshot = {("table", 't "ü"'): {"kind": "table", "forced": True, "comment": None}}
    return State("202511151400", snapshot, tables, {name: each for name, each in tables.items() if name == "t"})


def test_a_state_is_kept_whole_and_forgotten(project: Project, database: Database) -> None:
    store = Store(project, database.server)
    kept = replace(
        state(t=TableSum(2, "-12345678901234567890", {"a": "1", "ü %": "2"})),
        preserved={"t": TableSum(2, "-1", {"a": "1"})},
        marks={"t.ü %": "16384.2"},
    )

    assert store.state("4", "before") is None
    store.save_state("4", "before", kept)
    assert store.state("4", "before") == kept == State.from_json(json.loads(kept.to_json()))
    store.save_proof("4", {"run": "r"})
    assert store.proof("4") == {"run": "r"}
    store.forget("4")
    assert (store.state("4", "before"), store.proof("4")) == (None, None)
    store.forget("4")


def test_a_database_of_the_same_name_made_later_inherits_nothing(databases: Databases, project: Project) -> None:
    first = databases.empty()
    Store(project, first.server).save_proof("4", {"run": "r"})
    with databases.maintenance() as superuser:
        first.engine.dispose()
        name = first.name.removeprefix("embedded/")
        superuser.execute(f"DROP DATABASE {name}")
        superuser.execute(f"CREATE DATABASE {name} OWNER gatebook_owner")
    first.__dict__.pop("server")

    assert Store(project, first.server).proof("4") is None
    databases.drop(first)


# -- seeing every row

FORCED = "CREATE TABLE {0} (tenant int); INSERT INTO {0} VALUES (1), (2); ALTER TABLE {0} ENABLE ROW LEVEL SECURITY"
TENANT = "CREATE POLICY tenant ON {0} USING (tenant = nullif(current_setting('app.tenant', true), '')::int)"
EVERYTHING = "CREATE POLICY everything ON {0} FOR {1} TO {2} USING (true)"
RESTRICTION = "CREATE POLICY restriction ON {0} AS RESTRICTIVE TO {1} USING (tenant = 1)"


@pytest.fixture(scope="module")
def guarded(databases: Databases) -> Iterator[Database]:
    """Tables under every kind of row security, each with two rows of two tenants."""
    made = databases.empty()
    tables = {
        "no_security": [],
        "not_forced": [TENANT],
        "no_policy": ["ALTER TABLE {0} FORCE ROW LEVEL SECURITY"],
        "tenants_only": [TENANT, "ALTER TABLE {0} FORCE ROW LEVEL SECURITY"],
        '"Odd %s ""table"" größe"': [TENANT, "ALTER TABLE {0} FORCE ROW LEVEL SECURITY"],
        "opened": [EVERYTHING.format("{0}", "ALL", "PUBLIC"), "ALTER TABLE {0} FORCE ROW LEVEL SECURITY"],
        "opened_to_read": [
            EVERYTHING.format("{0}", "SELECT", "CURRENT_USER"),
            "ALTER TABLE {0} FORCE ROW LEVEL SECURITY",
        ],
        "opened_to_delete": [
            EVERYTHING.format("{0}", "DELETE", "CURRENT_USER"),
            "ALTER TABLE {0} FORCE ROW LEVEL SECURITY",
        ],
        "restricts_others": [
            EVERYTHING.format("{0}", "ALL", "PUBLIC"),
            RESTRICTION.format("{0}", "postgres"),
            "ALTER TABLE {0} FORCE ROW LEVEL SECURITY",
        ],
    }
    with made.connect() as connection:
        for name, statements in tables.items():
            execute(connection, FORCED.format(name) if statements else FORCED.format(name).rpartition(";")[0])
            for statement in statements:
                execute(connection, statement.replace("{0}", name))
        connection.commit()
    yield made
    databases.drop(made)


HIDDEN = ['"Odd %s ""table"" größe"', "no_policy", "opened_to_delete", "tenants_only"]


def counts(connection: sa.Connection) -> dict[str, int]:
    return {
        row["table"]: execute(connection, f"SELECT count(*) FROM {row['table']}").scalar_one()
        for row in catalog.tables().run(connection)
    }


def test_tables_that_may_hide_rows_are_known(guarded: Database) -> None:
    with guarded.connect() as connection:
        seen = counts(connection)
        assert row_security.filtered_tables(connection) == HIDDEN
    assert sorted(name for name, rows in seen.items() if rows != 2) == HIDDEN


def test_a_tenant_that_is_set_does_not_make_a_table_complete(guarded: Database) -> None:
    with guarded.connect() as connection:
        execute(connection, "SELECT set_config('app.tenant', '1', true)")
        assert row_security.filtered_tables(connection) == HIDDEN
        assert counts(connection)["tenants_only"] == 1


def test_nothing_is_hidden_from_a_superuser(databases: Databases, guarded: Database) -> None:
    with databases.maintenance(guarded.name.removeprefix("embedded/")) as superuser:
        assert superuser.execute(row_security.FILTERED).fetchall() == []


def test_all_rows_are_seen_and_may_be_written_while_it_lasts(guarded: Database) -> None:
    with guarded.connect() as connection:
        before = catalog.snapshot(connection)
        with row_security.all_rows(connection):
            assert set(counts(connection).values()) == {2}
            assert row_security.filtered_tables(connection) == []
            execute(connection, "INSERT INTO tenants_only VALUES (3); UPDATE no_policy SET tenant = 4")
        assert catalog.diff(before, catalog.snapshot(connection)) == ()
        assert row_security.filtered_tables(connection) == HIDDEN


def test_the_policy_goes_with_the_transaction_when_something_fails(guarded: Database) -> None:
    with guarded.connect() as connection:
        before = catalog.snapshot(connection)
        with pytest.raises(ZeroDivisionError), row_security.all_rows(connection):
            raise ZeroDivisionError
        connection.rollback()
        assert catalog.diff(before, catalog.snapshot(connection)) == ()


def test_a_restrictive_policy_is_refused_not_overlooked(guarded: Database) -> None:
    with guarded.connect() as connection:
        execute(connection, RESTRICTION.format("opened", "PUBLIC"))
        assert counts(connection)["opened"] == 1
        assert "opened" in row_security.filtered_tables(connection)
        with pytest.raises(PhaseRefused) as caught, row_security.all_rows(connection):
            pytest.fail("rows are hidden")
    assert caught.value.what == "a restrictive policy may hide rows of opened from this role"


def test_only_the_owner_may_open_a_table(databases: Databases, guarded: Database) -> None:
    with databases.maintenance(guarded.name.removeprefix("embedded/")) as superuser:
        superuser.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO app_ro")
    with guarded.connect() as connection:
        execute(connection, "SET LOCAL ROLE app_ro")
        assert row_security.filtered_tables(connection) == sorted([*HIDDEN, "not_forced", "opened_to_read"])
        with pytest.raises(sa.exc.DBAPIError), row_security.all_rows(connection):
            pytest.fail("rows are hidden")


def test_a_gate_says_unknown_where_rows_are_hidden(migrated_copy: Database) -> None:
    with migrated_copy.connect() as connection:
        execute(connection, "CREATE POLICY hides ON tenants AS RESTRICTIVE USING (false)")
        connection.commit()
    phase = Phase("P", database=migrated_copy.name)
    with phase.gate("P.3") as gate:
        result = gate.examine("P.3.1", preflight.row_counts, all_rows=True)
    phase.database.close()

    assert (result.verdict.name, result.verdict.reason) == (
        "UNKNOWN",
        "a restrictive policy may hide rows of tenants from this role (row security)",
    )


def test_rows_that_are_hidden_are_not_compared(migrated_copy: Database) -> None:
    with migrated_copy.connect() as connection:
        execute(connection, "CREATE POLICY hides ON tenants AS RESTRICTIVE USING (false)")
        connection.commit()
    phase = Phase("4", database=migrated_copy.name)
    with phase.gate("4.D") as gate:
        result = gate.data_preserved("4.D.1")
    phase.database.close()

    assert (result.verdict.name, result.verdict.reason) == (
        "UNKNOWN",
        "a restrictive policy may hide rows of tenants from this role (row security)",
    )


# -- preserved or not


def table_sum(rows: int = 2, checksum: str = "9", **columns: str) -> TableSum:
    return TableSum(rows, checksum, columns or {"a": "1", "b": "2"})


NOBODY_LOOKED = (
    "phase 4 was not applied by this workbook, so nobody looked before it; "
    "downgrade to the revision before it and run the notebook again"
)


Sums = dict[str, TableSum]


def step(
    phase: str, found: Sums, left: Sums | None = None, *, kept: Sums | None = None, filled: Sums | None = None
) -> Step:
    """A phase that found these rows and left those, all columns told; `kept` is what was left of what it found."""
    before = State(None, {}, found, filled or {})
    after = State(None, {}, found if left is None else left, preserved=found if kept is None else kept)
    return Step(phase, before, after)


def data_verdict(*steps: Step, now: Sums | None = None, writers_expected: bool = False) -> Verdict:
    """Of phase 4; nobody wrote after the last phase unless `now` says so."""
    live = now if now is not None else steps[-1].after.data if steps else {}
    return preservation.data_verdict("a claim", "4", History(steps), live, writers_expected=writers_expected)


LOST = [
    pytest.param({"u": table_sum()}, {"u": table_sum()}, "PASS", "", id="as it was"),
    pytest.param(
        {"u": table_sum()},
        {"u": table_sum(a="1", b="3")},
        "FAIL",
        "rows are not what they were before the phase: u: 2 rows before, 2 now, columns b",
        id="a changed value",
    ),
    pytest.param(
        {"u": table_sum(), "v": table_sum()},
        {"v": table_sum(1, "8", a="0", b="0")},
        "FAIL",
        "rows are not what they were before the phase: "
        "u: 2 rows before, None now, columns a, b; v: 2 rows before, 1 now, columns a, b",
        id="a lost table and a lost row",
    ),
    pytest.param(
        {"u": table_sum()},
        {"u": table_sum(checksum="8")},
        "FAIL",
        "rows are not what they were before the phase: u: 2 rows before, 2 now, columns values moved between rows",
        id="moved values",
    ),
    pytest.param({}, {}, "UNKNOWN", "there were no tables before the phase", id="no tables"),
    pytest.param({}, {"u": table_sum()}, "UNKNOWN", "there were no tables before the phase", id="no tables but a new"),
]


@pytest.mark.parametrize("writers_expected", [False, True], ids=["no writers", "writers"])
@pytest.mark.parametrize(("found", "kept", "name", "reason"), LOST)
def test_what_a_phase_itself_lost_is_never_excused(
    found: Sums, kept: Sums, name: str, reason: str, *, writers_expected: bool
) -> None:
    verdict = data_verdict(step("4", found, kept, kept=kept), writers_expected=writers_expected)

    assert (verdict.name, verdict.reason) == (name, reason)


@pytest.mark.parametrize("writers_expected", [False, True], ids=["no writers", "writers"])
def test_data_verdict_cannot_tell_where_nobody_looked(*, writers_expected: bool) -> None:
    verdict = data_verdict(now={"u": table_sum()}, writers_expected=writers_expected)

    assert (verdict.name, verdict.reason) == ("UNKNOWN", NOBODY_LOOKED)


def test_what_a_later_phase_lost_is_its_own_fault() -> None:
    changed = {"t": table_sum(a="1", b="3")}
    four, five = step("4", {"t": table_sum()}), step("5", {"t": table_sum()}, changed, kept=changed)

    assert data_verdict(four, five).name == "PASS"
    assert preservation.data_verdict("", "5", History((five,)), changed, writers_expected=False).name == "FAIL"


NULLS, FILLED = {"t": table_sum(a="1", b="0")}, {"t": table_sum(a="1", b="7")}


def test_declared_fills_are_what_is_wanted_and_nothing_else() -> None:
    filled = step("5", NULLS, FILLED, kept=FILLED, filled=FILLED)
    unfilled = step("5", NULLS, NULLS, kept=NULLS, filled=FILLED)
    undeclared = step("5", NULLS, FILLED, kept=FILLED)
    others = {**FILLED, "u": table_sum(a="1", b="3")}
    elsewhere = step("5", {**NULLS, "u": table_sum()}, others, kept=others, filled=FILLED)

    assert data_verdict(filled).name == "PASS"
    assert data_verdict(filled).want == ({"table": "t", "rows": 2, "checksum": "9"},)
    assert [data_verdict(each).name for each in (unfilled, undeclared, elsewhere)] == ["FAIL"] * 3
    assert data_verdict(elsewhere).reason.endswith("before the phase: u: 2 rows before, 2 now, columns b")


def test_nulls_that_a_later_phase_filled_are_no_break() -> None:
    steps = step("4", NULLS), step("5", NULLS, FILLED, kept=FILLED, filled=FILLED)

    assert (data_verdict(*steps).name, data_verdict(*steps).reason) == ("PASS", "")
    assert data_verdict(*steps, now=NULLS).reason == (
        "rows are not what phase 5 left: t: 2 rows before, 2 now, columns b"
    )
    too_early = step("4", NULLS), step("5", FILLED, filled=FILLED)
    assert data_verdict(*too_early).reason == "rows are not what phase 4 left: t: 2 rows before, 2 now, columns b"


OLD: catalog.Snapshot = {("table", "t"): {"comment": None}, ("index", "t.old"): {"definition": "x"}}
DECLARED: preservation.Declared = {("column", "t.c"): {"type": "text"}, ("index", "t.old"): None}
AS_DECLARED: catalog.Snapshot = {
    ("table", "t"): {"comment": None},
    ("column", "t.c"): {"type": "text", "collation": '"default"', "generated": ""},
}


def catalogs(*steps: tuple[str, catalog.Snapshot, catalog.Snapshot]) -> History:
    return History(tuple(Step(phase, State(None, old, {}), State(None, new, {})) for phase, old, new in steps))


def judged(now: catalog.Snapshot, declared: preservation.Declared = DECLARED) -> Verdict:
    """Of a phase 4 that left this catalog, with nobody having changed it since."""
    return preservation.catalog_verdict("a claim", "4", catalogs(("4", OLD, now)), now, declared)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        pytest.param(AS_DECLARED, "", id="as declared"),
        pytest.param(OLD, "column t.c is missing; index t.old is still there", id="nothing done"),
        pytest.param(
            AS_DECLARED | {("column", "t.c"): {"type": "uuid"}},
            "column t.c: type is 'uuid', declared 'text'",
            id="another type",
        ),
        pytest.param(
            AS_DECLARED | {("column", "t.c"): {"type": "text", "collation": '"C"', "generated": "s"}},
            "column t.c: generated is 's', not declared; column t.c: collation is '\"C\"', not declared",
            id="declared, but unusual",
        ),
        pytest.param(
            AS_DECLARED | {("trigger", "t.x"): {"definition": "x"}},
            "trigger t.x added, not declared",
            id="something else",
        ),
        pytest.param(
            AS_DECLARED | {("table", "t"): {"comment": "new"}},
            "table t changed (comment), not declared",
            id="something else changed",
        ),
        pytest.param(
            {key: value for key, value in AS_DECLARED.items() if key[0] != "table"},
            "table t removed, not declared",
            id="something else gone",
        ),
        pytest.param(
            AS_DECLARED | {("grant", "t to <owner>"): {"privileges": "ALL"}},
            "grant t to <owner> added, not declared",
            id="owner's rights on a table of before",
        ),
    ],
)
def test_catalog_verdict(now: catalog.Snapshot, reason: str) -> None:
    verdict = judged(now)

    assert (verdict.name, verdict.reason) == ("FAIL" if reason else "PASS", reason)


def test_the_owners_rights_come_with_a_new_table_and_others_do_not() -> None:
    declared: preservation.Declared = DECLARED | {("table", "u"): {"comment": None}}
    now = AS_DECLARED | {("table", "u"): {"comment": None}, ("grant", "u to <owner>"): {"privileges": "ALL"}}

    assert judged(now, declared).name == "PASS"
    assert judged(now | {("grant", "u to PUBLIC"): {}}, declared).reason == "grant u to PUBLIC added, not declared"


def test_catalog_verdict_cannot_tell_without_a_state_or_a_declaration() -> None:
    unseen = preservation.catalog_verdict("", "4", History(()), OLD, DECLARED)

    assert (unseen.name, unseen.reason) == ("UNKNOWN", NOBODY_LOOKED)
    assert (judged(OLD, {}).name, judged(OLD, {}).reason) == ("UNKNOWN", "the phase declares no change")


OPENED: catalog.Snapshot = AS_DECLARED | {("grant", "t to PUBLIC"): {"privileges": "SELECT"}}
LATER: catalog.Snapshot = AS_DECLARED | {("column", "t.d"): {"type": "text"}}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        pytest.param(AS_DECLARED, "", id="nothing"),
        pytest.param(OPENED, "grant t to PUBLIC added", id="something new"),
        pytest.param(AS_DECLARED | {("table", "t"): {"comment": "new"}}, "table t changed comment", id="changed"),
        pytest.param(
            AS_DECLARED | {("column", "t.c"): {"type": "uuid", "collation": '"default"', "generated": ""}},
            "column t.c changed type",
            id="what was declared",
        ),
        pytest.param(OLD, "column t.c removed; index t.old added", id="undone"),
    ],
)
@pytest.mark.parametrize("place", ["between", "after", "long after"])
def test_a_catalog_that_somebody_changed_outside_the_phases(place: str, found: catalog.Snapshot, reason: str) -> None:
    """The phase itself did as declared; where the change was undone before the end, it was made all the same."""
    steps = [("4", OLD, AS_DECLARED)]
    if place == "between":
        steps.append(("5", found, LATER))
    elif place == "long after":
        steps += [("5", AS_DECLARED, LATER), ("6", LATER, AS_DECLARED)]
    now = LATER if place == "between" else found
    verdict = preservation.catalog_verdict("a claim", "4", catalogs(*steps), now, DECLARED)
    last = "6" if place == "long after" else "4"

    assert verdict.name == ("FAIL" if reason else "PASS")
    assert verdict.reason == (f"the catalog is not what phase {last} left: {reason}" if reason else "")


def test_every_break_of_the_catalog_is_told_beside_what_the_phase_did() -> None:
    past = catalogs(("4", OLD, OPENED), ("5", AS_DECLARED, LATER))

    assert preservation.catalog_verdict("", "4", past, AS_DECLARED, DECLARED).reason == (
        "grant t to PUBLIC added, not declared; "
        "the catalog is not what phase 4 left: grant t to PUBLIC removed; "
        "the catalog is not what phase 5 left: column t.d removed"
    )


def test_what_a_later_phase_did_to_the_catalog_is_its_own_matter() -> None:
    past = catalogs(("4", OLD, AS_DECLARED), ("5", AS_DECLARED, OPENED))

    assert preservation.catalog_verdict("", "4", past, OPENED, DECLARED).name == "PASS"


# -- the chain of phases

FOUND: Sums = {"t": table_sum()}
LEFT: Sums = {"t": table_sum(a="1", b="2", c="3", checksum="8")}
BREAKS = [
    pytest.param(LEFT, "", id="the same columns"),
    pytest.param({**LEFT, "v": table_sum()}, "", id="one more table"),
    pytest.param({"t": table_sum(a="1", b="3", c="3", checksum="8")}, "2 rows before, 2 now, columns b", id="a value"),
    pytest.param(
        {"t": table_sum(a="1", b="2", c="4", checksum="8")}, "2 rows before, 2 now, columns c", id="a backfilled value"
    ),
    pytest.param({"t": table_sum(a="1", c="3", checksum="8")}, "2 rows before, 2 now, columns b", id="a lost column"),
    pytest.param({"t": table_sum(a="1", b="2")}, "2 rows before, 2 now, columns c", id="the new column lost"),
    pytest.param(
        {"t": table_sum(3, a="1", b="2", c="3", checksum="8")},
        "2 rows before, 3 now, columns values moved between rows",
        id="one more row of NULLs",
    ),
    pytest.param(
        {"t": table_sum(a="1", b="2", c="3", checksum="7")},
        "2 rows before, 2 now, columns values moved between rows",
        id="moved values",
    ),
    pytest.param({"u": table_sum()}, "2 rows before, None now, columns a, b, c", id="a lost table"),
]


@pytest.mark.parametrize("place", ["between", "after"])
@pytest.mark.parametrize(("later", "reason"), BREAKS)
def test_what_is_found_later_is_what_the_phase_left(later: Sums, reason: str, place: str) -> None:
    """By the next phase, even when all is mended afterwards, or now, when no phase came after it."""
    steps = [step("4", FOUND, LEFT, kept=FOUND)]
    if place == "between":
        steps.append(step("5", later, LEFT))
    verdict = data_verdict(*steps, now=LEFT if place == "between" else later)
    told = f"rows are not what phase 4 left: t: {reason}" if reason else ""

    assert (verdict.name, verdict.reason) == ("FAIL" if reason else "PASS", told)


@pytest.mark.parametrize("place", ["between", "after"])
@pytest.mark.parametrize(("later", "reason"), BREAKS)
def test_expected_writers_are_told_and_are_no_failure(later: Sums, reason: str, place: str) -> None:
    steps = [step("4", FOUND, LEFT, kept=FOUND)]
    if place == "between":
        steps.append(step("5", later, LEFT))
    verdict = data_verdict(*steps, now=LEFT if place == "between" else later, writers_expected=True)
    told = f"writers are expected; rows are not what phase 4 left: t: {reason}" if reason else ""

    assert (verdict.name, verdict.reason) == ("PASS", told)


@pytest.mark.parametrize("writers_expected", [False, True], ids=["no writers", "writers"])
def test_every_break_of_the_rows_is_told_with_its_phase(*, writers_expected: bool) -> None:
    two, three, four = ({"t": table_sum(rows)} for rows in (2, 3, 4))
    verdict = data_verdict(
        step("4", two), step("5", three), step("6", three), now=four, writers_expected=writers_expected
    )
    moved = "columns values moved between rows"
    breaks = [
        f"rows are not what phase 4 left: t: 2 rows before, 3 now, {moved}",
        f"rows are not what phase 6 left: t: 3 rows before, 4 now, {moved}",
    ]
    told = [f"writers are expected; {each}" for each in breaks] if writers_expected else breaks

    assert (verdict.name, verdict.reason) == ("PASS" if writers_expected else "FAIL", "; ".join(told))


def test_a_break_before_the_phase_is_not_held_against_it() -> None:
    four, five = step("4", {"t": table_sum(1)}), step("5", FOUND)

    assert data_verdict(four, five).name == "FAIL"
    assert data_verdict(five).name == "PASS"


def test_without_a_later_phase_the_rows_are_summed_now(connection: sa.Connection) -> None:
    left = sums(connection)
    past = History((step("4", left),))

    assert past.changed_rows(sums(connection)) == []
    execute(connection, "UPDATE t SET b = 'x' WHERE id = 3; DELETE FROM t WHERE id = 7")
    assert past.changed_rows(sums(connection)) == [
        "rows are not what phase 4 left: t: 50 rows before, 49 now, columns id, a, b, n, j"
    ]


def test_the_history_of_a_phase_ends_where_nobody_looked(project: Project, database: Database) -> None:
    gates = Gates.model_validate(
        {
            "phases": [
                {"phase": phase, "title": phase, "notebook": f"n{phase}", "revision": revision, "gates": []}
                for phase, revision in (("P", None), ("4", "a"), ("5", "b"), ("C", None), ("6", "c"), ("7", "d"))
            ]
        }
    )
    store = Store(project, database.server)

    def phases(since: str) -> list[str]:
        return [each.phase for each in history.since(store, gates, since).steps]

    try:
        for phase in ("4", "5", "6", "7"):
            store.save_state(phase, "before", state(t=table_sum(int(phase))))
            store.save_state(phase, "after", state(t=table_sum(10 * int(phase))))
        whole = history.since(store, gates, "5")
        assert [(each.phase, each.before.data["t"].rows, each.after.data["t"].rows) for each in whole.steps] == [
            ("5", 5, 50),
            ("6", 6, 60),
            ("7", 7, 70),
        ]
        assert (whole.first.phase, whole.last.phase) == ("5", "7")
        (store.folder / "phase-6-after.json").unlink()
        assert [phases(since) for since in ("4", "5", "6", "7")] == [["4", "5"], ["5"], [], ["7"]]
        store.forget("4")
        assert [phases(since) for since in ("4", "5")] == [[], ["5"]]
    finally:
        for phase in ("4", "5", "6", "7"):
            store.forget(phase)


def test_rows_without_their_backfill_are_counted_and_null_is_wrong(connection: sa.Connection) -> None:
    predicates = {"t": {"a": "a LIKE 'a%'", "b": "b LIKE 'b%'"}, "empty": {"id": "true"}}

    assert preservation.backfill_query(predicates).run(connection) == (
        {"table": "t", "column": "a", "rows_seen": 50, "rows_wrong": 0},
        {"table": "t", "column": "b", "rows_seen": 50, "rows_wrong": 16},
        {"table": "empty", "column": "id", "rows_seen": 0, "rows_wrong": 0},
    )


def test_a_phase_without_backfill_has_nothing_to_count(connection: sa.Connection) -> None:
    rows = preservation.backfill_query({}).run(connection)

    assert (rows, checks.holds_for_all("")(rows).name) == ((), "UNKNOWN")
