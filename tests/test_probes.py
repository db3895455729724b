"""Writes that must be rejected or accepted: judged by the real server, and never kept."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from conftest import Databases
from gatebook import catalog, probes
from gatebook.database import Database
from gatebook.errors import ConfigurationError
from gatebook.phase import Phase
from gatebook.probes import Fixture, Fixtures, Write
from gatebook.verdicts import Verdict

SCHEMA = """
CREATE TABLE parent (id uuid PRIMARY KEY, name text NOT NULL);
CREATE TABLE child (
  id uuid PRIMARY KEY,
  parent_id uuid NOT NULL REFERENCES parent ON DELETE CASCADE,
  code text NOT NULL CONSTRAINT child_code UNIQUE,
  n int CONSTRAINT n_positive CHECK (n > 0),
  share numeric(4,3) DEFAULT 1,
  later uuid CONSTRAINT later_exists REFERENCES parent DEFERRABLE INITIALLY DEFERRED,
  "odd %s ""quoted"" column" text
);
ALTER TABLE child ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON child USING (parent_id = current_setting('app.parent')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON child TO app_rw;
GRANT SELECT ON parent TO app_rw;
CREATE TABLE seen (id uuid);

CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION rewrite() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.n := 77; RETURN NEW; END';
CREATE FUNCTION rewrite_after() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN UPDATE child SET n = 78 WHERE id = NEW.id; RETURN NULL; END';
CREATE FUNCTION delete_after() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN DELETE FROM child WHERE id = NEW.id; RETURN NULL; END';
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN RAISE check_violation USING CONSTRAINT = ''n_positive''; END';
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
CREATE TRIGGER swallow_insert BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION swallow();
CREATE TRIGGER swallow_update BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION swallow();
CREATE TRIGGER swallow_delete BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION swallow();
CREATE TRIGGER rewrite_before BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION rewrite();
CREATE TRIGGER rewrite_after AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION rewrite_after();
CREATE TRIGGER delete_after AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION delete_after();
CREATE CONSTRAINT TRIGGER deferred_after AFTER INSERT ON child DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION rewrite_after();
CREATE TRIGGER refuse_insert BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER slow_insert BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION slow();
ALTER TABLE child DISABLE TRIGGER USER;
"""

FIXTURES = Fixtures(
    tables={
        "parent": Fixture(row={"id": "'{self}'", "name": "'p'"}),
        "child": Fixture(
            parents=["parent"],
            settings={"app.parent": "'{parent}'"},
            row={"id": "'{self}'", "parent_id": "'{parent}'", "code": "'c {self}'", "n": "1"},
        ),
    }
)
FIRST, SECOND, THIRD = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))


@pytest.fixture(scope="module")
def shop(databases: Databases) -> Iterator[Database]:
    database = databases.empty()
    commit(database, SCHEMA)
    yield database
    databases.drop(database)


def commit(database: Database, statements: str) -> None:
    with database.connect() as connection:
        catalog.execute(connection, statements)
        connection.commit()


def rejected(database: Database, write: Write, **reason: str | None) -> Verdict:
    wanted: dict[str, Any] = {"constraint": None, "column": None} | reason
    plan = probes.plan(write, FIXTURES).to_be_rejected
    with database.connect() as connection:
        return probes.rejected(connection, plan, what="a claim", **wanted)


def accepted(database: Database, write: Write) -> Verdict:
    plan = probes.plan(write, FIXTURES).to_be_accepted
    with database.connect() as connection:
        return probes.accepted(connection, plan, what="a claim", changes=write.changes)


def cascades(database: Database) -> Verdict:
    plan = probes.plan(probes.cascade("parent", takes="child"), FIXTURES)
    with database.connect() as connection:
        return probes.cascades(connection, plan, what="a claim")


@contextmanager
def trigger(database: Database, name: str) -> Iterator[None]:
    commit(database, f"ALTER TABLE child ENABLE TRIGGER {name}")
    yield
    commit(database, f"ALTER TABLE child DISABLE TRIGGER {name}")


@pytest.fixture(autouse=True)
def nothing_is_left(shop: Database) -> Iterator[None]:
    """After every test of this file: no row, no change of the schema, no lock."""
    with shop.connect() as connection:
        before = catalog.fingerprint(catalog.snapshot(connection))
    yield
    with shop.connect() as connection:
        assert [count(connection, table) for table in ("parent", "child", "seen")] == [0, 0, 0]
        assert catalog.fingerprint(catalog.snapshot(connection)) == before


def count(connection: sa.Connection, table: str) -> int:
    number: int = catalog.execute(connection, f"SELECT count(*) FROM {table}").scalar_one()
    return number


# -- plans


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids count upwards, so that a plan's text is always the same."""
    numbers = iter(range(1, 100))
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(FIRST[:-2] + f"{next(numbers):02}"))


