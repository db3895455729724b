"""May the audit start? Server, role, revision, schema and legacy rows, each judged before anything is changed.

The same examinations stand as gates in the first notebook and guard the command line, so that a database which
a phase would fail on is refused while it is still as it was.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from psycopg.sql import Identifier

from gatebook import catalog, migrations
from gatebook.canonical import Canonical
from gatebook.catalog import Query, Rows
from gatebook.declarations import Declared, load
from gatebook.errors import MigrationFailed, PhaseRefused
from gatebook.subject import Examination, Subject, examine
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

OLDEST, NEWEST = 14, 18


class LegacyCheck(Declared):
    """A question to rows that were there before: sql returns one row with a count named rows."""

    says: str
    needs: str
    refuses: bool = False
    until: str
    sql: str


class LegacyChecks(Declared):
    """params/preflight.yaml"""

    checks: dict[str, LegacyCheck]


def server_version(subject: Subject) -> Verdict:
    """PostgreSQL 14 to 18, and not a replica."""
    what = f"the server is PostgreSQL {OLDEST} to {NEWEST} and takes writes"
    have = ({"version": subject.server.version, "is_replica": subject.server.is_replica},)
    want = ({"version": f"{OLDEST} to {NEWEST}", "is_replica": False},)
    if subject.server.major < OLDEST:
        return Fail(what, have, want, f"PostgreSQL {subject.server.version} is older than {OLDEST} and not supported")
    if subject.server.is_replica:
        return Fail(what, have, want, "the server is a replica: migrations run on the primary")
    if subject.server.major > NEWEST:
        return Unknown(what, have, want, f"PostgreSQL {subject.server.version} is newer than what this was tested with")
    return Pass(what, have, want)


def role_attributes(subject: Subject) -> Verdict:
    """No superuser, no BYPASSRLS: the audit must see what users see."""
    what = "the role is neither superuser nor bypasses row security"
    server = subject.server
    have = ({"role": server.role, "superuser": server.is_superuser, "bypassrls": server.bypasses_row_security},)
    want = ({"role": server.role, "superuser": False, "bypassrls": False},)
    if server.is_superuser or server.bypasses_row_security:
        return Fail(
            what, have, want, f"role {server.role} is not subject to row security; connect as the tables' owner"
        )
    return Pass(what, have, want)


PRIVILEGES = """
SELECT pg_catalog.current_schema()::text AS schema,
       coalesce(pg_catalog.has_schema_privilege(pg_catalog.current_schema(), 'CREATE'), false) AS may_create,
       pg_catalog.has_schema_privilege(pg_catalog.current_schema(), 'USAGE') AS may_use,
       coalesce((SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege(revision, privilege))
                   FROM pg_catalog.to_regclass('alembic_version') revision,
                        pg_catalog.unnest(ARRAY['SELECT', 'UPDATE']) privilege), true) AS may_record_revision
"""

NOT_OWNED = (
    catalog.RELATIONS
    + """
SELECT name AS table, owner FROM ours
 WHERE relkind IN ('r', 'p', 'm') AND owner <> current_user ORDER BY name
