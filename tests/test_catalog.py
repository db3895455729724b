"""Catalog queries on awkward names, and the snapshot that must notice every change and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import Databases
from gatebook import catalog
from gatebook.database import Database
from gatebook.gate import _shown

ODD = '"Odd ""Table"" 100% größe"'
ELSEWHERE = '"other schema"."Ünder_score%s"'

ODD_SCHEMA = f"""
CREATE SCHEMA "other schema";
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE {ODD} (
  "Id" int CONSTRAINT "pk ""odd"" key" PRIMARY KEY,
  "with space" varchar(10) DEFAULT 'it''s 5%%' COLLATE "C",
  "größe" numeric(6,2) NOT NULL CONSTRAINT "ck größe >0" CHECK ("größe" > 0),
  "per%cent" timestamptz DEFAULT now(),
  "quote""d" int CONSTRAINT "fk'd" REFERENCES parent (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
  gone int,
  UNIQUE ("with space", "per%cent")
);
ALTER TABLE {ODD} DROP COLUMN gone;
ALTER TABLE {ODD} ADD CONSTRAINT later CHECK ("Id" < 1000) NOT VALID;
COMMENT ON COLUMN {ODD}."größe" IS 'wie groß? 100% "groß"';
COMMENT ON CONSTRAINT "fk'd" ON {ODD} IS 'it''s deferred';
CREATE INDEX "Keys" ON {ODD} ("größe" DESC NULLS LAST, "Id" DESC, "with space" NULLS FIRST, "per%cent");
CREATE INDEX expression ON {ODD} (lower("with space"::text), ("Id" + 1) DESC);
CREATE UNIQUE INDEX payload ON {ODD} ("Id") INCLUDE ("größe", "per%cent");
CREATE INDEX partial ON {ODD} ("per%cent") WHERE "with space" LIKE '5%' AND "Id" > 0;
CREATE INDEX hashed ON {ODD} USING hash ("Id");
COMMENT ON INDEX partial IS 'for ''5%'' only';
CREATE TABLE {ELSEWHERE} (a int, b text GENERATED ALWAYS AS ('x') STORED);
ALTER TABLE {ELSEWHERE} ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE {ELSEWHERE} IS 'elsewhere';
CREATE INDEX broken ON {ELSEWHERE} (a);
"""

BASE_SCHEMA = """
CREATE TABLE one (id int PRIMARY KEY, name text, amount numeric(6,2) DEFAULT 0);
CREATE TABLE two (id int, one_id int);
CREATE INDEX idx ON one (name);
ALTER TABLE one ADD CONSTRAINT positive CHECK (amount >= 0);
ALTER TABLE one ENABLE ROW LEVEL SECURITY;
CREATE POLICY pol ON one FOR SELECT TO app_ro, app_rw USING (id > 0);
CREATE SEQUENCE seq;
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a + 1';
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER trig BEFORE INSERT ON one FOR EACH ROW EXECUTE FUNCTION tf();
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN cents AS int CHECK (VALUE >= 0);
CREATE TYPE pair AS (a int, b text);
CREATE VIEW v AS SELECT id FROM one;
CREATE MATERIALIZED VIEW m AS SELECT id FROM one;
CREATE RULE r AS ON UPDATE TO v DO INSTEAD NOTHING;
CREATE STATISTICS stats (dependencies) ON id, name FROM one;
CREATE SCHEMA apart;
GRANT SELECT ON one TO app_ro;
GRANT UPDATE (one_id) ON two TO app_rw;
"""


def run(database: Database, script: str) -> None:
    with database.connect() as connection:
        catalog.execute(connection, script)
        connection.commit()


@pytest.fixture(scope="module")
def odd(databases: Databases) -> Iterator[Database]:
    database = databases.empty()
    run(database, ODD_SCHEMA)
    with databases.maintenance(database.name.removeprefix("embedded/")) as superuser:
        superuser.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"other schema\".broken'::regclass"
        )
    yield database
    databases.drop(database)


@pytest.fixture(scope="module")
def base(databases: Databases) -> Iterator[Database]:
    database = databases.empty()
    run(database, BASE_SCHEMA)
    yield database
    databases.drop(database)


def rows(database: Database, query: catalog.Query) -> catalog.Rows:
    with database.connect(postgresql_readonly=True) as connection:
        return query.run(connection)


# -- the queries that gates use


def test_columns_in_their_order_without_the_dropped_one(odd: Database) -> None:
    keys = ("column", "type", "nullable", "default", "comment")
    assert [tuple(row[key] for key in keys) for row in rows(odd, catalog.columns(ODD))] == [
        ("Id", "integer", False, None, None),
        ("with space", "character varying(10)", True, "'it''s 5%%'::character varying", None),
        ("größe", "numeric(6,2)", False, None, 'wie groß? 100% "groß"'),
        ("per%cent", "timestamp with time zone", True, "now()", None),
        ('quote"d', "integer", True, None, None),
    ]


def test_indexes_show_keys_with_direction_payload_and_predicate(odd: Database) -> None:
    found = {row["index"]: row for row in rows(odd, catalog.indexes(ODD))}

    assert list(found) == sorted(found)
    assert {name: row["columns"] for name, row in found.items()} == {
        'Odd "Table" 100% größe_with space_per%cent_key': ['"with space"', '"per%cent"'],
        "Keys": ['"größe" DESC NULLS LAST', '"Id" DESC', '"with space" NULLS FIRST', '"per%cent"'],
        "expression": ['lower("with space"::text)', '("Id" + 1) DESC'],
        "hashed": ['"Id"'],
        "partial": ['"per%cent"'],
        "payload": ['"Id"'],
        'pk "odd" key': ['"Id"'],
    }
    assert found["payload"]["included"] == ['"größe"', '"per%cent"']
    assert found["partial"]["predicate"] == '((("with space")::text ~~ \'5%\'::text) AND ("Id" > 0))'
    assert found["partial"]["comment"] == "for '5%' only"
    assert found["hashed"]["method"] == "hash"
    assert [name for name, row in found.items() if row["is_unique"]] == [
        'Odd "Table" 100% größe_with space_per%cent_key',
        "payload",
        'pk "odd" key',
    ]
    assert all(row["is_valid"] for row in found.values())
    assert found["Keys"]["definition"].startswith(f'CREATE INDEX "Keys" ON public.{ODD} USING btree ("größe" DESC')


def test_an_invalid_index_shows_as_such(odd: Database) -> None:
    (broken,) = rows(odd, catalog.indexes(ELSEWHERE))

    assert (broken["index"], broken["is_valid"]) == ("broken", False)


def test_constraints_with_rule_validity_and_definition(odd: Database) -> None:
    found = {row["constraint"]: row for row in rows(odd, catalog.constraints(ODD))}
    key = found["fk'd"]

    assert {name: row["type"] for name, row in found.items()} == {
        'Odd "Table" 100% größe_with space_per%cent_key': "unique",
        "ck größe >0": "check",
        "fk'd": "foreign key",
        "later": "check",
        'pk "odd" key': "primary key",
    }
    assert (key["references"], key["on_delete"], key["comment"]) == ("parent", "SET NULL", "it's deferred")
    assert key["definition"] == (
        'FOREIGN KEY ("quote""d") REFERENCES parent(id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED'
    )
    assert [name for name, row in found.items() if not row["is_validated"]] == ["later"]
    assert found["later"]["references"] is None


def test_tables_of_all_schemas(odd: Database) -> None:
    assert rows(odd, catalog.tables()) == (
        {"table": ODD, "row_security": False, "forced": False, "comment": None},
        {"table": ELSEWHERE, "row_security": True, "forced": False, "comment": "elsewhere"},
        {"table": "parent", "row_security": False, "forced": False, "comment": None},
    )


@pytest.mark.parametrize("name", ["nowhere", '"Nowhere at all"', "no_schema.parent", "Parent'", "Ünder_score%s"])
@pytest.mark.parametrize("query", [catalog.columns, catalog.indexes, catalog.constraints])
def test_a_table_that_is_not_there_gives_no_rows(odd: Database, query: Any, name: str) -> None:
    assert rows(odd, query(name)) == ()


def test_names_in_a_query_are_data_not_sql(odd: Database) -> None:
    assert rows(odd, catalog.columns("parent'; DROP TABLE parent; --")) == ()
    assert rows(odd, catalog.columns("parent")) != ()


def test_the_sql_beside_a_verdict_can_be_pasted(odd: Database) -> None:
    shown = _shown(catalog.columns(f"{ODD}"))

    assert "to_regclass('o''clock')" in _shown(catalog.columns("o'clock"))
    assert rows(odd, catalog.Query(shown)) == rows(odd, catalog.columns(ODD))


# -- the snapshot


def change(kind: str, name: str, attribute: str, before: Any, after: Any) -> tuple[Any, ...]:
    return ("changed", kind, name, attribute, before, after)


# id: statements, and what differs afterwards: (change, kind, object, attribute, before, after)
ALTERATIONS: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "table comment": ("COMMENT ON TABLE two IS 'x'", [change("table", "two", "comment", None, "x")]),
    "table security": (
        "ALTER TABLE two ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        [change("table", "two", "forced", False, True), change("table", "two", "row_security", False, True)],
    ),
    "table options": (
        "ALTER TABLE two SET (fillfactor = 70)",
        [change("table", "two", "options", None, "fillfactor=70")],
    ),
    "table unlogged": ("ALTER TABLE two SET UNLOGGED", [change("table", "two", "persistence", "p", "u")]),
    "view": (
        "CREATE OR REPLACE VIEW v AS SELECT id FROM one WHERE id > 1",
        [change("table", "v", "definition", " SELECT id\n   FROM one;", " SELECT id\n   FROM one\n  WHERE (id > 1);")],
    ),
    "column type": (
        "ALTER TABLE two ALTER one_id TYPE bigint",
        [change("column", "two.one_id", "type", "integer", "bigint")],
    ),
    "column scale": (
        "ALTER TABLE one ALTER amount TYPE numeric(8,2)",
        [change("column", "one.amount", "type", "numeric(6,2)", "numeric(8,2)")],
    ),
    "column null": ("ALTER TABLE two ALTER id SET NOT NULL", [change("column", "two.id", "nullable", True, False)]),
    "column default": (
        "ALTER TABLE one ALTER amount DROP DEFAULT",
        [change("column", "one.amount", "default", "0", None)],
    ),
    "column comment": ("COMMENT ON COLUMN one.name IS 'ü'", [change("column", "one.name", "comment", None, "ü")]),
    "column collation": (
        'ALTER TABLE one ALTER name TYPE text COLLATE "C"',
        [
            change("column", "one.name", "collation", '"default"', '"C"'),
        ],
    ),
    "constraint": (
        "ALTER TABLE one DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (amount > 0)",
        [change("constraint", "one.positive", "definition", "CHECK ((amount >= (0)::numeric))", ...)],
    ),
    "constraint not valid": (
        "ALTER TABLE one DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (amount >= 0) NOT VALID",
        [
            change("constraint", "one.positive", "definition", ..., ...),
            change("constraint", "one.positive", "validated", True, False),
        ],
    ),
    "constraint comment": (
        "COMMENT ON CONSTRAINT positive ON one IS 'x'",
        [change("constraint", "one.positive", "comment", None, "x")],
    ),
    "index": (
        "DROP INDEX idx; CREATE INDEX idx ON one (name DESC)",
        [change("index", "one.idx", "definition", ..., "CREATE INDEX idx ON public.one USING btree (name DESC)")],
    ),
    "index comment": ("COMMENT ON INDEX idx IS 'x'", [change("index", "one.idx", "comment", None, "x")]),
    "policy": (
        "ALTER POLICY pol ON one USING (id > 1)",
        [change("policy", "one.pol", "using", "(id > 0)", "(id > 1)")],
    ),
    "policy roles": (
        "ALTER POLICY pol ON one TO PUBLIC",
        [change("policy", "one.pol", "roles", "app_ro, app_rw", "PUBLIC")],
    ),
    "policy comment": ("COMMENT ON POLICY pol ON one IS 'x'", [change("policy", "one.pol", "comment", None, "x")]),
    "trigger off": ("ALTER TABLE one DISABLE TRIGGER trig", [change("trigger", "one.trig", "enabled", "O", "D")]),
    "trigger": (
        "DROP TRIGGER trig ON one; CREATE TRIGGER trig AFTER INSERT ON one FOR EACH ROW EXECUTE FUNCTION tf()",
        [change("trigger", "one.trig", "definition", ..., ...)],
    ),
    "grant": (
        "GRANT INSERT ON one TO app_ro",
        [change("grant", "one to app_ro", "privileges", "SELECT", "INSERT, SELECT")],
    ),
    "grant option": (
        "GRANT SELECT ON one TO app_ro WITH GRANT OPTION",
        [change("grant", "one to app_ro", "privileges", "SELECT", "SELECT WITH GRANT OPTION")],
    ),
    "grant to all": ("GRANT SELECT ON two TO PUBLIC", [("added", "grant", "two to PUBLIC", "", None, ...)]),
    "grant on a sequence": (
        "GRANT USAGE ON SEQUENCE seq TO app_rw",
        [("added", "grant", "seq to app_rw", "", None, ...)],
    ),
    "column grant": (
        "GRANT SELECT (name) ON one TO app_rw",
        [("added", "column grant", "one.name to app_rw", "", None, "privileges SELECT")],
    ),
    "sequence": ("ALTER SEQUENCE seq INCREMENT 2", [change("sequence", "seq", "increment", 1, 2)]),
    "function body": (
        "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a + 2'",
        [
            change("function", "f(integer)", "body_md5", ..., ...),
            change("function", "f(integer)", "definition", ..., ...),
        ],
    ),
    "function security": (
        "ALTER FUNCTION f(int) SECURITY DEFINER",
        [
            change("function", "f(integer)", "definition", ..., ...),
            change("function", "f(integer)", "security_definer", False, True),
        ],
    ),
    "function setting": (
        "ALTER FUNCTION f(int) SET search_path = public",
        [
            change("function", "f(integer)", "config", None, "search_path=public"),
            change("function", "f(integer)", "definition", ..., ...),
        ],
    ),
    "function grant": (
        "REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC",
        [change("function", "f(integer)", "callers", "PUBLIC", None)],
    ),
    "function grants, sorted": (
        "GRANT EXECUTE ON FUNCTION f(int) TO app_rw; GRANT EXECUTE ON FUNCTION f(int) TO app_ro WITH GRANT OPTION",
        [change("function", "f(integer)", "callers", "PUBLIC", "PUBLIC, app_ro WITH GRANT OPTION, app_rw")],
    ),
    "enum": (
        "ALTER TYPE mood ADD VALUE 'so' BEFORE 'bad'",
        [change("type", "mood", "labels", "good, bad", "good, so, bad")],
    ),
    "domain": (
        "ALTER DOMAIN cents ADD CHECK (VALUE < 10)",
        [change("type", "cents", "constraints", "CHECK ((VALUE >= 0))", "CHECK ((VALUE >= 0)), CHECK ((VALUE < 10))")],
    ),
    "composite": (
        "ALTER TYPE pair ADD ATTRIBUTE c date",
        [change("type", "pair", "attributes", "a integer, b text", "a integer, b text, c date")],
    ),
    "type comment": ("COMMENT ON TYPE mood IS 'x'", [change("type", "mood", "comment", None, "x")]),
    "rule": (
        "CREATE OR REPLACE RULE r AS ON UPDATE TO v WHERE old.id = 1 DO INSTEAD NOTHING",
        [change("rule", "v.r", "definition", ..., ...)],
    ),
    "statistics": (
        "DROP STATISTICS stats; CREATE STATISTICS stats (mcv) ON id, name FROM one",
        [change("statistics", "stats", "definition", ..., "CREATE STATISTICS public.stats (mcv) ON id, name FROM one")],
    ),
    "schema grant": (
        "GRANT USAGE ON SCHEMA apart TO app_ro",
        [change("schema", "apart", "grants", None, "gatebook_owner=UC/gatebook_owner, app_ro=U/gatebook_owner")],
    ),
}

# kind: statement, then the first object that is there afterwards and was not before
ADDITIONS: dict[str, tuple[str, tuple[str, str]]] = {
    "table": ("CREATE TABLE three (a int)", ("table", "three")),
    "materialized view": ("CREATE MATERIALIZED VIEW n AS SELECT 1 AS a", ("table", "n")),
    "partitioned table": ("CREATE TABLE parts (a int) PARTITION BY LIST (a)", ("table", "parts")),
    "column": ('ALTER TABLE one ADD "New" date', ("column", 'one."New"')),
    "constraint": ("ALTER TABLE two ADD CONSTRAINT fk FOREIGN KEY (one_id) REFERENCES one", ("constraint", "two.fk")),
    "index": ("CREATE INDEX ON two (id)", ("index", "two.two_id_idx")),
    "policy": ("CREATE POLICY extra ON two AS RESTRICTIVE USING (true)", ("policy", "two.extra")),
    "trigger": (
        "CREATE TRIGGER extra AFTER DELETE ON two FOR EACH ROW EXECUTE FUNCTION tf()",
        ("trigger", "two.extra"),
    ),
    "grant": ("GRANT SELECT ON v TO app_ro", ("grant", "v to app_ro")),
    "column grant": ("GRANT SELECT (id) ON two TO app_ro", ("column grant", "two.id to app_ro")),
    "sequence": ('CREATE SEQUENCE "Seq two"', ("sequence", '"Seq two"')),
    "function": ("CREATE FUNCTION f(a text) RETURNS text LANGUAGE sql AS 'SELECT a'", ("function", "f(text)")),
    "procedure": ("CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'", ("function", "p()")),
    "aggregate": ("CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int)", ("function", "total(integer)")),
    "enum": ("CREATE TYPE level AS ENUM ('a')", ("type", "level")),
    "range": ("CREATE TYPE span AS RANGE (SUBTYPE = date)", ("type", "span")),
    "composite": ("CREATE TYPE trio AS (a int, b int, c int)", ("type", "trio")),
    "rule": ("CREATE RULE q AS ON DELETE TO v DO INSTEAD NOTHING", ("rule", "v.q")),
    "statistics": ("CREATE STATISTICS more ON id, one_id FROM two", ("statistics", "more")),
    "schema": ("CREATE SCHEMA third", ("schema", "third")),
    "default privileges": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO app_ro",
        ("default privileges", "gatebook_owner in public on r"),
    ),
}


def difference(connection: sa.Connection, statements: str) -> catalog.Rows:
    """What the statements change, which are not kept."""
    before = catalog.snapshot(connection)
    catalog.execute(connection, statements)
    after = catalog.snapshot(connection)
    connection.rollback()
    assert (catalog.fingerprint(before) == catalog.fingerprint(after)) == (before == after)
    return catalog.diff(before, after)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_is_noticed_and_nothing_else(base: Database, name: str) -> None:
    statements, wanted = ALTERATIONS[name]
    with base.connect() as connection:
        found = [tuple(row.values()) for row in difference(connection, statements)]

    assert len(found) == len(wanted)
    for have, want in zip(found, wanted, strict=True):
        assert [value for value, known in zip(have, want, strict=True) if known is not ...] == [
            value for value in want if value is not ...
        ]


@pytest.mark.parametrize("name", ADDITIONS)
def test_an_added_object_is_noticed(base: Database, name: str) -> None:
    statements, key = ADDITIONS[name]
    with base.connect() as connection:
        found = difference(connection, statements)

    assert key in [(row["kind"], row["object"]) for row in found if row["change"] == "added"]
    assert {row["change"] for row in found} == {"added"}


@pytest.mark.parametrize(
    ("statements", "kinds"),
    [
        pytest.param("DROP INDEX idx", {"index"}, id="index"),
        pytest.param("DROP VIEW v", {"table", "column", "grant", "rule"}, id="view"),
        pytest.param("REVOKE SELECT ON one FROM app_ro", {"grant"}, id="grant"),
        pytest.param("DROP SCHEMA apart", {"schema"}, id="schema"),
    ],
)
def test_a_removed_object_is_noticed(base: Database, statements: str, kinds: set[str]) -> None:
    with base.connect() as connection:
        found = difference(connection, statements)

    assert {(row["change"], row["kind"]) for row in found} == {("removed", kind) for kind in kinds}


def test_an_extension_is_noticed_and_its_objects_are_not_ours(databases: Databases, base: Database) -> None:
    with databases.maintenance(base.name.removeprefix("embedded/")) as superuser:
        with base.connect() as connection:
            before = catalog.snapshot(connection)
        superuser.execute("CREATE EXTENSION vector")
        with base.connect() as connection:
            after = catalog.snapshot(connection)
        superuser.execute("DROP EXTENSION vector")
    (row,) = catalog.diff(before, after)

    assert (row["change"], row["kind"], row["object"]) == ("added", "extension", "vector")


def test_every_kind_of_the_snapshot_has_a_case() -> None:
    added = {key[0] for _, key in ADDITIONS.values()}
    altered = {row[1] for _, rows in ALTERATIONS.values() for row in rows}

    assert added | {"extension"} == set(catalog.SNAPSHOT_QUERIES)
    assert set(catalog.SNAPSHOT_QUERIES) - altered == {"extension", "default privileges"}


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param("SELECT 1", id="nothing"),
        pytest.param("INSERT INTO one VALUES (1, 'a'); ANALYZE one", id="rows and statistics"),
        pytest.param("SELECT nextval('seq')", id="a sequence moves on"),
        pytest.param("DROP INDEX idx; CREATE INDEX idx ON one (name)", id="made again"),
        pytest.param("CREATE TEMPORARY TABLE t (a int)", id="temporary table"),
        pytest.param("REFRESH MATERIALIZED VIEW m", id="refresh"),
        pytest.param(
            "DROP POLICY pol ON one; CREATE POLICY pol ON one FOR SELECT TO app_rw, app_ro USING (id > 0)",
            id="roles in another order",
        ),
        pytest.param("GRANT SELECT ON one TO app_ro", id="granted already"),
        pytest.param("CREATE TABLE alembic_version (version_num text)", id="Alembic's own table"),
    ],
)
def test_what_is_no_change_of_the_schema_is_none(base: Database, statements: str) -> None:
    with base.connect() as connection:
        assert difference(connection, statements) == ()


def test_the_same_schema_has_the_same_fingerprint_anywhere(databases: Databases, base: Database) -> None:
    other = databases.empty()
    run(other, "CREATE TABLE dropped (a int); DROP TABLE dropped;" + BASE_SCHEMA)
    with base.connect() as one, other.connect() as two:
        first, second = catalog.snapshot(one), catalog.snapshot(two)
    databases.drop(other)

    assert catalog.diff(first, second) == ()
    assert catalog.fingerprint(first) == catalog.fingerprint(second)
    assert catalog.fingerprint(dict(reversed(first.items()))) == catalog.fingerprint(first)


def test_a_difference_is_said_in_words() -> None:
    before = {("column", "t.a"): {"type": "text", "comment": None}, ("index", "t.i"): {"definition": "CREATE INDEX"}}
    after = {("column", "t.a"): {"type": "uuid", "comment": None}, ("table", "u"): {"kind": "table", "forced": True}}

    assert catalog.summarise(catalog.diff(before, after)) == (
        {"change": "changed", "kind": "column", "object": "t.a", "what": "type: text → uuid"},
        {"change": "removed", "kind": "index", "object": "t.i", "what": "definition CREATE INDEX"},
        {"change": "added", "kind": "table", "object": "u", "what": "kind table; forced"},
    )
