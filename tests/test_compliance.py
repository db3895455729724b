"""How far a catalog is from the canonical schema: every departure counts once, as grave as what it endangers."""

from typing import Any

import pytest

from conftest import Databases
from gatebook.baseline import Store
from gatebook.canonical import Canonical, load_canonical
from gatebook.catalog import Key, Snapshot
from gatebook.compliance import SEVERITIES, divergences, extras
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
                "key": {"type": "text", "nullable": False, "invariant": "auth", "phase": "1"},
                "rank": {"type": "integer", "nullable": False, "default": "0", "invariant": "reports", "phase": "1"},
                "seen": {
                    "type": "date",
                    "nullable": False,
                    "invariant": "none",
                    "changed": {"phase": "2", "was": {"nullable": True}, "fill": "now()"},
                },
            },
            "constraints": {
                "old_pkey": {"definition": "PRIMARY KEY (id)"},
                "rank_positive": {"definition": "CHECK ((rank >= 0))", "phase": "1"},
            },
            "indexes": {
                "idx_old_key": {"definition": "CREATE UNIQUE INDEX idx_old_key ON old (key)", "phase": "1"},
                "idx_identity_rank": {"definition": "CREATE INDEX idx_identity_rank ON old (rank)", "phase": "1"},
            },
            "policies": {"all": {"command": "ALL", "roles": ["PUBLIC"], "using": "true", "phase": "1"}},
            "grants": {"app": ["SELECT"]},
        },
        "new": {
            "phase": "3",
            "columns": {
                "id": {"type": "uuid", "nullable": False, "invariant": "auth"},
                "old_rank": {"type": "integer", "nullable": True, "invariant": "none"},
            },
            "constraints": {"new_old": {"definition": "FOREIGN KEY (old_rank) REFERENCES old(id, key)"}},
            "row_security": {"enabled": True, "forced": False},
            "policies": {"mine": {"command": "SELECT", "roles": ["a", "<owner>"], "check": "false"}},
            "grants": {"app": ["SELECT", "INSERT"]},
        },
    },
    "views": {
        "view": {
            "kind": "materialized view",
            "columns": {
                "id": {"type": "uuid", "nullable": True, "invariant": "auth"},
                "rank": {"type": "bigint", "nullable": True, "invariant": "reports"},
            },
            "indexes": {
                "idx_view": {"definition": "CREATE UNIQUE INDEX idx_view ON view (id)"},
                "idx_view_rank": {"definition": "CREATE INDEX idx_view_rank ON view (rank)"},
            },
            "revoked": {"2": ["app"]},
        },
        "scoped": {
            "kind": "view",
            "phase": "2",
            "options": "security_barrier=true",
            "columns": {"id": {"type": "uuid", "nullable": True, "invariant": "auth"}},
            "grants": {"app": ["SELECT"]},
        },
    },
    "functions": {
        "again(regclass)": {
            "phase": "3",
            "security_definer": True,
            "config": ["search_path=public"],
            "callers": ["app"],
            "body_md5": "d41d8cd9",
        }
    },
    "allowed_extra": {"old": ["note", "legacy"], "tables": ["other"]},
}

VIEW: Snapshot = {
    ("table", "view"): {"kind": "materialized view", "options": None, "comment": "any"},
    ("column", "view.id"): {"type": "uuid", "nullable": True},
    ("column", "view.rank"): {"type": "bigint", "nullable": True},
    ("index", "view.idx_view"): {"definition": "CREATE UNIQUE INDEX idx_view ON view (id)"},
    ("index", "view.idx_view_rank"): {"definition": "CREATE INDEX idx_view_rank ON view (rank)"},
    ("grant", "view to <owner>"): {"privileges": "SELECT"},
}

SCOPED: Snapshot = {
    ("table", "scoped"): {"kind": "view", "options": "security_barrier=true"},
    ("column", "scoped.id"): {"type": "uuid", "nullable": True},
    ("grant", "scoped to app"): {"privileges": "SELECT"},
}

BEFORE: Snapshot = {
    ("table", "old"): {"kind": "table"},
    ("column", "old.id"): {"type": "uuid", "nullable": False, "default": None},
    ("column", "old.note"): {"type": "text", "nullable": True, "default": None},
    ("column", "old.seen"): {"type": "date", "nullable": True, "default": None},
    ("constraint", "old.old_pkey"): {"definition": "PRIMARY KEY (id)"},
    ("index", "old.idx_gone"): {"definition": "CREATE INDEX …"},
} | VIEW


@pytest.fixture(scope="module")
def small() -> Canonical:
    return Canonical.model_validate(SMALL)


def of_views(canonical: Canonical, snapshot: Snapshot, *, until: str | None = None) -> list[tuple[str, ...]]:
    names = ("severity", "table", "kind", "object", "have", "want")
    rows = divergences(canonical, snapshot, until=until)
    return [tuple(row[name] for name in names) for row in rows if row["table"] in canonical.views]


