"""A rehearsed migration: silent losses planted in a small chain are told, harmless changes are not."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from command import Command
from conftest import ROOT, Databases
from gatebook import rehearsal, rehearsal_stage
from gatebook.errors import ConfigurationError, MigrationFailed
from gatebook.project import PROJECT_VARIABLE, Project
from gatebook.rehearsal import Rehearsal, rehearse, rehearse_chain
from gatebook.rehearsal_losses import Loss, What, unpredicted
from gatebook.safety.effects import Effect, Kind

Seen = tuple[str, str, str, int]  # what, kind, target, rows

FIVE_ROWS = "INSERT INTO {0} SELECT i, 'value ' || i FROM generate_series(1, 5) i"


def plain(name: str) -> str:
    return f"CREATE TABLE {name} (id int PRIMARY KEY, v text); {FIVE_ROWS.format(name)}"


def keyless(name: str) -> str:
    return f"CREATE TABLE {name} (id int, v text); {FIVE_ROWS.format(name)}"


def sql(*statements: str) -> str:
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


@dataclass(frozen=True)
class Plant:
    """setup: SQL of the first revision; body: upgrade() of its own; before: code above upgrade()"""

    name: str
    setup: str
    body: str
    seen: Sequence[Seen] = ()
    before: str = ""
    notes: Sequence[str] = field(default=())


LOSSES = [
    Plant(
        "cascade_view",
        f"{plain('a1')}; CREATE VIEW a1_view AS SELECT v FROM a1",
        sql("ALTER TABLE a1 DROP COLUMN v CASCADE"),
        [
            ("object dropped", "column", "public.a1.v", 0),
            ("object dropped", "view", "public.a1_view", 0),
        ],
    ),
    Plant(
        "cascade_foreign_key",
        f"{plain('a2')}; CREATE TABLE a2_child (id int PRIMARY KEY, a2_id int CONSTRAINT a2_fk REFERENCES a2)",
        sql("DROP TABLE a2 CASCADE"),
        [("object dropped", "table", "public.a2", 5), ("guard dropped", "constraint", "public.a2_child.a2_fk", 0)],
    ),
    Plant(
        "cascade_type_takes_a_column",
        "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE a3 (id int PRIMARY KEY, m mood); INSERT INTO a3 VALUES (1)",
        sql("DROP TYPE mood CASCADE"),
        [("object dropped", "column", "public.a3.m", 0), ("object dropped", "type", "public.mood", 0)],
    ),
    Plant(
        "a_part_goes_with_its_column",
        f"{plain('a4')}; CREATE UNIQUE INDEX a4_v ON a4 (v)",
        sql("ALTER TABLE a4 DROP COLUMN v"),
        [("guard dropped", "index", "public.a4.a4_v", 0), ("object dropped", "column", "public.a4.v", 0)],
    ),
    Plant(
        "truncate_in_do",
        plain("b1"),
        sql("DO $$ BEGIN TRUNCATE b1; END $$"),
        [("rows lost", "table", "public.b1", 5)],
    ),
    Plant(
        "left_cuts",
        "CREATE TABLE b2 (id int PRIMARY KEY, v text); INSERT INTO b2 VALUES (1, 'abc'), (2, 'ab'), (3, NULL)",
        sql("ALTER TABLE b2 ALTER COLUMN v TYPE varchar(2) USING left(v, 2)"),
        [("values changed", "column", "public.b2.v", 1)],
    ),
    Plant(
        "delete_in_a_helper",
        plain("b3"),
        "tidy(op.get_bind())",
        [("rows lost", "table", "public.b3", 2)],
        before="def tidy(bind):\n    bind.execute(sa.text('DELETE FROM b3 WHERE id <= :last'), {'last': 2})\n",
    ),
    Plant(
        "delete_in_execute",
        plain("b4"),
        sql("DO $$ BEGIN EXECUTE 'DELETE ' || 'FROM b4 WHERE id = 1'; END $$"),
        [("rows lost", "table", "public.b4", 1)],
    ),
    Plant(
        "dropped_and_made_again",
        plain("b5"),
        sql("DROP TABLE b5", "CREATE TABLE b5 (id int PRIMARY KEY, v text)", "INSERT INTO b5 VALUES (1, 'value 1')"),
        [("object dropped", "table", "public.b5", 5), ("rows lost", "table", "public.b5", 4)],
    ),
    Plant(
        "numeric_rounds",
        "CREATE TABLE b6 (id int PRIMARY KEY, n numeric(10,4)); INSERT INTO b6 VALUES (1, 1.5000), (2, 1.2345)",
        sql("ALTER TABLE b6 ALTER COLUMN n TYPE numeric(10,2)"),
        [("values changed", "column", "public.b6.n", 1)],
    ),
    Plant(
        "rows_that_the_owner_cannot_see",
        f"{plain('b7')}; CREATE TABLE b7_child (id int PRIMARY KEY, b7_id int REFERENCES b7 ON DELETE CASCADE);"
        "INSERT INTO b7_child VALUES (1, 1), (2, 1), (3, 2);"
        "ALTER TABLE b7_child ENABLE ROW LEVEL SECURITY; ALTER TABLE b7_child FORCE ROW LEVEL SECURITY",
        sql("DELETE FROM b7 WHERE id = 1"),
        [("rows lost", "table", "public.b7", 1), ("rows lost", "table", "public.b7_child", 2)],
    ),
    Plant(
        "an_update",
        plain("b8"),
        sql("UPDATE b8 SET v = upper(v) WHERE id > 3"),
        [("values changed", "column", "public.b8.v", 2)],
    ),
    Plant(
        "an_update_behind_a_new_name",
        plain("b9"),
        sql("ALTER TABLE b9 RENAME TO b9_new", "ALTER TABLE b9_new RENAME v TO w", "UPDATE b9_new SET w = NULL"),
        [("values changed", "column", "public.b9.v", 5)],
    ),
    Plant(
        "no_key",
        keyless("c1"),
        sql("DELETE FROM c1 WHERE id = 1", "UPDATE c1 SET v = 'other' WHERE id = 2"),
        [("rows lost", "table", "public.c1", 1), ("values changed", "column", "public.c1.v", 1)],
    ),
    Plant(
        "no_key_and_values_moved",
        keyless("c2"),
        sql("UPDATE c2 SET v = CASE id WHEN 1 THEN 'value 2' ELSE 'value 1' END WHERE id IN (1, 2)"),
        [("values changed", "column", "public.c2.(values moved between rows)", 2)],
    ),
    Plant(
        "guards",
        f"{plain('c3')}; ALTER TABLE c3 ALTER v SET NOT NULL, ALTER v SET DEFAULT 'x',"
        "ADD CONSTRAINT c3_ck CHECK (id > 0), ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY c3_all ON c3 USING (true);"
        "CREATE FUNCTION c3_f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER c3_t BEFORE UPDATE ON c3 FOR EACH ROW EXECUTE FUNCTION c3_f();"
        "CREATE TRIGGER c3_u BEFORE UPDATE ON c3 FOR EACH ROW EXECUTE FUNCTION c3_f()",
        sql(
            "ALTER TABLE c3 ALTER v DROP NOT NULL, ALTER v DROP DEFAULT, DROP CONSTRAINT c3_ck",
            "DROP POLICY c3_all ON c3",
            "DROP TRIGGER c3_t ON c3",
            "ALTER TABLE c3 DISABLE TRIGGER c3_u, NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE c3 DISABLE ROW LEVEL SECURITY",
        ),
        [
            ("guard dropped", "constraint", "public.c3.c3_ck", 0),
            ("guard dropped", "default", "public.c3.v", 0),
            ("guard dropped", "not null", "public.c3.v", 0),
            ("guard dropped", "policy", "public.c3.c3_all", 0),
            ("guard dropped", "trigger", "public.c3.c3_t", 0),
            ("guard dropped", "trigger enabled", "public.c3.c3_u", 0),
            ("row security switched off", "forced row security", "public.c3", 0),
            ("row security switched off", "row security", "public.c3", 0),
        ],
    ),
    Plant(
        "rows_of_a_partition",
        "CREATE TABLE c4 (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE c4_low PARTITION OF c4 FOR VALUES FROM (0) TO (3);"
        "CREATE TABLE c4_high PARTITION OF c4 FOR VALUES FROM (3) TO (9);" + FIVE_ROWS.format("c4"),
        sql("TRUNCATE c4_high"),
        [("rows lost", "table", "public.c4", 3)],
    ),
    Plant(
        "an_instant_moves",
        "CREATE TABLE c5 (id int PRIMARY KEY, t timestamptz); INSERT INTO c5 VALUES (1, '2025-06-01 12:00Z')",
        sql("ALTER TABLE c5 ALTER t TYPE timestamp USING t AT TIME ZONE 'Europe/Berlin'"),
        [("values changed", "column", "public.c5.t", 1)],
    ),
    Plant(
        "awkward_names",
        """CREATE SCHEMA "S %";"""
        """CREATE TABLE "S %"."a ""q"" %s" ("gatebook_found" int PRIMARY KEY, "V %(x)s" text, n int);"""
        """INSERT INTO "S %"."a ""q"" %s" VALUES (1, 'x', 1), (2, 'y', 1); CREATE TABLE nothing ()""",
        sql("""UPDATE "S %"."a ""q"" %s" SET "V %(x)s" = 'z' WHERE "V %(x)s" = 'x'"""),
        [("values changed", "column", 'S %.a "q" %s.V %(x)s', 1)],
    ),
    Plant(
        "a_parent_and_its_child",
        "CREATE TABLE c7 (id int, v text); CREATE TABLE c7_child () INHERITS (c7);"
        "INSERT INTO c7 VALUES (1, 'a'); INSERT INTO c7_child VALUES (2, 'b')",
        sql("DELETE FROM c7 WHERE id = 2"),
        [("rows lost", "table", "public.c7_child", 1)],
    ),
    Plant(
        "a_domain_without_its_check",
        "CREATE DOMAIN amount AS numeric CONSTRAINT positive CHECK (VALUE > 0);"
        "CREATE TABLE c8 (id int PRIMARY KEY, n amount); INSERT INTO c8 VALUES (1, 1.50)",
        sql("ALTER DOMAIN amount DROP CONSTRAINT positive", "UPDATE c8 SET n = -1.5"),
        [("guard dropped", "constraint", "public.amount.positive", 0), ("values changed", "column", "public.c8.n", 1)],
    ),
    Plant(
        "a_flag_of_more_than_two_values",
        "CREATE TABLE c9 (id int PRIMARY KEY, f int); INSERT INTO c9 VALUES (1, 0), (2, 1), (3, 2)",
        sql("ALTER TABLE c9 ALTER f TYPE boolean USING f <> 0"),
        [("values changed", "column", "public.c9.f", 1)],
    ),
    Plant(
        "a_schema_with_all_that_is_in_it",
        "CREATE SCHEMA s6; CREATE TABLE s6.d1 (id int PRIMARY KEY); INSERT INTO s6.d1 VALUES (1);"
        "CREATE FUNCTION s6.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        sql("DROP SCHEMA s6 CASCADE"),
        [
            ("object dropped", "function", "s6.f", 0),
            ("object dropped", "schema", "s6", 0),
            ("object dropped", "table", "s6.d1", 1),
        ],
    ),
    Plant(
        "a_double_becomes_a_real",
        "CREATE TABLE c6 (id int PRIMARY KEY, d float8); INSERT INTO c6 VALUES (1, 0.5), (2, 0.123456789)",
        sql("ALTER TABLE c6 ALTER d TYPE real"),
        [("values changed", "column", "public.c6.d", 1)],
    ),
]

HARMLESS = [
    Plant(
        "wider_integer",
        plain("h1"),
        sql("ALTER TABLE h1 ALTER id TYPE bigint", "ALTER TABLE h1 ALTER v TYPE varchar(99)"),
    ),
    Plant(
        "other_form_same_value",
        "CREATE TABLE h2 (id numeric(8,1) PRIMARY KEY, n numeric(8,1), r real, i int, t timestamptz, j json,"
        "c char(3), b boolean, f int);"
        "INSERT INTO h2 VALUES (1.0, 1.5, 0.1, 7, '2025-06-01 12:00Z', '{\"a\":  1}', 'x', true, 0);"
        "INSERT INTO h2 VALUES (2, 'NaN', 'NaN', NULL, NULL, NULL, '', NULL, 1)",
        sql(
            "ALTER TABLE h2 ALTER id TYPE numeric(10,3), ALTER n TYPE numeric(10,4), ALTER r TYPE float8,"
            " ALTER i TYPE numeric(9,2), ALTER t TYPE timestamp USING t AT TIME ZONE 'UTC', ALTER j TYPE jsonb,"
            " ALTER c TYPE text, ALTER b TYPE int USING b::int, ALTER f TYPE boolean USING f::boolean",
            "UPDATE h2 SET n = n * 1.00",
        ),
    ),
    Plant(
        "backfill_of_a_new_column",
        plain("h3"),
        sql(
            "ALTER TABLE h3 ADD w text",
            "UPDATE h3 SET w = upper(v)",
            "ALTER TABLE h3 ALTER w SET NOT NULL",
            "INSERT INTO h3 VALUES (6, 'new', 'new')",
        ),
    ),
    Plant(
        "concurrently",
        plain("h4"),
        "with op.get_context().autocommit_block():\n    op.execute('CREATE INDEX CONCURRENTLY h4_v ON h4 (v)')",
        notes=["1 statement ran outside of a transaction: locks taken there ended there"],
    ),
    Plant(
        "new_names",
        plain("h5"),
        sql(
            "ALTER TABLE h5 RENAME TO h5_new",
            "ALTER TABLE h5_new RENAME v TO w",
            "CREATE SCHEMA s5",
            "ALTER TABLE h5_new SET SCHEMA s5",
        ),
    ),
    Plant(
        "made_and_dropped_meanwhile",
        plain("h6"),
        sql("CREATE TABLE h6_tmp AS SELECT * FROM h6", "DELETE FROM h6_tmp", "DROP TABLE h6_tmp"),
    ),
    Plant(
        "rewritten_with_its_indexes",
        f"{plain('h7')}; CREATE UNIQUE INDEX h7_v ON h7 (v); ALTER TABLE h7 ADD CHECK (id > 0)",
        sql(
            "ALTER TABLE h7 ALTER id TYPE bigint, ALTER v SET DEFAULT 'x'", "CLUSTER h7 USING h7_v", "REINDEX TABLE h7"
        ),
    ),
    Plant(
        "a_branch_not_taken",
        plain("h8"),
        "if context.is_offline_mode():\n    op.execute('TRUNCATE h8')",
        notes=["rendered, but not run: TRUNCATE h8"],
    ),
    Plant(
        "an_empty_table",
        "CREATE TABLE h10 (id int)",
        sql("ALTER TABLE h10 ALTER id TYPE smallint"),
        notes=["there were no rows in public.h10: proves nothing for these"],
    ),
    Plant(
        "needs_a_database",
        plain("h11"),
        "for row in op.get_bind().execute(sa.text('SELECT 1')):\n    op.execute(f'SELECT {row[0]}')",
        notes=[
            "not rendered without a database, so its branches are not known: "
            "TypeError: 'NoneType' object is not iterable"
        ],
    ),
    Plant(
        "rows_taken_out_and_back",
        keyless("h9"),
        sql("CREATE TABLE h9_b (LIKE h9)", "WITH m AS (DELETE FROM h9 RETURNING *) INSERT INTO h9 SELECT * FROM m"),
    ),
]

REVISION = """
import sqlalchemy as sa
from alembic import context, op