"""
)


def role_privileges(subject: Subject) -> Verdict:
    """May create in the schema, owns the tables, and may write down the revision."""
    what = "the role may create objects and owns the tables"
    (privileges,) = Query(PRIVILEGES).run(subject.connection)
    foreign = Query(NOT_OWNED).run(subject.connection)
    have = (dict(privileges) | {"tables_of_others": ", ".join(row["table"] for row in foreign)},)
    schema, role = privileges["schema"], subject.server.role
    may = {"may_create": True, "may_use": True, "may_record_revision": True}
    want = ({"schema": schema, **may, "tables_of_others": ""},)
    if schema is None:
        return Fail(what, have, want, f"no schema of the search path is there, or role {role} may use none of them")
    if not privileges["may_create"]:
        reason = f"role {role} may not create in schema {schema}: GRANT CREATE, USAGE ON SCHEMA {schema} TO {role}"
        return Fail(what, have, want, reason)
    if foreign:
        owners = ", ".join(sorted({row["owner"] for row in foreign}))
        return Fail(what, have, want, f"role {role} does not own {have[0]['tables_of_others']}; connect as {owners}")
    if not privileges["may_record_revision"]:
        reason = f"role {role} may not write alembic_version: GRANT SELECT, INSERT, UPDATE, DELETE on it, or own it"
        return Fail(what, have, want, reason)
    return Pass(what, have, want)


def app_roles(subject: Subject) -> Verdict:
    """May act as each role that the canonical schema grants to, so that gates can write as the application would."""
    what = "the role may act as the application's roles"
    wanted = sorted({role for table in subject.canonical.tables.values() for role in table.grants})
    have: Rows = tuple({"role": role, "may_act_as": _may_act_as(subject.connection, role)} for role in wanted)
    want: Rows = tuple({"role": role, "may_act_as": True} for role in wanted)
    barred = [row["role"] for row in have if not row["may_act_as"]]
    if barred:
        roles = ", ".join(barred)
        reason = f"role {subject.server.role} may not act as {roles}: GRANT {roles} TO {subject.server.role}"
        return Fail(what, have, want, reason)
    return Pass(what, have, want) if have else Unknown(what, reason="the canonical schema grants nothing to anybody")


def _may_act_as(connection: sa.Connection, role: str) -> bool:
    savepoint = connection.begin_nested()
    try:
        catalog.execute(connection, f"SET LOCAL ROLE {Identifier(role).as_string()}")
    except sa.exc.DBAPIError:
        return False
    finally:
        savepoint.rollback()
    return True


def revision_known(subject: Subject) -> Verdict:
    """The database stands at the baseline revision or later, in one chain with one head."""
    baseline_revision = subject.canonical.baseline_revision
    what = f"the database stands at revision {baseline_revision} or later"
    try:
        head = migrations.head(subject.project)
        here = migrations.position(subject.project, subject.revision)
    except MigrationFailed as error:
        reason = f"{error.what} ({error.where}): {error.next_step}"
        return Fail(what, (), ({"revision": f"{baseline_revision} or later"},), reason)
    have = ({"revision": subject.revision, "head": head},)
    want = ({"revision": f"{baseline_revision} or later", "head": head},)
    if here < migrations.position(subject.project, baseline_revision):
        reason = (
            f"the database stands at {subject.revision or 'no revision'}: bring it to {baseline_revision} with "
            f"`alembic upgrade {baseline_revision}`, or load the demo rows with `gatebook scenario`"
        )
        return Fail(what, have, want, reason)
    return Pass(what, have, want)


def schema_ready(subject: Subject) -> Verdict:
    """What the pending phases build on is there, and what they make is not."""
    what = "the schema is what the pending phases start from"
    pending = subject.pending()
    snapshot = catalog.snapshot(subject.connection)
    problems = _missing_basis(subject.canonical, snapshot)
    for phase in pending:
        known = {problem for _, problem in problems}
        found = subject.canonical.conflicts(snapshot, phase, pending=pending)
        problems += [(phase, text) for text in found if text not in known]
    have = tuple({"phase": phase, "problem": text} for phase, text in problems)
    if problems:
        return Fail(what, have, (), "; ".join(text for _, text in problems))
    seen = ({"tables": sum(kind == "table" for kind, _ in snapshot), "pending_phases": ", ".join(pending) or "none"},)
    return Pass(what, seen, ())


def legacy_rows(subject: Subject) -> Verdict:
    """Rows that a phase must treat with care are counted; rows that it would fail on are refused."""
    what = "no legacy row would make a phase fail"
    pending = subject.pending()
    rows: list[dict[str, Any]] = []
    for name, check in load(LegacyChecks, subject.project.params / "preflight.yaml").checks.items():
        subject.gates.phase(check.until)  # an error for one nobody declares: its question would never be asked
        if check.until in pending:
            counted = catalog.execute(subject.connection, check.sql).scalar_one()
            rows.append({"check": name, "phase": check.until, "rows": counted, "needs": check.needs, "_": check})
    refused = [row for row in rows if row["_"].refuses and row["rows"]]
    have = tuple({key: value for key, value in row.items() if key != "_"} for row in rows)
    if refused:
        return Fail(what, have, (), "; ".join(f"{row['rows']:,} × {row['_'].says}: {row['needs']}" for row in refused))
    return Pass(what, have or ({"check": "none pending", "phase": "", "rows": 0, "needs": "nothing"},), ())


ROW_COUNTS = "SELECT count(*) FROM {table}"

UPDATE_TRIGGERS = (
    catalog.RELATIONS
    + """