INSERT_PARENT = f'INSERT INTO "parent" ("id", "name")\nVALUES (\'{FIRST}\', \'p\')\nRETURNING *;'
SET_PARENT = f"SELECT set_config('app.parent', '{FIRST}', true);"
INSERT_CHILD = (
    f'INSERT INTO "child" ("id", "parent_id", "code", "n")\n'
    f"VALUES ('{SECOND}', '{FIRST}', 'c {SECOND}', 1)\nRETURNING *;"
)
CHECKED = "SET CONSTRAINTS ALL IMMEDIATE;"


@pytest.mark.usefixtures("numbered")
def test_plan_of_a_write_that_must_be_rejected() -> None:
    plan = probes.plan(probes.insert("child", n=-1), FIXTURES)

    unread = INSERT_CHILD.replace("\nRETURNING *;", ";")
    assert plan.to_be_rejected.sql.splitlines() == [
        "BEGIN;",
        *INSERT_PARENT.splitlines(),
        "SAVEPOINT control;",
        SET_PARENT,
        *unread.splitlines(),
        CHECKED,
        "ROLLBACK TO SAVEPOINT control;",
        SET_PARENT,
        *unread.replace(", 1)", ",  -1)").splitlines(),
        CHECKED,
        "ROLLBACK;",
    ]


@pytest.mark.usefixtures("numbered")
def test_plan_of_a_write_that_must_be_accepted() -> None:
    plan = probes.plan(probes.insert("child", n=2).by("app_rw"), FIXTURES)

    assert plan.to_be_accepted.sql.splitlines() == [
        "BEGIN;",
        *INSERT_PARENT.splitlines(),
        'SET LOCAL ROLE "app_rw";',
        SET_PARENT,
        *INSERT_CHILD.replace(", 1)", ", 2)").splitlines(),
        CHECKED,
        f"SELECT * FROM \"child\" WHERE id = '{SECOND}';",
        "ROLLBACK;",
    ]


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize(
    ("write", "last"),
    [
        pytest.param(
            probes.update("child", n=5, code="it's 5%"),
            f"UPDATE \"child\" SET \"n\" = 5, \"code\" = 'it''s 5%' WHERE id = '{SECOND}'\nRETURNING *;",
            id="update",
        ),
        pytest.param(probes.delete("child"), f"DELETE FROM \"child\" WHERE id = '{SECOND}'\nRETURNING *;", id="delete"),
        pytest.param(
            probes.duplicate("child", "code"),
            f'INSERT INTO "child" ("id", "parent_id", "code", "n")\n'
            f"VALUES ('{THIRD}', '{FIRST}', 'c {SECOND}', 1)\nRETURNING *;",
            id="duplicate",
        ),
        pytest.param(
            probes.insert("child", code=None),
            f'INSERT INTO "child" ("id", "parent_id", "code", "n")\n'
            f"VALUES ('{SECOND}', '{FIRST}', NULL, 1)\nRETURNING *;",
            id="NULL",
        ),
    ],
)
def test_the_attempt_changes_one_thing(write: Write, last: str) -> None:
    plan = probes.plan(write, FIXTURES)

    assert plan.attempt[-1] == last
    assert plan.control[-1].startswith('INSERT INTO "child"')
    assert last not in plan.control


@pytest.mark.usefixtures("numbered")
def test_plan_of_a_cascade_makes_two_families_and_deletes_one() -> None:
    plan = probes.plan(probes.cascade("parent", takes="child"), FIXTURES)

    child = 'INSERT INTO "child" ("id", "parent_id", "code", "n")'
    assert [statement.partition("\n")[0] for statement in plan.given] == [
        'INSERT INTO "parent" ("id", "name")',
        SET_PARENT,
        child,
        'INSERT INTO "parent" ("id", "name")',
        SET_PARENT.replace(FIRST, THIRD),
        child,
        'ALTER TABLE "parent" DISABLE TRIGGER USER;',
    ]
    assert plan.attempt == (f"DELETE FROM \"parent\" WHERE id = '{FIRST}';",)


