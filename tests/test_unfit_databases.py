"""Databases, servers and roles on which an audit would fail: refused while everything is as it was."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import postgres
from command import Command, assert_refused, nothing_new, params_file, run_process, unchanged, unchanged_behind
from conftest import Databases
from gatebook import terminal
from gatebook.baseline import Store
from gatebook.database import Database
from gatebook.declarations import PhaseDeclaration
from gatebook.project import Project

pytestmark = pytest.mark.server

TINY = {"tenants": 1, "days": 2, "events_per_day": 2, "as_of": "2025-11-15"}

# A second event with an external id, which the unique index forbids: an index of its name stands there, not unique.
DUPLICATES = """
    DROP INDEX idx_attribution_events_tenant_external_event_id;
    CREATE INDEX idx_attribution_events_tenant_external_event_id ON attribution_events (tenant_id, external_event_id);
    INSERT INTO attribution_events
    SELECT (jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), 'correlation_id', NULL))).*
      FROM attribution_events e WHERE external_event_id IS NOT NULL ORDER BY id LIMIT 3
"""

NOT_STARTED = "the audit cannot start"
UNFIT = {
    "another project": (
        "UPDATE alembic_version SET version_num = 'ae1027a6acf'",
        "revision ae1027a6acf, which this project does not have", "alembic_version",
    ),
    "two revisions": (
        "INSERT INTO alembic_version VALUES ('202511131115')",
        "2 revisions at once: 202511131115, 202511141311", "alembic_version",
    ),
    "no revision": ("DELETE FROM alembic_version", "no revision", "alembic upgrade 202511141311"),
    "early revision": (
        "UPDATE alembic_version SET version_num = '202511131115'", "stands at 202511131115",
        "alembic upgrade 202511141311",
    ),
    "no table of revisions": ("DROP TABLE alembic_version", "no revision"),
    "table dropped": ("DROP TABLE dead_events", "table dead_events is missing"),
    "column dropped": ("ALTER TABLE dead_events DROP COLUMN source", "column dead_events.source is missing"),
    "column of another type": (
        "ALTER TABLE dead_events ALTER COLUMN error_code TYPE varchar(2000)",
        "column dead_events.error_code is character varying(2000), not text",
    ),
    "column there already": (
        "ALTER TABLE tenants ADD COLUMN api_key_hash text", "column tenants.api_key_hash is there already: text;",
        "makes it as character varying(255) NOT NULL",
    ),
    "index there already": (
        "CREATE INDEX idx_tenants_api_key_hash ON tenants (name)",
        "index tenants.idx_tenants_api_key_hash is there already: CREATE INDEX",
        "makes it as CREATE UNIQUE INDEX",
    ),
    "index to be removed is gone": (
        "DROP INDEX idx_attribution_events_tenant_external_event_id",
        "idx_attribution_events_tenant_external_event_id, which the phase removes, is not there",
    ),
    "duplicate external ids": (DUPLICATES, "3 × external ids that occur more than once in a tenant", "merge or rename"),
    "no CREATE": (
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC, pg_database_owner, gatebook_owner",
        "role gatebook_owner may not create in schema public", "GRANT CREATE, USAGE ON SCHEMA public TO gatebook_owner",
    ),
    "no schema": ("ALTER ROLE gatebook_owner IN DATABASE {name} SET search_path = nowhere", "no schema"),
    "table of another": (
        "ALTER TABLE dead_events OWNER TO postgres", "does not own dead_events; connect as postgres",
    ),
    "revision not to be written": (
        "ALTER TABLE alembic_version OWNER TO postgres; GRANT SELECT ON alembic_version TO gatebook_owner",
        "may not write alembic_version",
    ),
}  # fmt: skip


def name_of(database: Database) -> str:
    return database.name.removeprefix("embedded/")


@pytest.mark.parametrize(("damage", "words"), [(damage, words) for damage, *words in UNFIT.values()], ids=UNFIT)
def test_unfit_database_is_refused(
    damage: str,
    words: list[str],
    databases: Databases,
    legacy_copy: Database,
    tmp_path: Path,
    outputs: Path,
    command: Command,
) -> None:
    with databases.maintenance(name_of(legacy_copy)) as connection:
        connection.execute(damage.replace("{name}", name_of(legacy_copy)))
    path = params_file(tmp_path, database=legacy_copy.name)
    with unchanged(legacy_copy), nothing_new(outputs):
        outcome = command("run", "--params", path)
    assert_refused(outcome, NOT_STARTED, f"database {name_of(legacy_copy)}", "nothing was changed", *words)


def test_database_of_another_project_is_refused_by_the_command(
    databases: Databases, legacy_copy: Database, tmp_path: Path, outputs: Path
) -> None:
    with databases.maintenance(name_of(legacy_copy)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ae1027a6acf'")
    with unchanged(legacy_copy), nothing_new(outputs):
        outcome = run_process("gatebook", "run", "--params", params_file(tmp_path, database=legacy_copy.name))
    assert_refused(outcome, "revision ae1027a6acf", "another project")


def test_a_refusal_forgets_no_proof(
    databases: Databases, project: Project, migrated_copy: Database, tmp_path: Path, outputs: Path, command: Command
) -> None:
    states = Store(project, migrated_copy.server).folder
    before = {path.name: path.read_bytes() for path in states.iterdir()}
    with databases.maintenance(name_of(migrated_copy)) as connection:
        connection.execute("DROP TABLE dead_events")
    with unchanged(migrated_copy), nothing_new(outputs):
        outcome = command("run", "--params", params_file(tmp_path, database=migrated_copy.name))
    assert_refused(outcome, "table dead_events is missing")
    assert {path.name: path.read_bytes() for path in states.iterdir()} == before


# -- roles

ROLES = {
    "superuser": ("postgres", "role postgres is not subject to row security", "connect as the tables' owner"),
    "bypassing": ("bad_input_bypass", "role bad_input_bypass is not subject to row security"),
    "stranger": ("bad_input_stranger", "role bad_input_stranger may not create in schema public"),
    "guest": ("bad_input_guest", "role bad_input_guest does not own", "dead_events", "connect as gatebook_owner"),
}


@pytest.fixture
def roles(databases: Databases, legacy_copy: Database) -> Iterator[None]:
    with databases.maintenance(name_of(legacy_copy)) as connection:
        for role in ("bypass BYPASSRLS", "stranger", "guest"):
            connection.execute(f"CREATE ROLE bad_input_{role} LOGIN")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        connection.execute("GRANT CREATE ON SCHEMA public TO bad_input_guest")
        yield
        connection.execute("DROP OWNED BY bad_input_guest")
        connection.execute("DROP ROLE bad_input_bypass, bad_input_stranger, bad_input_guest")


@pytest.mark.parametrize(("role", "words"), [(role, words) for role, *words in ROLES.values()], ids=ROLES)
@pytest.mark.usefixtures("roles")
def test_unfit_role_is_refused(
    role: str,
    words: list[str],
    legacy_copy: Database,
    tmp_path: Path,
    outputs: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = legacy_copy.server_process
    assert server is not None
    monkeypatch.setenv("AUDIT_URL", server.conninfo(name_of(legacy_copy), user=role))
    with unchanged(legacy_copy), nothing_new(outputs):
        outcome = command("run", "--params", params_file(tmp_path, database="AUDIT_URL"))
    assert_refused(outcome, NOT_STARTED, *words)


@pytest.mark.usefixtures("roles", "outputs")
def test_what_the_server_refuses_a_command_is_a_message(
    legacy_copy: Database, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A privilege that is missing where nobody looked for it beforehand is no mistake of gatebook's."""
    server = legacy_copy.server_process
    assert server is not None
    monkeypatch.setenv("AUDIT_URL", server.conninfo(name_of(legacy_copy), user="bad_input_stranger"))
    outcome = command("status", "--database", "AUDIT_URL")

    assert outcome.code == 2
    assert outcome.err == (
        "gatebook: the database refused: permission denied for table alembic_version (SQLSTATE 42501)\n"
    )