revision = {revision!r}
down_revision = {down!r}
branch_labels = depends_on = None

{before}

def upgrade():
{body}


def downgrade():
    raise NotImplementedError
"""


def make_chain(root: Path, project: Project, plants: Sequence[Plant]) -> Project:
    """A project of its own on the tests' server, whose first revision makes what the others take away."""
    versions = root / "alembic" / "versions"
    versions.mkdir(parents=True)
    shutil.copy(ROOT / "alembic.ini", root)
    shutil.copy(ROOT / "alembic" / "env.py", root / "alembic")
    (root / "params").mkdir()
    (root / "params" / "gates.yaml").write_text("phases: []\n", encoding="utf-8")
    first = Plant("first", "", sql(*(plant.setup for plant in plants)))
    down = None
    for plant in [first, *plants]:
        body = "\n".join(f"    {line}" for line in plant.body.splitlines())
        text = REVISION.format(revision=plant.name, down=down, before=plant.before, body=body)
        (versions / f"{plant.name}.py").write_text(text, encoding="utf-8")
        down = plant.name
    return Project.at(root, home=project.home)


def seen(rehearsal: Rehearsal) -> list[Seen]:
    return sorted((row["what"], row["kind"], row["target"], row["rows"]) for row in rehearsal.as_rows())


