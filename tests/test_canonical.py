"""The canonical schema: what follows from its declaration, and that it says what the live catalog shows."""

from typing import Any

import pytest

from gatebook import catalog
from gatebook.canonical import SEVERITIES, Canonical, load_canonical
from gatebook.catalog import Snapshot
from gatebook.database import Database
from gatebook.project import Project

SMALL: dict[str, Any] = {
    "phase_order": ["1", "2", "3"],
    "baseline_revision": "r0",
    "severities": {"auth": "BLOCKING", "reports": "HIGH", "none": "LOW"},
    "tables": {
        "old": {
            "columns": {
                "id": {"type": "uuid", "nullable": False, "invariant": "auth"},
                "note": {"type": "text", "nullable": True},
                "key": {
                    "type": "text",
                    "nullable": False,
                    "invariant": "auth",
                    "phase": "1",
                    "comment": "Key",
                    "backfill": "concat('k', id)",
                },
                "rank": {
                    "type": "integer",
                    "nullable": False,
                    "default": "0",
                    "invariant": "reports",
                    "phase": "1",
                    "backfill_check": "rank >= 0",
                },
                "seen": {
                    "type": "date",
                    "nullable": False,
                    "invariant": "none",
                    "changed": {"phase": "2", "was": {"nullable": True}, "fill": "now()"},
                },
            },
            "constraints": {
                "old_pkey": {"definition": "PRIMARY KEY (id)"},
                "rank_positive": {"definition": "CHECK ((rank >= 0))", "phase": "1", "comment": "Not negative"},
            },
            "indexes": {
                "idx_old_key": {
                    "definition": "CREATE UNIQUE INDEX idx_old_key ON public.old USING btree (key)",
                    "phase": "1",
                },
                "idx_identity_rank": {
                    "definition": "CREATE INDEX idx_identity_rank ON public.old USING btree (rank)",
                    "phase": "1",
                },
            },
            "removed_indexes": {"idx_gone": {"definition": "CREATE INDEX …", "phase": "2"}},
            "policies": {"all": {"command": "ALL", "roles": ["PUBLIC"], "using": "true", "phase": "1"}},
            "grants": {"app": ["SELECT"]},
        },
        "new": {
            "phase": "3",
            "comment": "New",
            "columns": {
                "id": {"type": "uuid", "nullable": False, "invariant": "auth"},
                "old_rank": {"type": "integer", "nullable": True, "invariant": "none"},
            },
            "constraints": {
                "new_old": {"definition": "FOREIGN KEY (old_rank) REFERENCES old(id, key)", "comment": "Belongs"}
            },
            "row_security": {"enabled": True, "forced": False},
            "policies": {"mine": {"command": "SELECT", "roles": ["a", "<owner>"], "check": "false"}},
            "grants": {"app": ["SELECT", "INSERT"]},
        },
    },
    "materialized_views": {"view": {}},
    "allowed_extra": {"old": ["note", "legacy"], "tables": ["other"]},
}

BEFORE: Snapshot = {
    ("table", "old"): {"kind": "table"},
    ("column", "old.id"): {"type": "uuid", "nullable": False, "default": None},
    ("column", "old.note"): {"type": "text", "nullable": True, "default": None},
    ("column", "old.seen"): {"type": "date", "nullable": True, "default": None},
    ("constraint", "old.old_pkey"): {"definition": "PRIMARY KEY (id)"},
    ("index", "old.idx_gone"): {"definition": "CREATE INDEX …"},
}


@pytest.fixture(scope="module")
def small() -> Canonical:
    return Canonical.model_validate(SMALL)


# -- what a phase may and must do


def test_changes_of_a_phase_to_a_table_of_before(small: Canonical) -> None:
    assert small.changes("1") == {
        ("column", "old.key"): {"type": "text", "nullable": False, "default": None, "comment": "Key"},
        ("column", "old.rank"): {"type": "integer", "nullable": False, "default": "0", "comment": None},
        ("constraint", "old.rank_positive"): {"definition": "CHECK ((rank >= 0))", "comment": "Not negative"},
        ("index", "old.idx_old_key"): {
            "definition": "CREATE UNIQUE INDEX idx_old_key ON public.old USING btree (key)",
            "comment": None,
        },
        ("index", "old.idx_identity_rank"): {
            "definition": "CREATE INDEX idx_identity_rank ON public.old USING btree (rank)",
            "comment": None,
        },
        ("policy", "old.all"): {
            "command": "ALL",
            "roles": "PUBLIC",
            "using": "true",
            "check": None,
            "comment": None,
        },
    }