# -- tables


def test_divergences_worst_first_with_the_severity_of_their_columns(small: Canonical) -> None:
    rows = divergences(small, BEFORE | SCOPED)
    structure = [row for row in rows if row["kind"] in ("column", "constraint", "index")]
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
    rows = [row for row in divergences(small, BEFORE) if row["kind"] in ("row security", "policy", "grant")]
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
    small: Canonical, key: Key, have: dict[str, Any] | None, shown: tuple[str, str]
) -> None:
    snapshot = {name: value for name, value in BEFORE.items() if name != key} | ({key: have} if have else {})
    (row,) = [row for row in divergences(small, snapshot) if row["object"] == key[1].partition(".")[2]]

    assert (row["kind"], row["have"], row["want"]) == (key[0], *shown)


def test_a_comment_alone_is_no_divergence(small: Canonical) -> None:
    snapshot = {key: {**value, "comment": "other"} for key, value in BEFORE.items()}

    assert divergences(small, snapshot) == divergences(small, BEFORE)


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

    assert [(row["kind"], row["object"], row["allowed"]) for row in extras(small, snapshot)] == [
        ("column", "old.extra", False),
        ("column", "old.legacy", True),
        ("column", "old.note", True),
        ("table", "other", True),
        ("table", "stranger", False),
    ]


# -- up to a phase


@pytest.mark.parametrize(
    ("until", "objects"),
    [
        pytest.param("1", {"key", "rank", "rank_positive", "idx_old_key", "idx_identity_rank", "all", "app"}, id="1"),
        pytest.param(
            "2",
            {"key", "rank", "rank_positive", "idx_old_key", "idx_identity_rank", "all", "app", "seen", "scoped", "id"},
            id="2",
        ),
    ],
)
def test_what_later_phases_make_is_not_missed(small: Canonical, until: str, objects: set[str]) -> None:
    assert {row["object"] for row in divergences(small, BEFORE, until=until)} == objects


def test_a_column_that_a_later_phase_changes_is_wanted_as_it_was(small: Canonical) -> None:
    snapshot = BEFORE | {("column", "old.seen"): {"type": "date", "nullable": False, "default": None}}
    found = {row["object"]: (row["have"], row["want"]) for row in divergences(small, snapshot, until="1")}

    assert found["seen"] == ("date NOT NULL", "date")
    assert "seen" not in {row["object"] for row in divergences(small, snapshot, until="2")}


# -- views


def test_views_as_declared_do_not_diverge(small: Canonical) -> None:
    assert of_views(small, VIEW | SCOPED) == []
    assert of_views(small, VIEW, until="1") == []


KIND, OPTIONS = "kind materialized view, options None", "kind view, options security_barrier=true"


@pytest.mark.parametrize(
    ("change", "divergence"),
    [
        pytest.param(
            {("table", "scoped"): None},
            ("BLOCKING", "scoped", "view", "scoped", "absent", OPTIONS),
            id="view missing",
        ),
        pytest.param(
            {("table", "view"): {"kind": "table", "options": None}},
            ("BLOCKING", "view", "materialized view", "view", "kind table, options None", KIND),
            id="a table in its place",
        ),
        pytest.param(
            {("table", "scoped"): {"kind": "view", "options": None}},
            ("BLOCKING", "scoped", "view", "scoped", "kind view, options None", OPTIONS),
            id="security_barrier off",
        ),
        pytest.param(
            {("table", "scoped"): {"kind": "view", "options": "security_barrier=false"}},
            ("BLOCKING", "scoped", "view", "scoped", "kind view, options security_barrier=false", OPTIONS),
            id="security_barrier set to false",
        ),
        pytest.param(
            {("column", "view.id"): {"type": "text", "nullable": True}},
            ("BLOCKING", "view", "column", "id", "text", "uuid"),
            id="type of a critical column",
        ),
        pytest.param(
            {("column", "view.rank"): {"type": "numeric", "nullable": True}},
            ("HIGH", "view", "column", "rank", "numeric", "bigint"),
            id="type of a column for reports",
        ),
        pytest.param(
            {("column", "view.rank"): None}, ("HIGH", "view", "column", "rank", "absent", "bigint"), id="column missing"
        ),
        pytest.param(
            {("index", "view.idx_view"): None},
            ("BLOCKING", "view", "index", "idx_view", "absent", "CREATE UNIQUE INDEX idx_view ON view (id)"),
            id="index missing",
        ),
        pytest.param(
            {("index", "view.idx_view_rank"): {"definition": "CREATE INDEX idx_view_rank ON view (id)"}},
            (
                *("HIGH", "view", "index", "idx_view_rank"),
                *("CREATE INDEX idx_view_rank ON view (id)", "CREATE INDEX idx_view_rank ON view (rank)"),
            ),
            id="index over another column",
        ),
        pytest.param(
            {("grant", "view to app"): {"privileges": "SELECT"}},
            ("BLOCKING", "view", "grant", "app", "privileges SELECT", "absent"),
            id="a right that was taken away",
        ),
        pytest.param(
            {("grant", "scoped to PUBLIC"): {"privileges": "SELECT"}},
            ("BLOCKING", "scoped", "grant", "PUBLIC", "privileges SELECT", "absent"),
            id="a right that nobody declared",
        ),
        pytest.param(
            {("grant", "scoped to app"): {"privileges": "INSERT, SELECT"}},
            ("BLOCKING", "scoped", "grant", "app", "privileges INSERT, SELECT", "privileges SELECT"),
            id="more rights than declared",
        ),
        pytest.param(
            {("grant", "scoped to app"): None},
            ("BLOCKING", "scoped", "grant", "app", "absent", "privileges SELECT"),
            id="a right that is missing",
        ),
    ],
)
def test_a_view_that_departs_diverges_once(
    small: Canonical, change: dict[Key, dict[str, Any] | None], divergence: tuple[str, ...]
) -> None:
    snapshot = {key: each for key, each in (VIEW | SCOPED | change).items() if each is not None}

    assert of_views(small, snapshot) == [divergence]