def test_rows_of_inserts_carry_one_value_each() -> None:
    assert [write.changes for write in probes.inserts("child", n=[1, None])] == [{"n": 1}, {"n": None}]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(probes.insert("nowhere"), "no fixture says how to make a valid row of nowhere", id="table"),
        pytest.param(probes.duplicate("child", "m"), "the fixture has no column m", id="column of a duplicate"),
    ],
)
def test_what_the_fixtures_lack_is_named(write: Write, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        probes.plan(write, FIXTURES)

    assert caught.value.what == message


# -- must be rejected


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        pytest.param(
            probes.insert("child", n=0), {"sqlstate": "23514", "constraint": "n_positive"}, id="check constraint"
        ),
        pytest.param(probes.insert("child", code=None), {"sqlstate": "23502", "column": "code"}, id="NOT NULL"),
        pytest.param(probes.duplicate("child", "code"), {"sqlstate": "23505", "constraint": "child_code"}, id="unique"),
        pytest.param(
            probes.insert("child", later=SECOND),
            {"sqlstate": "23503", "constraint": "later_exists"},
            id="deferred foreign key",
        ),
        pytest.param(
            probes.update("child", n=-5), {"sqlstate": "23514", "constraint": "n_positive"}, id="check on update"
        ),
        pytest.param(
            probes.insert("child", share=1000), {"sqlstate": "22003"}, id="overflow, which names no constraint"
        ),
        pytest.param(probes.insert("child", parent_id=SECOND).by("app_rw"), {"sqlstate": "42501"}, id="policy"),
        pytest.param(probes.insert("parent").by("app_rw"), None, id="no privilege for the control either"),
    ],
)
def test_rejected_for_the_right_reason(shop: Database, write: Write, reason: dict[str, str] | None) -> None:
    verdict = rejected(shop, write, **(reason or {"sqlstate": "42501"}))

    if reason is None:
        assert verdict.name == "UNKNOWN"
    else:
        assert (verdict.name, verdict.reason) == ("PASS", "")
        assert verdict.want == (reason,)
        assert {key: verdict.have[0][key] for key in reason} == reason


def test_an_accepted_write_is_red(shop: Database) -> None:
    verdict = rejected(shop, probes.insert("child", n=7), sqlstate="23514", constraint="n_positive")

    assert (verdict.name, verdict.reason) == ("FAIL", "the write was accepted")
    assert verdict.have == ({"outcome": "accepted"},)


@pytest.mark.parametrize(
    ("write", "wanted", "message"),
    [
        pytest.param(
            probes.insert("child", n=None, code=None),
            {"sqlstate": "23514", "constraint": "n_positive"},
            'null value in column "code" of relation "child" violates not-null constraint (SQLSTATE 23502)',
            id="another SQLSTATE",
        ),
        pytest.param(
            probes.insert("child", n=0),
            {"sqlstate": "23514", "constraint": "n_even"},
            'new row for relation "child" violates check constraint "n_positive" (SQLSTATE 23514)',
            id="another constraint",
        ),
        pytest.param(
            probes.insert("child", code=None),
            {"sqlstate": "23502", "column": "n"},
            'null value in column "code" of relation "child" violates not-null constraint (SQLSTATE 23502)',
            id="another column",
        ),
        pytest.param(
            probes.insert("child", nowhere=1),
            {"sqlstate": "23514"},
            'column "nowhere" of relation "child" does not exist (SQLSTATE 42703)',
            id="no such column",
        ),
    ],
)
def test_rejected_for_another_reason_is_red(shop: Database, write: Write, wanted: dict[str, str], message: str) -> None:
    verdict = rejected(shop, write, **wanted)

    assert (verdict.name, verdict.reason) == ("FAIL", f"rejected, but for another reason: {message}")
    assert verdict.have[0]["outcome"] == "rejected"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(probes.insert("child", n=0), id="insert"),
        pytest.param(probes.update("child", n=0), id="update"),
        pytest.param(probes.duplicate("child", "code").by("app_rw"), id="duplicate"),
    ],
)
def test_when_the_control_is_rejected_nothing_is_proven(shop: Database, write: Write) -> None:
    """The trigger refuses every row, with the very SQLSTATE and constraint that is wanted."""
    with trigger(shop, "refuse_insert"):
        if write.kind == "duplicate":
            with pytest.raises(sa.exc.DBAPIError):  # the row to be doubled cannot be made; the gate says Unknown
                rejected(shop, write, sqlstate="23505")
            return
        verdict = rejected(shop, write, sqlstate="23514", constraint="n_positive")

    assert (verdict.name, verdict.reason) == (
        "UNKNOWN",
        "the same row without the change was rejected too: check_violation (SQLSTATE 23514)",
    )