@pytest.fixture(scope="module")
def played(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rehearsal]:
    """Every planted revision rehearsed, in one climb."""
    chain = make_chain(tmp_path_factory.mktemp("planted") / "project", project, [*LOSSES, *HARMLESS])
    return {each.revision: each for each in rehearse_chain(chain)}


@pytest.mark.parametrize("plant", LOSSES, ids=lambda plant: plant.name)
def test_a_silent_loss_is_told(played: dict[str, Rehearsal], plant: Plant) -> None:
    rehearsed = played[plant.name]

    assert rehearsed.problem == ""
    assert seen(rehearsed) == sorted(plant.seen)
    assert len(rehearsed.unpredicted) == len(plant.seen)
    assert rehearsed.verdict == "FAIL"


@pytest.mark.parametrize("plant", HARMLESS, ids=lambda plant: plant.name)
def test_a_harmless_change_is_none(played: dict[str, Rehearsal], plant: Plant) -> None:
    rehearsed = played[plant.name]

    assert (rehearsed.problem, seen(rehearsed), rehearsed.verdict) == ("", [], "PASS")
    assert list(rehearsed.notes) == list(plant.notes)


def test_how_an_object_went_is_said(played: dict[str, Rehearsal]) -> None:
    said = {
        row["target"]: row["detail"]
        for name in ("cascade_view", "a_part_goes_with_its_column")
        for row in played[name].as_rows()
    }

    assert said == {
        "public.a1.v": "dropped by name",
        "public.a1_view": "dropped by CASCADE of public.a1.v",
        "public.a4.a4_v": "dropped as a part of public.a4.v",
        "public.a4.v": "dropped by name",
    }