def test_changes_that_alter_and_remove(small: Canonical) -> None:
    assert small.changes("2") == {
        ("column", "old.seen"): {"type": "date", "nullable": False, "default": None, "comment": None},
        ("index", "old.idx_gone"): None,
    }


def test_changes_that_make_a_table(small: Canonical) -> None:
    assert small.changes("3") == {
        ("table", "new"): {"comment": "New", "row_security": True, "forced": False},
        ("column", "new.id"): {"type": "uuid", "nullable": False, "default": None, "comment": None},
        ("column", "new.old_rank"): {"type": "integer", "nullable": True, "default": None, "comment": None},
        ("constraint", "new.new_old"): {
            "definition": "FOREIGN KEY (old_rank) REFERENCES old(id, key)",
            "comment": "Belongs",
        },
        ("policy", "new.mine"): {
            "command": "SELECT",
            "roles": "a, <owner>",
            "using": None,
            "check": "false",
            "comment": None,
        },
        ("grant", "new to app"): {"privileges": "INSERT, SELECT"},
    }


def test_columns_invariants_fills_backfills_and_tables_of_a_phase(small: Canonical) -> None:
    assert small.columns("old", phase="1") == [
        {"column": "key", "type": "text", "nullable": False, "default": None},
        {"column": "rank", "type": "integer", "nullable": False, "default": "0"},
    ]
    assert [row["column"] for row in small.columns("old")] == ["id", "note", "key", "rank", "seen"]
    assert small.invariants("old", phase="1") == {"key": "auth", "rank": "reports"}
    assert small.fills("2") == {("old", "seen"): "now()"}
    assert small.backfills("1") == {
        "old": {"key": "\"key\" IS NOT DISTINCT FROM (concat('k', id))", "rank": "rank >= 0"}
    }
    assert [small.touched(phase) for phase in ("1", "2", "3")] == [["old"], ["old"], []]


@pytest.mark.parametrize(
    ("phase", "snapshot", "problems"),
    [
        pytest.param("1", BEFORE, [], id="fit"),
        pytest.param("2", BEFORE, [], id="altered column is there"),
        pytest.param(
            "1", {}, ["table old is missing"], id="needed table missing"
        ),
        pytest.param(
            "1",
            BEFORE | {("column", "old.key"): {"type": "uuid", "nullable": True, "default": "x()"}},
            ["column old.key is there already: uuid DEFAULT x(); the phase makes it as text NOT NULL"],
            id="column there already",
        ),
        pytest.param(
            "1",
            BEFORE | {("constraint", "old.rank_positive"): {"definition": "CHECK (x)"}},
            ["constraint old.rank_positive is there already: CHECK (x); the phase makes it as CHECK ((rank >= 0))"],
            id="constraint there already",
        ),
        pytest.param(
            "2",
            {key: value for key, value in BEFORE.items() if key[0] != "index"},
            ["index old.idx_gone, which the phase removes, is not there"],
            id="nothing to remove",
        ),
        pytest.param(
            "3",
            BEFORE | {("table", "new"): {"kind": "table"}},
            ["table new is there already: kind table; the phase makes it as row_security"],
            id="table there already",
        ),
    ],
)  # fmt: skip
def test_conflicts(small: Canonical, phase: str, snapshot: Snapshot, problems: list[str]) -> None:
    assert small.conflicts(snapshot, phase) == problems


# -- divergences