def test_a_write_that_is_swallowed_is_not_rejected(shop: Database) -> None:
    with trigger(shop, "swallow_update"):
        verdict = rejected(shop, probes.update("child", n=0), sqlstate="23514", constraint="n_positive")

    assert (verdict.name, verdict.reason) == (
        "FAIL",
        "rejected, but for another reason: the write was swallowed by a trigger (SQLSTATE None)",
    )


def test_a_role_we_may_not_take_on_proves_nothing(shop: Database) -> None:
    verdict = rejected(shop, probes.insert("child", n=0).by("postgres"), sqlstate="42501")

    assert (verdict.name, verdict.reason) == (
        "UNKNOWN",
        'the same row without the change was rejected too: permission denied to set role "postgres" (SQLSTATE 42501)',
    )


# -- must be accepted


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(probes.insert("child"), id="as the fixture makes it"),
        pytest.param(probes.insert("child", n=2, code="it's 5% \\ größe"), id="awkward text"),
        pytest.param(probes.insert("child", **{'odd %s "quoted" column': "%(x)s"}), id="awkward column"),
        pytest.param(probes.insert("child", n=None), id="NULL"),
        pytest.param(probes.insert("child", share=0.1), id="decimal fraction"),
        pytest.param(probes.insert("child", later=None), id="deferred, empty"),
        pytest.param(probes.insert("child", id=SECOND), id="an id of one's own"),
        pytest.param(probes.insert("child", n=3).by("app_rw"), id="insert by a role"),
        pytest.param(probes.update("child", n=4).by("app_rw"), id="update by a role"),
        pytest.param(probes.delete("child").by("app_rw"), id="delete by a role"),
    ],
)
def test_accepted(shop: Database, write: Write) -> None:
    verdict = accepted(shop, write)

    assert (verdict.name, verdict.reason) == ("PASS", "")
    assert verdict.want == ({"outcome": "accepted", **write.changes},)


SWALLOWED = "the write was swallowed in silence"
OTHERWISE = "the row was written with other values"


@pytest.mark.parametrize(
    ("write", "guilty", "reason"),
    [
        pytest.param(probes.insert("child", n=2), "swallow_insert", SWALLOWED, id="insert swallowed"),
        pytest.param(probes.update("child", n=2), "swallow_update", SWALLOWED, id="update swallowed"),
        pytest.param(probes.delete("child"), "swallow_delete", SWALLOWED, id="delete swallowed"),
        pytest.param(probes.insert("child", n=2), "rewrite_before", OTHERWISE, id="altered before"),
        pytest.param(probes.insert("child", n=2), "rewrite_after", OTHERWISE, id="altered after"),
        pytest.param(probes.insert("child", n=2), "deferred_after", OTHERWISE, id="altered at the commit"),
        pytest.param(probes.insert("child", n=2), "delete_after", SWALLOWED, id="deleted again"),
    ],
)
def test_a_trigger_that_meddles_is_red(shop: Database, write: Write, guilty: str, reason: str) -> None:
    with trigger(shop, guilty):
        verdict = accepted(shop, write)

    assert (verdict.name, verdict.reason) == ("FAIL", reason)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(
            probes.insert("child", later=SECOND),
            'insert or update on table "child" violates foreign key constraint "later_exists" (SQLSTATE 23503)',
            id="deferred",
        ),
        pytest.param(
            probes.insert("child", parent_id=SECOND).by("app_rw"),
            'new row violates row-level security policy for table "child" (SQLSTATE 42501)',
            id="policy",
        ),
        pytest.param(
            probes.insert("parent", name="x").by("app_rw"),
            "permission denied for table parent (SQLSTATE 42501)",
            id="privilege",
        ),
    ],
)
def test_a_rejected_write_is_red(shop: Database, write: Write, message: str) -> None:
    verdict = accepted(shop, write)

    assert (verdict.name, verdict.reason) == ("FAIL", f"the write was rejected: {message}")