def test_rewrites_and_locks_are_rows_for_a_chart(played: dict[str, Rehearsal]) -> None:
    some = [played["wider_integer"], played["cascade_foreign_key"], played["concurrently"]]
    locks = {(row["revision"], row["relation"], row["mode"], row["statement"]) for row in rehearsal.lock_rows(some)}

    assert locks == {
        ("wider_integer", "public.h1", "AccessExclusive", 1),
        ("cascade_foreign_key", "public.a2", "AccessExclusive", 1),
        ("cascade_foreign_key", "public.a2_child", "AccessExclusive", 1),
    }
    assert all(0 < row["held_ms"] < 10_000 for row in rehearsal.lock_rows(some))
    assert [(row["revision"], row["relation"]) for row in rehearsal.rewrite_rows(some)] == [
        ("wider_integer", "public.h1")
    ]
    assert some[0].summary()["rewritten_bytes"] > 0


def test_without_rows_nothing_is_proven_for_rows(played: dict[str, Rehearsal]) -> None:
    assert played["first"].notes == (rehearsal.NO_ROWS,)
    assert (played["first"].rows_seen, played["wider_integer"].rows_seen > 50) == (0, True)


# -- what nobody foretold

ROWS = Loss(What.ROWS, "table", "public", "orders", "", 3)
VALUES = Loss(What.VALUES, "column", "public", "orders", "total", 2, table_now="purchases")
TABLE = Loss(What.OBJECT, "table", "public", "orders")
COLUMN = Loss(What.OBJECT, "column", "public", "orders", "total")
VIEW = Loss(What.OBJECT, "view", "public", "v")
INDEX = Loss(What.GUARD, "index", "public", "orders", "orders_i")
PART = Loss(What.GUARD, "index", "public", "orders", "orders_i", taken_by=COLUMN.names)
RLS = Loss(What.SECURITY, "row security", "public", "orders")