SELECT o.name AS table, t.tgname::text AS trigger, t.tgenabled::text AS enabled, p.proname::text AS function,
       pg_catalog.pg_has_role(o.relowner, 'USAGE') AS may_suspend
  FROM ours o
  JOIN pg_catalog.pg_trigger t ON t.tgrelid = o.oid AND NOT t.tgisinternal
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
 WHERE t.tgtype & 16 = 16 AND t.tgenabled <> 'D' ORDER BY o.name, t.tgname
"""
)


def update_triggers(subject: Subject) -> Verdict:
    """Triggers that could refuse or swallow a backfill are listed; a phase must be able to suspend them."""
    what = "every trigger in the way of a backfill can be suspended"
    touched = {table for phase in subject.pending() for table in subject.canonical.touched(phase)}
    rows = tuple(row for row in Query(UPDATE_TRIGGERS).run(subject.connection) if row["table"] in touched)
    stuck = [row for row in rows if not row["may_suspend"]]
    want = tuple({**row, "may_suspend": True} for row in rows)
    if stuck:
        return Fail(what, rows, want, f"only the owner may suspend: {', '.join(row['trigger'] for row in stuck)}")
    none: Rows = ({"table": "none", "trigger": "", "enabled": "", "function": "", "may_suspend": True},)
    return Pass(what, rows or none, want or none)


def row_counts(subject: Subject) -> Verdict:
    """How many rows each table holds; over empty ones phases would prove nothing about their backfills."""
    what = "the tables that phases backfill hold rows"
    names = [row["table"] for row in catalog.tables().run(subject.connection)]
    backfilled = {table for phase in subject.gates.migrating() for table in subject.canonical.backfills(phase.phase)}
    have = tuple(
        {"table": name, "rows": catalog.execute(subject.connection, ROW_COUNTS.format(table=name)).scalar_one()}
        for name in names
    )
    filled = {row["table"] for row in have if row["rows"]}
    if not backfilled & filled:
        reason = (
            f"no rows in {', '.join(sorted(backfilled))}: audit a filled copy, or load rows with `gatebook scenario`"
        )
        return Unknown(what, have, (), reason)
    return Pass(what, have, ())


SERVER: tuple[Examination, ...] = (server_version, role_attributes)

EXAMINATIONS: tuple[Examination, ...] = (
    *SERVER,
    role_privileges,
    app_roles,
    revision_known,
    schema_ready,
    update_triggers,
    legacy_rows,
)


def refuse_if_unfit(subject: Subject, examinations: Sequence[Examination] = EXAMINATIONS) -> None:
    """All examinations, ending with the first that is not green.

    Errors  PhaseRefused, LockTimeout, StatementTimeout, MigrationFailed: the database is as it was
    """
    for examination in examinations:
        verdict = _examined(subject, examination)
        if not verdict.is_green:
            raise PhaseRefused(
                f"the audit cannot start: {verdict.reason}",
                where=f"database {subject.server.database}, checking that {verdict.what}",
                next_step="mend that and run again; nothing was changed",
            )


def _examined(subject: Subject, examination: Examination) -> Verdict:
    try:
        return examine(subject, examination, all_rows=examination is legacy_rows)
    except sa.exc.DBAPIError as error:
        doing = f"the check {examination.__name__} before the audit"
        raise migrations.translate(error, doing=doing, connection=subject.connection) from error


def _missing_basis(canonical: Canonical, snapshot: catalog.Snapshot) -> list[tuple[str, str]]:
    """Tables and columns from before the first phase that are gone or of another type."""
    problems = []
    for table, declared in canonical.tables.items():
        if declared.phase is not None:
            continue
        if ("table", table) not in snapshot:
            problems.append(("", f"table {table} is missing"))
            continue
        for name, column in declared.columns.items():
            have = snapshot.get(("column", f"{table}.{name}"))
            if column.phase is None and (have is None or have["type"] != column.type):
                seen = "missing" if have is None else f"{have['type']}, not {column.type}"
                problems.append(("", f"column {table}.{name} is {seen}"))
    return problems
