"""The canonical schema: what follows from its declaration, and that it says what the live catalog shows."""

from typing import Any

import pytest

from gatebook import catalog
from gatebook.canonical import Canonical, load_canonical
from gatebook.catalog import Snapshot
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
        "log": {
            "phase": "3",
            "is_log": True,
            "columns": {
                "id": {"type": "bigint", "nullable": False, "identity": "always"},
                "nth": {"type": "bigint", "nullable": False, "identity": "by default"},
            },
        },
    },
    "views": {
        "view": {
            "kind": "materialized view",
            "comment": "Summed up",
            "remade": "3",
            "columns": {"id": {"type": "uuid", "nullable": True, "invariant": "auth"}},
            "indexes": {"idx_view": {"definition": "CREATE UNIQUE INDEX idx_view ON public.view USING btree (id)"}},
            "revoked": {"3": ["app", "PUBLIC"]},
        },
        "scoped": {
            "kind": "view",
            "phase": "3",
            "options": "security_barrier=true",
            "columns": {"id": {"type": "uuid", "nullable": True, "invariant": "auth", "comment": "Whose"}},
            "grants": {"app": ["SELECT"]},
        },
    },
    "functions": {
        "again(regclass)": {
            "phase": "3",
            "comment": "Again",
            "security_definer": True,
            "config": ["search_path=public", "TimeZone=UTC"],
            "callers": ["app"],
            "body_md5": "d41d8cd9",
        },
        "once()": {"security_definer": False, "body_md5": "0cc175b9"},
    },
    "sequences": {"log_id_seq": {"phase": "3"}},
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
    made = {key: each for key, each in small.changes("3").items() if key[1].partition(".")[0].startswith("new")}

    assert made == {
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


def test_changes_that_make_a_view_of_either_kind(small: Canonical) -> None:
    """A view that is made anew changes by itself alone; rights that are taken away must be gone."""
    changes = small.changes("3")
    view = {key: each for key, each in changes.items() if key[1].startswith("view")}
    scoped = {key: each for key, each in changes.items() if key[1].startswith("scoped")}

    assert view == {
        ("table", "view"): {"kind": "materialized view", "comment": "Summed up", "options": None, "populated": True},
        ("grant", "view to app"): None,
        ("grant", "view to PUBLIC"): None,
    }
    assert scoped == {
        ("table", "scoped"): {"kind": "view", "comment": None, "options": "security_barrier=true", "populated": None},
        ("column", "scoped.id"): {"type": "uuid", "nullable": True, "default": None, "comment": "Whose"},
        ("grant", "scoped to app"): {"privileges": "SELECT"},
    }


def test_changes_that_make_functions_sequences_and_identities(small: Canonical) -> None:
    changes = small.changes("3")
    identities = {name: changes["column", f"log.{name}"] for name in ("id", "nth")}

    assert {name: each and each["identity"] for name, each in identities.items()} == {"id": "a", "nth": "d"}
    assert {key: each for key, each in changes.items() if key[0] in ("function", "sequence")} == {
        ("function", "again(regclass)"): {
            "comment": "Again",
            "security_definer": True,
            "config": "search_path=public, TimeZone=UTC",
            "callers": "app",
            "body_md5": "d41d8cd9",
        },
        ("sequence", "log_id_seq"): {"comment": None},
    }


@pytest.mark.parametrize(
    ("phase", "until", "is_expected"),
    [
        pytest.param(None, "1", True, id="was always there"),
        pytest.param("2", None, True, id="at the end everything"),
        pytest.param("2", "2", True, id="made by that very phase"),
        pytest.param("2", "3", True, id="made before it"),
        pytest.param("2", "1", False, id="made after it"),
    ],
)
def test_what_is_expected_after_a_phase(
    small: Canonical, phase: str | None, until: str | None, is_expected: bool
) -> None:
    assert small.expected(phase, until=until) is is_expected


def test_logs_are_the_tables_that_grow_in_use(small: Canonical) -> None:
    assert small.logs == {"log"}


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
        pytest.param(
            "3",
            BEFORE | {("table", "scoped"): {"kind": "view", "options": None}},
            ["table scoped is there already: kind view; "
             "the phase makes it as kind view, options security_barrier=true"],
            id="view there already",
        ),
        pytest.param(
            "3",
            BEFORE | {("function", "again(regclass)"): {"comment": None, "language": "sql"}},
            ["function again(regclass) is there already: language sql; the phase makes it as security_definer, "
             "config search_path=public, TimeZone=UTC, callers app, body_md5 d41d8cd9"],
            id="function there already",
        ),
        pytest.param("3", BEFORE | {("table", "view"): {"kind": "view"}}, [], id="view that is made anew"),
    ],
)  # fmt: skip
def test_conflicts(small: Canonical, phase: str, snapshot: Snapshot, problems: list[str]) -> None:
    assert small.conflicts(snapshot, phase) == problems