@pytest.mark.parametrize(
    ("loss", "effect", "is_foretold"),
    [
        (ROWS, Effect(Kind.LOST, "TRUNCATE", "public.orders"), True),
        (ROWS, Effect(Kind.FILTERED, "DELETE", "orders"), True),
        (ROWS, Effect(Kind.FILTERED, "DELETE", "order"), False),
        (ROWS, Effect(Kind.LOST, "DROP COLUMN", "orders.total"), False),
        (ROWS, Effect(Kind.NARROWED, "ALTER TYPE", "orders.total"), False),
        (VALUES, Effect(Kind.FILTERED, "UPDATE", "orders"), True),
        (VALUES, Effect(Kind.FILTERED, "UPDATE", "purchases"), True),
        (VALUES, Effect(Kind.NARROWED, "ALTER TYPE", "orders.total"), True),
        (VALUES, Effect(Kind.NARROWED, "ALTER TYPE", "orders.note"), False),
        (VALUES, Effect(Kind.GUARD, "DROP INDEX", "orders"), False),
        (TABLE, Effect(Kind.LOST, "op.drop_table", "orders"), True),
        (TABLE, Effect(Kind.LOST, "DROP TABLE", ""), True),
        (TABLE, Effect(Kind.LOST, "DROP TABLE", "other.orders"), False),
        (TABLE, Effect(Kind.UNRESOLVED, "EXECUTE", ""), False),
        (TABLE, Effect(Kind.DEFINED, "DROP TABLE", "orders"), False),
        (COLUMN, Effect(Kind.LOST, "DROP COLUMN", "public.orders.total"), True),
        (COLUMN, Effect(Kind.LOST, "DROP TABLE", "orders"), True),
        (COLUMN, Effect(Kind.LOST, "TRUNCATE", "orders"), False),
        (COLUMN, Effect(Kind.GUARD, "DROP DEFAULT", "orders.total"), False),
        (VIEW, Effect(Kind.GUARD, "DROP VIEW", "v"), True),
        (VIEW, Effect(Kind.LOST, "DROP TABLE", "orders"), False),
        (INDEX, Effect(Kind.GUARD, "DROP INDEX", "public.orders_i"), True),
        (INDEX, Effect(Kind.CONSTRAINT, "DROP CONSTRAINT", "orders.orders_i"), True),
        (INDEX, Effect(Kind.LOST, "DROP COLUMN", "orders.total"), False),
        (PART, Effect(Kind.LOST, "DROP COLUMN", "orders.total"), True),
        (RLS, Effect(Kind.SECURITY, "DISABLE ROW LEVEL SECURITY", '"orders"'), True),
        (RLS, Effect(Kind.LOST, "TRUNCATE", "orders"), False),
    ],
    ids=lambda value: f"{value.kind.name}-{value.target}" if isinstance(value, Effect) else None,
)
def test_an_effect_foretells_a_loss(loss: Loss, effect: Effect, is_foretold: bool) -> None:
    assert unpredicted([loss], [effect]) == (() if is_foretold else (loss.as_row(),))