def test_divergences_worst_first_with_the_severity_of_their_columns(small: Canonical) -> None:
    structure = [row for row in small.divergences(BEFORE) if row["kind"] in ("column", "constraint", "index")]
    assert [(row["severity"], row["table"], row["object"]) for row in structure] == [
        ("BLOCKING", "new", "id"),
        ("BLOCKING", "old", "idx_old_key"),
        ("BLOCKING", "old", "key"),
        ("HIGH", "old", "idx_identity_rank"),  # its name holds "id", its keys do not
        ("HIGH", "old", "rank"),
        ("HIGH", "old", "rank_positive"),
        ("LOW", "new", "new_old"),  # the id it names is that of the other table
        ("LOW", "new", "old_rank"),
        ("LOW", "old", "seen"),
    ]


def test_rights_and_row_security_diverge_as_blocking(small: Canonical) -> None:
    rows = [row for row in small.divergences(BEFORE) if row["kind"] in ("row security", "policy", "grant")]
    assert rows
    assert {row["severity"] for row in rows} == {"BLOCKING"}


@pytest.mark.parametrize(
    ("key", "have", "shown"),
    [
        pytest.param(("column", "old.seen"), None, ("absent", "date NOT NULL"), id="absent column"),
        pytest.param(
            ("column", "old.rank"),
            {"type": "bigint", "nullable": True, "default": None},
            ("bigint", "integer NOT NULL DEFAULT 0"),
            id="other column",
        ),
        pytest.param(
            ("constraint", "old.old_pkey"),
            {"definition": "PRIMARY KEY (key)"},
            ("PRIMARY KEY (key)", "PRIMARY KEY (id)"),
            id="other constraint",
        ),
    ],
)
def test_a_divergence_shows_have_and_want(
    small: Canonical, key: catalog.Key, have: dict[str, Any] | None, shown: tuple[str, str]
) -> None:
    snapshot = {name: value for name, value in BEFORE.items() if name != key} | ({key: have} if have else {})
    (row,) = [row for row in small.divergences(snapshot) if row["object"] == key[1].partition(".")[2]]

    assert (row["kind"], row["have"], row["want"]) == (key[0], *shown)


def test_a_comment_alone_is_no_divergence(small: Canonical) -> None:
    snapshot = {key: {**value, "comment": "other"} for key, value in BEFORE.items()}

    assert small.divergences(snapshot) == small.divergences(BEFORE)


def test_extras_are_listed_allowed_or_not(small: Canonical) -> None:
    snapshot: Snapshot = {
        key: {}
        for key in [
            ("table", "old"),
            ("table", "other"),
            ("table", "stranger"),
            ("table", "view"),
            ("column", "old.id"),
            ("column", "old.note"),
            ("column", "old.legacy"),
            ("column", "old.extra"),
            ("column", "stranger.id"),
            ("index", "old.extra"),
        ]
    }

    assert [(row["kind"], row["object"], row["allowed"]) for row in small.extras(snapshot)] == [
        ("column", "old.extra", False),
        ("column", "old.legacy", True),
        ("column", "old.note", True),
        ("table", "other", True),
        ("table", "stranger", False),
    ]


# -- the project's own declaration


@pytest.fixture(scope="module")
def canonical(project: Project) -> Canonical:
    return load_canonical(project)


def snapshot_of(database: Database) -> Snapshot:
    with database.connect() as connection:
        found = catalog.snapshot(connection)
    database.engine.dispose()  # it is a template
    return found


@pytest.fixture(scope="module")
def before(legacy: Database) -> Snapshot:
    return snapshot_of(legacy)


@pytest.fixture(scope="module")
def after(migrated: Database) -> Snapshot:
    return snapshot_of(migrated)


def declared(canonical: Canonical) -> Snapshot:
    """Every object of the declaration as the catalog must show it."""
    wanted: Snapshot = {}
    for table, each in canonical.tables.items():
        security = {"row_security": each.row_security["enabled"], "forced": each.row_security["forced"]}
        wanted["table", table] = {"kind": "table", "comment": each.comment, **security}
        objects = {"column": each.columns, "constraint": each.constraints, "policy": each.policies}
        for kind, named in (objects | {"index": each.indexes}).items():
            wanted |= {(kind, f"{table}.{name}"): thing.attributes() for name, thing in named.items()}
        for role, privileges in each.grants.items():
            wanted["grant", f"{table} to {role}"] = {"privileges": ", ".join(sorted(privileges))}
    for name, view in canonical.materialized_views.items():
        wanted["table", name] = {"kind": "materialized view", "comment": view.comment}
        for column, attributes in view.columns.items():
            wanted["column", f"{name}.{column}"] = {key: attributes[key] for key in ("type", "nullable", "comment")}
        wanted |= {("index", f"{name}.{index}"): thing.attributes() for index, thing in view.indexes.items()}
    return wanted