# -- the project's own declaration


@pytest.fixture(scope="module")
def canonical(project: Project) -> Canonical:
    return load_canonical(project)


def declared(canonical: Canonical) -> Snapshot:
    """Every object of the declaration as the catalog must show it."""
    wanted: Snapshot = {}
    for table, each in canonical.tables.items():
        enabled, forced = (each.row_security.get(name, False) for name in ("enabled", "forced"))
        security = {"row_security": enabled, "forced": forced}
        wanted["table", table] = {"kind": "table", "comment": each.comment, **security}
        objects = {"column": each.columns, "constraint": each.constraints, "policy": each.policies}
        for kind, named in (objects | {"index": each.indexes}).items():
            wanted |= {(kind, f"{table}.{name}"): thing.attributes() for name, thing in named.items()}
        for role, privileges in each.grants.items():
            wanted["grant", f"{table} to {role}"] = {"privileges": ", ".join(sorted(privileges))}
    for name, view in canonical.views.items():
        wanted["table", name] = view.attributes()
        for column, attributes in view.columns.items():
            wanted["column", f"{name}.{column}"] = attributes.attributes()
        wanted |= {("index", f"{name}.{index}"): thing.attributes() for index, thing in view.indexes.items()}
        for role, privileges in view.grants.items():
            wanted["grant", f"{name} to {role}"] = {"privileges": ", ".join(sorted(privileges))}
    for kind, routines in (("function", canonical.functions), ("sequence", canonical.sequences)):
        wanted |= {(kind, name): each.attributes() for name, each in routines.items()}
    return wanted


def test_every_declared_attribute_is_what_the_live_catalog_shows(
    canonical: Canonical, migrated_catalog: Snapshot
) -> None:
    wanted = declared(canonical)
    seen = {
        key: {name: migrated_catalog[key][name] for name in each}
        for key, each in wanted.items()
        if key in migrated_catalog
    }

    assert sorted(wanted.keys() - migrated_catalog.keys()) == []
    assert seen == wanted


def test_the_live_catalog_has_nothing_that_is_not_declared(canonical: Canonical, migrated_catalog: Snapshot) -> None:
    beyond = [
        (kind, name)
        for kind, name in migrated_catalog.keys() - declared(canonical).keys()
        if not (kind == "grant" and name.endswith(" to <owner>"))
    ]

    assert sorted(beyond) == [("extension", "plpgsql"), ("schema", "public")]


def test_every_declared_object_says_what_it_is_for(canonical: Canonical) -> None:
    silent = [key for key, each in declared(canonical).items() if "comment" in each and not each["comment"]]
    untagged = [
        f"{table}.{name}"
        for table, each in [*canonical.tables.items(), *canonical.views.items()]
        for name, column in each.columns.items()
        if f"INVARIANT: {column.invariant}. " not in (column.comment or "")
    ]

    assert (silent, untagged) == ([], [])


def test_what_phases_change_or_remove_was_there_as_declared(canonical: Canonical, legacy_catalog: Snapshot) -> None:
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

    assert {key: {name: legacy_catalog[key][name] for name in each} for key, each in wanted.items()} == wanted
    assert (len(changed), len(removed)) == (1, 2)


def test_all_phases_together_are_the_whole_difference(
    canonical: Canonical, legacy_catalog: Snapshot, migrated_catalog: Snapshot
) -> None:
    wanted = {key for phase in canonical.phase_order for key in canonical.changes(phase)}
    found = {(row["kind"], row["object"]) for row in catalog.diff(legacy_catalog, migrated_catalog)}
    made = {name for kind, name in wanted if kind in ("table", "sequence") and (kind, name) not in legacy_catalog}

    assert found - wanted == {("grant", f"{name} to <owner>") for name in made}
    assert wanted - found == set()


def test_every_phase_may_start_from_before_and_none_from_after(
    canonical: Canonical, legacy_catalog: Snapshot, migrated_catalog: Snapshot
) -> None:
    phases = canonical.phase_order
    found = [canonical.conflicts(legacy_catalog, phase, pending=phases[:place]) for place, phase in enumerate(phases)]
    alone = {phase: canonical.conflicts(legacy_catalog, phase) for phase in phases}

    assert found == [[]] * len(phases)
    missing = ["table revenue_state_transitions is missing"]
    assert {phase: said for phase, said in alone.items() if said} == {"MV-2": missing, "MV-3": missing, "H": missing}
    assert all(canonical.conflicts(migrated_catalog, phase) for phase in phases)


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