def test_what_is_foretold_is_told_and_no_failure(project: Project, tmp_path: Path) -> None:
    chain = make_chain(tmp_path / "project", project, [LOSSES[0]])
    foretold = {"cascade_view": [Effect(Kind.LOST, "DROP COLUMN", "a1.v")]}

    half = rehearse(chain, "cascade_view", predict=lambda revision: foretold[revision])
    foretold["cascade_view"].append(Effect(Kind.GUARD, "DROP VIEW", "a1_view"))
    whole = rehearse(chain, "cascade_view", predict=lambda revision: foretold[revision])

    assert [row["target"] for row in half.unpredicted] == ["public.a1_view"]
    assert [row["predicted"] for row in half.as_rows()] == [row["target"] == "public.a1.v" for row in half.as_rows()]
    assert (half.verdict, whole.verdict, len(whole.losses)) == ("FAIL", "PASS", 2)


# -- the project's own chain

OWN = {
    "202511151410": [
        Effect(Kind.GUARD, "DROP INDEX", "idx_attribution_events_tenant_external_event_id"),
        Effect(Kind.GUARD, "DROP INDEX", "idx_attribution_events_tenant_correlation_id"),
        Effect(Kind.FILTERED, "UPDATE", "attribution_events"),
    ],
    "202511151530": [Effect(Kind.LOST, "DROP MATERIALIZED VIEW", "mv_reconciliation_status")],
}


def test_the_whole_chain_loses_nothing_unforeseen(project: Project) -> None:
    found = rehearse_chain(project, predict=lambda revision: OWN.get(revision, []))

    assert [each.verdict for each in found] == ["PASS"] * 21
    assert {each.revision: len(each.losses) for each in found if each.losses} == {"202511151410": 3, "202511151530": 1}
    assert {each.revision for each in found if not each.rows_seen} == {each.revision for each in found[:9]}
    assert all(each.rows_seen > 1000 for each in found[10:])
    assert all(each.statements and not each.not_run for each in found[1:])
    rewritten = {row["revision"] for row in rehearsal.rewrite_rows(found)}
    assert {"202511151400", "202511151410", "202511151420", "202511151430", "202511151440"} <= rewritten


# -- whatever happens, the copy goes


@contextlib.contextmanager
def none_left(databases: Databases) -> Iterator[None]:
    yield
    with databases.maintenance() as connection:
        assert connection.execute(rehearsal_stage.LEFTOVERS).fetchall() == []