def test_every_declared_attribute_is_what_the_live_catalog_shows(canonical: Canonical, after: Snapshot) -> None:
    wanted = declared(canonical)
    seen = {key: {name: after[key][name] for name in each} for key, each in wanted.items() if key in after}

    assert sorted(wanted.keys() - after.keys()) == []
    assert seen == wanted


def test_the_live_catalog_has_nothing_that_is_not_declared(canonical: Canonical, after: Snapshot) -> None:
    views = tuple(f"{name} to " for name in canonical.materialized_views)
    beyond = [
        (kind, name)
        for kind, name in after.keys() - declared(canonical).keys()
        if not (kind == "grant" and (name.endswith(" to <owner>") or name.startswith(views)))
    ]

    assert sorted(beyond) == [("extension", "plpgsql"), ("schema", "public")]


def test_every_declared_object_says_what_it_is_for(canonical: Canonical) -> None:
    silent = [key for key, each in declared(canonical).items() if "comment" in each and not each["comment"]]
    untagged = [
        f"{table}.{name}"
        for table, each in canonical.tables.items()
        for name, column in each.columns.items()
        if f"INVARIANT: {column.invariant}. " not in (column.comment or "")
    ]

    assert (silent, untagged) == ([], [])


def test_what_phases_change_or_remove_was_there_as_declared(canonical: Canonical, before: Snapshot) -> None:
    changed = {
        ("column", f"{table}.{name}"): column.changed.was
        for table, each in canonical.tables.items()
        for name, column in each.columns.items()
        if column.changed
    }
    removed = {
        ("index", f"{table}.{name}"): index.attributes()
        for table, each in canonical.tables.items()
        for name, index in each.removed_indexes.items()
    }
    wanted = changed | removed

    assert {key: {name: before[key][name] for name in each} for key, each in wanted.items()} == wanted
    assert (len(changed), len(removed)) == (1, 2)


def test_all_phases_together_are_the_whole_difference(canonical: Canonical, before: Snapshot, after: Snapshot) -> None:
    wanted = {key for phase in canonical.phase_order for key in canonical.changes(phase)}
    found = {(row["kind"], row["object"]) for row in catalog.diff(before, after)}

    assert found - wanted == {("grant", "revenue_state_transitions to <owner>")}
    assert wanted - found == set()


def test_every_phase_may_start_from_before_and_none_from_after(
    canonical: Canonical, before: Snapshot, after: Snapshot
) -> None:
    assert [text for phase in canonical.phase_order for text in canonical.conflicts(before, phase, pending=phases)] == []
    assert all(canonical.conflicts(after, phase) for phase in canonical.phase_order)


def test_divergences_before_the_first_phase_and_none_after(
    canonical: Canonical, before: Snapshot, after: Snapshot
) -> None:
    rows = canonical.divergences(before)
    counts = {severity: sum(row["severity"] == severity for row in rows) for severity in SEVERITIES}

    assert counts == {"BLOCKING": 59, "HIGH": 11, "LOW": 5}
    assert canonical.divergences(after) == []
    assert [row["object"] for row in canonical.extras(after) if not row["allowed"]] == []


def test_each_phase_fills_and_backfills_what_becomes_required(canonical: Canonical) -> None:
    """A column that is added NOT NULL must say what the rows from before get."""
    without = [
        f"{table}.{name}"
        for table, each in canonical.tables.items()
        for name, column in each.columns.items()
        if column.phase and each.phase is None and not (column.backfill or column.backfill_check)
    ]

    assert without == []
    assert canonical.fills("5") == {("attribution_events", "session_id"): "id"}