def test_rights_in_a_view_are_judged_once_they_have_been_taken_away(small: Canonical) -> None:
    snapshot = VIEW | {("grant", "view to app"): {"privileges": "SELECT"}}

    assert of_views(small, snapshot, until="1") == []
    assert [row[3] for row in of_views(small, snapshot | SCOPED, until="2")] == ["app"]


# -- functions

FUNCTION: Snapshot = {
    ("function", "again(regclass)"): {
        "security_definer": True,
        "config": "search_path=public",
        "callers": "app",
        "body_md5": "d41d8cd9",
        "comment": "any",
    }
}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        pytest.param("security_definer", False, id="the caller's rights"),
        pytest.param("config", None, id="the caller's settings"),
        pytest.param("callers", "PUBLIC, app", id="one caller more"),
        pytest.param("callers", None, id="no caller"),
        pytest.param("body_md5", "0cc175b9", id="another text"),
    ],
)
def test_a_function_that_departs_is_blocking(small: Canonical, attribute: str, value: object) -> None:
    (key,) = FUNCTION
    live = {key: FUNCTION[key] | {attribute: value}}
    rows = [row for row in divergences(small, live) if row["kind"] == "function"]

    assert [(row["severity"], row["object"]) for row in rows] == [("BLOCKING", "again(regclass)")]
    assert f"{attribute} {value}" in rows[0]["have"]
    assert f"{attribute} {FUNCTION[key][attribute]}" in rows[0]["want"]


def test_a_function_is_missed_once_its_phase_is_due(small: Canonical) -> None:
    assert [row["have"] for row in divergences(small, {}) if row["kind"] == "function"] == ["absent"]
    assert [row for row in divergences(small, {}, until="2") if row["kind"] == "function"] == []
    assert [row for row in divergences(small, FUNCTION) if row["kind"] == "function"] == []


# -- the project's own


@pytest.fixture(scope="module")
def canonical(project: Project) -> Canonical:
    return load_canonical(project)


def counts(canonical: Canonical, snapshot: Snapshot, *, until: str | None = None) -> dict[str, int]:
    found = [row["severity"] for row in divergences(canonical, snapshot, until=until)]
    return {severity: found.count(severity) for severity in SEVERITIES}


def test_divergences_before_the_first_phase_and_none_after(
    canonical: Canonical, legacy_catalog: Snapshot, migrated_catalog: Snapshot
) -> None:
    assert counts(canonical, legacy_catalog, until="8b") == {"BLOCKING": 59, "HIGH": 11, "LOW": 5}
    assert counts(canonical, legacy_catalog)["BLOCKING"] > 59
    assert divergences(canonical, migrated_catalog) == []
    assert [row["object"] for row in extras(canonical, migrated_catalog) if not row["allowed"]] == []


def test_each_phase_leaves_what_is_declared_up_to_it(
    canonical: Canonical, databases: Databases, migrated: Database, legacy_catalog: Snapshot
) -> None:
    store = Store(databases.project, migrated.server)
    left = {phase: state.catalog for phase in canonical.phase_order if (state := store.state(phase, "after"))}
    before = dict(zip(left, [legacy_catalog, *left.values()], strict=False))
    migrated.engine.dispose()  # it is a template

    assert list(left) == canonical.phase_order
    assert {phase: divergences(canonical, snapshot, until=phase) for phase, snapshot in left.items()} == {
        phase: [] for phase in left
    }
    assert all(divergences(canonical, snapshot, until=phase) for phase, snapshot in before.items())