def test_a_migration_that_fails_is_told_and_ends_the_climb(
    project: Project, databases: Databases, tmp_path: Path
) -> None:
    broken = Plant("broken", plain("x1"), sql("DELETE FROM x1", "SELECT 1 / 0"))
    chain = make_chain(tmp_path / "project", project, [HARMLESS[0], broken, LOSSES[4]])

    with none_left(databases):
        found = rehearse_chain(chain)
        with pytest.raises(MigrationFailed, match="division by zero"):
            rehearse(chain, "truncate_in_do")

    assert [each.verdict for each in found] == ["PASS", "PASS", "UNKNOWN"]
    assert "division by zero (SQLSTATE 22012)" in found[-1].problem
    assert rehearsal.exit_code(found) == 2


@pytest.mark.parametrize("error", ["KeyboardInterrupt()", "SystemExit(3)"])
def test_an_interrupted_rehearsal_leaves_no_database(
    project: Project, databases: Databases, tmp_path: Path, error: str
) -> None:
    chain = make_chain(tmp_path / "project", project, [Plant("stopped", "SELECT 1", f"raise {error}")])

    with none_left(databases), pytest.raises((KeyboardInterrupt, SystemExit)):
        rehearse_chain(chain)


def test_ctrl_c_in_the_middle_of_a_statement(project: Project, databases: Databases, tmp_path: Path) -> None:
    body = sql("SELECT pg_sleep(60)")
    chain = make_chain(tmp_path / "project", project, [Plant("slow", plain("x2"), body)])
    words = [sys.executable, "-m", "gatebook", "rehearse", "slow"]

    with none_left(databases), in_the_project(chain):
        process = subprocess.Popen(words, cwd=chain.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for_sleep(databases)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0].decode()

    assert process.returncode == 130, said
    assert "Traceback" not in said


def wait_for_sleep(databases: Databases) -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND datname LIKE 'gatebook_rehears%'"
    )
    with databases.maintenance() as connection:
        for _ in range(200):
            if connection.execute(query).fetchone() == (1,):
                return
            time.sleep(0.05)
    raise AssertionError("the migration never slept")


@contextlib.contextmanager
def in_the_project(chain: Project) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PROJECT_VARIABLE, str(chain.root))
        yield


def test_what_a_killed_rehearsal_left_goes_with_the_next(project: Project, databases: Databases) -> None:
    with databases.maintenance() as connection:
        connection.execute("CREATE DATABASE gatebook_rehearsal_killed")
    with none_left(databases), rehearsal_stage.stage(project) as one:
        with databases.maintenance() as connection:
            there = connection.execute(rehearsal_stage.LEFTOVERS).fetchall()
        assert [name for (name,) in there] != ["gatebook_rehearsal_killed"]
        assert len(there) == 1
        with rehearsal_stage.stage(project), one.owner.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1  # the first one is still there


# -- the command


def test_the_command_and_its_exit_codes(
    command: Command, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Plant("broken", "SELECT 1", sql("SELECT 1 / 0"))
    # What a function does that the database has already, nobody can read in the file.
    emptied = "CREATE FUNCTION empty_it() RETURNS void LANGUAGE sql AS 'DELETE FROM it'"
    silent = Plant(
        "silent", f"CREATE TABLE it (id int); INSERT INTO it VALUES (1), (2); {emptied}", sql("SELECT empty_it()")
    )
    chain = make_chain(tmp_path / "project", project, [HARMLESS[0], LOSSES[4], silent, broken])
    monkeypatch.setenv(PROJECT_VARIABLE, str(chain.root))

    names = ("wider_integer", "truncate_in_do", "silent", "broken")
    green, foretold, red, unknown = (command("rehearse", name) for name in names)

    assert (green.code, foretold.code, red.code, unknown.code) == (0, 0, 1, 2)
    assert "AccessExclusive on public.h1" in green.out
    assert "rows lost: table public.b1 (rows that are gone, 5 rows), foretold" in foretold.out
    assert "rows lost: table public.it (rows that are gone, 2 rows), not foretold" in red.out
    assert "division by zero" in unknown.out
    assert command("rehearse", "--all").code == 1


def test_wrong_use_is_refused(command: Command, project: Project) -> None:
    assert command("rehearse").code == 2
    assert command("rehearse", "202511151400", "--all").code == 2
    with pytest.raises(ConfigurationError, match="no revision nope"):
        rehearse(project, "nope")