# -- cascades


def test_a_cascade_takes_its_own_children_only(shop: Database) -> None:
    verdict = cascades(shop)

    assert (verdict.name, verdict.have) == ("PASS", ({"of_the_deleted": 0, "of_the_other": 1},))


def test_a_delete_that_is_restricted_is_red(shop: Database) -> None:
    key = "ALTER TABLE child DROP CONSTRAINT child_parent_id_fkey, ADD FOREIGN KEY (parent_id) REFERENCES parent"
    commit(shop, f"{key} ON DELETE RESTRICT")
    verdict = cascades(shop)
    commit(shop, f"{key} ON DELETE CASCADE")

    assert verdict.name == "FAIL"
    assert verdict.reason.startswith("the delete was rejected: ")


def test_a_cascade_that_takes_too_much_or_too_little_is_red(shop: Database) -> None:
    rule = "CREATE RULE {} AS ON DELETE TO parent DO ALSO {}"
    commit(shop, rule.format("everything", "DELETE FROM child"))
    too_much = cascades(shop)
    commit(shop, "DROP RULE everything ON parent; " + rule.format("nothing", "INSTEAD NOTHING").replace("ALSO ", ""))
    too_little = cascades(shop)
    commit(shop, "DROP RULE nothing ON parent")

    assert too_much.have == ({"of_the_deleted": 0, "of_the_other": 0},)
    assert too_little.have == ({"of_the_deleted": 1, "of_the_other": 1},)
    assert {(each.name, each.reason) for each in (too_much, too_little)} == {
        ("FAIL", "other rows went, or stayed, than should")
    }


def test_a_cascade_without_children_proves_nothing(shop: Database) -> None:
    with trigger(shop, "swallow_insert"):
        verdict = cascades(shop)

    assert (verdict.name, verdict.reason) == ("UNKNOWN", "the rows to delete from could not be made")


# -- nothing is kept


def test_a_connection_that_comes_with_a_write_does_not_keep_it(shop: Database) -> None:
    plan = probes.plan(probes.insert("child"), FIXTURES)
    with shop.connect() as connection:
        catalog.execute(connection, f"INSERT INTO seen VALUES ('{FIRST}')")
        probes.accepted(connection, plan, what="a claim", changes={})
        connection.commit()
        assert count(connection, "seen") == 0


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from gatebook.database import open_database
from test_probes import FIXTURES, rejected
from gatebook import probes
rejected(open_database(sys.argv[1]), probes.insert("child", n=0), sqlstate="23514")
"""
ACTIVITY = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


def test_a_killed_process_leaves_nothing_behind(shop: Database) -> None:
    with trigger(shop, "slow_insert"), shop.open_session() as watcher:
        watcher.autocommit = True
        victim = subprocess.Popen([sys.executable, "-c", KILLED, shop.name, str(Path(__file__).parent)])
        wait_for(lambda: watcher.execute(ACTIVITY).fetchone() is not None)
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        wait_for(lambda: watcher.execute(ACTIVITY).fetchone() is None)
        locks = watcher.execute("SELECT count(*) FROM pg_locks WHERE relation = 'child'::regclass").fetchone()

    assert locks == (0,)


def wait_for(condition: Any, *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


# -- inside a gate


@pytest.mark.timeout(60)
def test_a_locked_table_is_unknown_after_the_limit_and_not_waited_for(migrated_copy: Database) -> None:
    phase = Phase("4", database=migrated_copy.name, lock_timeout_ms=200)
    with psycopg.connect(migrated_copy.conninfo) as other, phase.gate("4.3") as gate:
        other.execute("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE")
        result = gate.rejects_null("4.3.1", "tenants", "api_key_hash")
        other.rollback()
        after = gate.rejects_null("4.3.2", "tenants", "notification_email")
    phase.database.close()

    assert (result.verdict.name, result.verdict.reason) == (
        "UNKNOWN",
        "the same row without the change was rejected too: canceling statement due to lock timeout (SQLSTATE 55P03)",
    )
    assert after.verdict.name == "PASS"