def test_superuser_loads_no_scenario(
    databases: Databases, tmp_path: Path, outputs: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = databases.empty()
    assert empty.server_process is not None
    monkeypatch.setenv("AUDIT_URL", empty.server_process.conninfo(name_of(empty), user="postgres"))
    path = params_file(tmp_path, database="AUDIT_URL", scenario=TINY)
    with unchanged(empty), nothing_new(outputs):
        assert_refused(command("run", "--params", path), "not subject to row security")
        assert_refused(command("scenario", "--database", "AUDIT_URL"), "not subject to row security")
    databases.drop(empty)


# -- a server that is too old


def test_server_before_14_is_refused(tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.serving(version=13) as server:
        monkeypatch.setenv("AUDIT_URL", server.url())
        secrets = [server.passwords[postgres.OWNER]]
        path = params_file(tmp_path, database="AUDIT_URL", scenario=TINY)
        with (
            unchanged_behind("superuser", server.url(postgres.SUPERUSER, database="audit")),
            nothing_new(outputs),
        ):
            outcome = run_process("gatebook", "run", "--params", path)
            assert_refused(outcome, "PostgreSQL 13", "older than 14", "nothing was changed", hidden=secrets)


# -- others at work


@contextlib.contextmanager
def night_batch(databases: Databases, database: Database) -> Iterator[int]:
    """Another session in the middle of a transaction that has written to tenants; its process id."""
    assert databases.server.server_process is not None
    conninfo = databases.server.server_process.conninfo(name_of(database), user="postgres")
    with psycopg.connect(conninfo, application_name="night batch") as connection:
        connection.execute("LOCK TABLE tenants IN ROW EXCLUSIVE MODE")
        yield connection.info.backend_pid
        connection.rollback()


def test_lock_of_another_session_is_named_before_the_start(
    databases: Databases, legacy_copy: Database, tmp_path: Path, outputs: Path, command: Command
) -> None:
    path = params_file(tmp_path, database=legacy_copy.name, lock_timeout_ms=200)
    with unchanged(legacy_copy), nothing_new(outputs), night_batch(databases, legacy_copy) as pid:
        outcome = command("run", "--params", path)
    assert_refused(outcome, "gave up waiting for a lock", f"tenants is held by pid {pid} (postgres, night batch")


def test_lock_of_another_session_makes_the_phase_red_and_the_next_run_green(
    databases: Databases,
    legacy_copy: Database,
    tmp_path: Path,
    outputs: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = params_file(tmp_path, database=legacy_copy.name, lock_timeout_ms=500)
    with contextlib.ExitStack() as later, unchanged(legacy_copy):
        pids = []

        def start_batch(_console: terminal.Console, _phase: PhaseDeclaration) -> None:
            pids.append(later.enter_context(night_batch(databases, legacy_copy)))

        with monkeypatch.context() as patched:
            patched.setattr(terminal.Console, "notebook", start_batch)
            outcome = command("run", "--params", path, "--only", "4")
    said = " ".join(outcome.out.split())
    assert (outcome.code, outcome.err) == (2, "")
    assert "LockTimeout: phase 4 gave up waiting for a lock; nothing of it was kept" in said
    assert f"where: tenants is held by pid {pids[0]} (postgres, night batch" in said
    assert "next: wait for or end that session, then run again" in said
    assert results_of(outputs)["verdict"] == "UNKNOWN"
    assert command("run", "--params", path, "--only", "4").code == 0
    assert results_of(outputs)["verdict"] == "PASS"


@pytest.fixture
def slow_statements(databases: Databases, legacy_copy: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A superuser's session in the database, which holds a function that makes statements of a kind take long."""
    with databases.maintenance(name_of(legacy_copy)) as connection:
        connection.execute(
            "CREATE FUNCTION dawdle() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); END'"
        )
        yield connection


def test_statement_timeout_strikes_before_the_start(
    slow_statements: psycopg.Connection[tuple[object, ...]],
    legacy_copy: Database,
    tmp_path: Path,
    outputs: Path,
    command: Command,
) -> None:
    slow_statements.execute(
        "CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE POLICY') EXECUTE FUNCTION dawdle()"
    )
    path = params_file(tmp_path, database=legacy_copy.name, statement_timeout_ms=1000)
    with unchanged(legacy_copy), nothing_new(outputs):
        outcome = command("run", "--params", path)
    assert_refused(outcome, "a statement ran for longer than allowed", "CREATE POLICY", "raise statement_timeout_ms")


def test_statement_timeout_makes_the_phase_red(
    slow_statements: psycopg.Connection[tuple[object, ...]],
    legacy_copy: Database,
    tmp_path: Path,
    outputs: Path,
    command: Command,
) -> None:
    slow_statements.execute(
        "CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION dawdle()"
    )
    path = params_file(tmp_path, database=legacy_copy.name, statement_timeout_ms=1000)
    with unchanged(legacy_copy):
        outcome = command("run", "--params", path, "--only", "4")
    said = " ".join(outcome.out.split())
    assert (outcome.code, outcome.err) == (2, "")
    assert "StatementTimeout: upgrade to 202511151400: a statement ran for longer than allowed" in said
    assert "where: statement starting 'ALTER TABLE tenants" in said
    assert "next: raise statement_timeout_ms" in said
    assert results_of(outputs)["verdict"] == "UNKNOWN"


def results_of(outputs: Path) -> dict[str, object]:
    """What the newest finished run says of itself."""
    found: dict[str, object] = json.loads((outputs / "latest" / "results.json").read_text(encoding="utf-8"))
    return found
