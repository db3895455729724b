"""Single mutations of a correctly migrated database, each made on a copy: a gate goes red, and it is the one named.

The larger part of the table follows from the canonical schema, so that no object is forgotten: columns, types,
defaults, constraints, indexes, comments, policies, grants, and one value of every column. Subtle ones are written out.

A mutation names the tests that must go red; the notebooks that hold them are run. Phases 4 to 8a are judged by what
the next phase found, so a fault that is theirs is also made while they are the last one: `at` names that phase.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from types import SimpleNamespace

import pytest
from psycopg import sql

from conftest import ROOT, Databases, run_notebook
from gatebook import migrations
from gatebook.canonical import ColumnDeclaration, TableDeclaration, load_canonical
from gatebook.database import Database
from gatebook.declarations import load, load_gates
from gatebook.project import Project

CANONICAL = load_canonical(Project.find(ROOT))
GATES = load_gates(Project.find(ROOT))
SPECIFIED = [phase for phase in GATES.phases if phase.phase != "P"]


@dataclass(frozen=True)
class Mutation:
    """One thing done to a database by its superuser.

    red     ids of the tests that must not be green afterwards, separated by blanks
    reason  what the first of them has to say, in part
    at      phase after which it happens; "" for a database that has had all
    since   major version of the first server that knows such a thing
    """

    name: str
    sql: str
    red: str
    reason: str = ""
    at: str = ""
    since: int = 0

    @property
    def tests(self) -> list[str]:
        return self.red.split()


# -- the tests that speak about an object -----------------------------------------------------------------------------

DIVERGENCE = {"BLOCKING": "C.1.2", "HIGH": "C.1.3", "LOW": "C.1.4"}
BACKFILL = {"4": "4.B.1", "5": "5.1.2", "6": "6.1.2", "7": "7.B.1", "8a": "8a.B.1"}
COLUMNS = {"5": "5.1.1", "6": "6.1.1", "7": "7.1.1", "8a": "8a.1.1", "8b": "8b.1.2"}
OF_COLUMN = {"tenants.api_key_hash": "4.1.1", "tenants.notification_email": "4.1.2"}
OF_COMMENT = {"tenants.api_key_hash": "4.4.1", "tenants.notification_email": "4.4.2"}
OF_NULL = {
    "tenants.api_key_hash": "4.3.1",
    "tenants.notification_email": "4.3.2",
    "revenue_ledger.transaction_id": "7.4.1",
    "revenue_ledger.state": "7.4.2",
    "revenue_ledger.amount_cents": "7.4.3",
    "revenue_ledger.currency": "7.4.4",
    "revenue_ledger.verification_source": "7.4.5",
    "revenue_ledger.verification_timestamp": "7.4.6",
}
# when it is gone, when it is weaker than it should be
OF_OBJECT = {
    "idx_tenants_api_key_hash": ("4.2.1 4.2.2 R.7.1", "4.2.1 4.2.2"),
    "idx_events_idempotency": ("5.2.1 5.2.2 R.2.1 R.6.1 R.7.1", "5.2.1 5.2.2"),
    "idx_events_tenant_timestamp": ("5.6.1 R.7.1", "5.6.1"),
    "idx_events_processing_status": ("5.6.2 R.7.1", "5.6.2"),
    "idx_allocations_channel_performance": ("6.3.1 R.7.1", "6.3.1"),
    "idx_revenue_ledger_transaction_id": ("7.2.1 7.2.2 R.7.2", "7.2.1 7.2.2"),
    "idx_revenue_ledger_state": ("7.5.1 R.7.2", "7.5.1 R.7.2"),
    "idx_revenue_ledger_tenant_state": ("7.5.1 R.7.2", "7.5.1"),
    "idx_dead_events_remediation": ("8a.3.1 R.7.2", "8a.3.1"),
    "idx_revenue_state_transitions_ledger_id": ("8b.3.1 R.7.2", "8b.3.1"),
    "ck_attribution_events_processing_status_valid": ("5.4.1", "5.4.1"),
    "ck_attribution_events_retry_count_positive": ("5.4.5", "5.4.5"),
    "ck_allocations_confidence_score": ("6.2.1 6.2.2", "6.2.1 6.2.2"),
    "ck_revenue_ledger_state_valid": ("7.3.1", "7.3.1"),
    "ck_dead_events_remediation_status_valid": ("8a.2.1", "8a.2.1"),
    "ck_dead_events_retry_count_positive": ("8a.2.3", "8a.2.3"),
    "revenue_state_transitions_ledger_id_fkey": ("8b.2.1 8b.2.2", "8b.2.1 8b.2.2"),
}
WRITTEN_BY_APP_RW = (
    "attribution_events", "attribution_allocations", "revenue_ledger", "dead_events", "revenue_state_transitions",
)  # fmt: skip


def _phase(table: str, column: ColumnDeclaration) -> str | None:
    return column.phase or CANONICAL.tables[table].phase


def _of_column(where: str, phase: str | None) -> str:
    """The test of a column that a phase adds; for one that was there before, the last look at the whole catalog."""
    return OF_COLUMN.get(where) or COLUMNS.get(phase or "", "8b.S.1")


def _divergence(column: ColumnDeclaration) -> str:
    return DIVERGENCE[CANONICAL.severities[column.invariant]]


# -- mutations that follow from the canonical schema ------------------------------------------------------------------


def _columns() -> Iterator[Mutation]:
    for table, declared in CANONICAL.tables.items():
        for name, column in declared.columns.items():
            where, alter = f"{table}.{name}", f"ALTER TABLE {table} ALTER COLUMN {name}"
            phase = _phase(table, column)
            compared = _divergence(column)
            red = _of_column(where, phase) if phase else compared
            dropped = f"ALTER TABLE {table} DROP COLUMN {name} CASCADE"
            yield Mutation(f"{where} dropped", dropped, f"{_of_column(where, phase)} {compared}" if phase else compared)
            if not column.nullable and name not in ("id", "code"):
                also = OF_NULL.get(where, "5.3.1 5.3.2" if name == "session_id" else "")
                yield Mutation(f"{where} nullable", f"{alter} DROP NOT NULL", f"{red} {also}")
            if column.default is not None:
                yield Mutation(f"{where} without its default", f"{alter} DROP DEFAULT", red)
            if phase is not None:
                yield from _of_added_column(table, name, column, phase)


def _of_added_column(table: str, name: str, column: ColumnDeclaration, phase: str) -> Iterator[Mutation]:
    where, alter = f"{table}.{name}", f"ALTER TABLE {table} ALTER COLUMN {name}"
    red = _of_column(where, phase)
    if name != "ledger_id":  # its policy and its foreign key would have to go first
        yield Mutation(f"{where} of another type", f"{alter} TYPE {_another_type(column.type)}", red)
    if column.default is not None:
        yield Mutation(f"{where} with another default", f"{alter} SET DEFAULT {_another_default(column)}", red)
    comment = OF_COMMENT.get(where, "5.1.3" if phase == "5" else "")
    yield Mutation(f"{where} without its comment", f"COMMENT ON COLUMN {where} IS NULL", f"{comment} R.4.1 R.8.1")


def _another_type(have: str) -> str:
    """A type near to this one: a character or a digit more, a second cousin."""
    if found := re.fullmatch(r"character varying\((\d+)\)", have):
        return f"varchar({int(found[1]) + 1})"
    if found := re.fullmatch(r"numeric\((\d+),(\d+)\)", have):
        return f"numeric({int(found[1]) + 1},{found[2]})"
    near = {"uuid": "text", "text": "varchar(9999)", "integer": "bigint", "boolean": "text", "jsonb": "json"}
    return near.get(have) or "timestamp(3) with time zone"


def _another_default(column: ColumnDeclaration) -> str:
    other = {"integer": "1", "boolean": "true", "uuid": "'00000000-0000-4000-8000-000000000000'"}
    return other.get(column.type) or ("'epoch'" if "timestamp" in column.type else "'xxx'")


def _constraints() -> Iterator[Mutation]:
    for table, declared in CANONICAL.tables.items():
        for name, thing in declared.constraints.items():
            gone, weaker = OF_OBJECT.get(name, ("R.4.1", "R.4.1"))
            dropped = f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE"
            yield Mutation(f"{name} dropped", dropped, f"{gone} R.3.1")
            if not thing.definition.startswith("PRIMARY KEY"):
                replaced = _constraint(table, name, _weaker_constraint(thing.definition))
                yield Mutation(f"{name} weaker", replaced, f"{weaker} R.3.1")
                unproven = _constraint(table, name, f"{thing.definition} NOT VALID")
                yield Mutation(f"{name} not valid", unproven, "R.3.1 R.4.1")
            if thing.phase or declared.phase:
                bare = f"COMMENT ON CONSTRAINT {name} ON {table} IS NULL"
                yield Mutation(f"{name} without its comment", bare, "R.4.1 R.8.1")


def _weaker_constraint(definition: str) -> str:
    if definition.startswith("CHECK"):
        return "CHECK (true)"
    cascade = " ON DELETE CASCADE"
    return definition.replace(cascade, "") if cascade in definition else f"{definition}{cascade}"


def _constraint(table: str, name: str, definition: str) -> str:
    """Put another definition in the place of a constraint, and its comment back."""
    comment = _literal(CANONICAL.tables[table].constraints[name].comment)
    return (
        f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {definition}; "
        f"COMMENT ON CONSTRAINT {name} ON {table} IS {comment}"
    )


def _indexes() -> Iterator[Mutation]:
    tables = {**CANONICAL.tables, **CANONICAL.materialized_views}
    for table, declared in tables.items():
        compared = "R.3.1" if isinstance(declared, TableDeclaration) else "R.4.1"
        for name, thing in declared.indexes.items():
            gone, weaker = OF_OBJECT.get(name, ("R.4.1", "R.4.1"))
            yield Mutation(f"{name} dropped", f"DROP INDEX {name}", f"{gone} {compared}")
            replaced = _index(name, _weaker_index(thing.definition))
            yield Mutation(f"{name} weaker", replaced, f"{weaker} {compared}")
            if thing.phase or getattr(declared, "phase", None):
                yield Mutation(f"{name} without its comment", f"COMMENT ON INDEX {name} IS NULL", "R.4.1 R.8.1")


def _weaker_index(definition: str) -> str:
    """No longer unique, or in another order, or without its predicate, or with one."""
    for much in (" UNIQUE", " DESC"):
        if much in definition:
            return definition.replace(much, "", 1)
    return definition.partition(" WHERE ")[0] if " WHERE " in definition else f"{definition} WHERE false"


def _index(name: str, definition: str) -> str:
    """Put another definition in the place of an index, and its comment back."""
    tables = [*CANONICAL.tables.values(), *CANONICAL.materialized_views.values()]
    (comment,) = [_literal(table.indexes[name].comment) for table in tables if name in table.indexes]
    return f"DROP INDEX {name}; {definition}; COMMENT ON INDEX {name} IS {comment}"


def _removed_indexes() -> Iterator[Mutation]:
    for declared in CANONICAL.tables.values():
        for name, thing in declared.removed_indexes.items():
            yield Mutation(f"{name} still there", thing.definition, "5.5.1 8b.S.1")


def _row_security() -> Iterator[Mutation]:
    for table, declared in CANONICAL.tables.items():
        stolen = "R.5.4" if table == "attribution_events" else "R.4.1"
        if declared.row_security["enabled"]:
            off, lax = (f"ALTER TABLE {table} {how} ROW LEVEL SECURITY" for how in ("DISABLE", "NO FORCE"))
            yield Mutation(f"{table} without row security", off, f"R.4.1 {stolen}")
            yield Mutation(f"{table} without forced row security", lax, "8b.S.1")
        if "tenant_isolation_policy" in declared.policies:
            written = "R.5.1" if table in WRITTEN_BY_APP_RW else "R.4.1"
            policy, ours = f"tenant_isolation_policy ON {table}", f"maintenance_policy ON {table}"
            opened = f"ALTER POLICY {policy} USING (true) WITH CHECK (true)"
            yield Mutation(f"{table} without tenant isolation", f"DROP POLICY {policy}", f"R.4.1 {written}")
            yield Mutation(f"{table} with tenant isolation of all", opened, f"R.4.1 {stolen}")
            yield Mutation(f"{table} without maintenance policy", f"DROP POLICY {ours}", "8b.S.1 8b.D.1")
            yield Mutation(f"{table} with maintenance by anybody", f"ALTER POLICY {ours} TO PUBLIC", f"R.4.1 {stolen}")
            yield Mutation(f"{table} with a policy without comment", f"COMMENT ON POLICY {ours} IS NULL", "R.4.1 R.8.1")


def _grants() -> Iterator[Mutation]:
    for table, declared in {**CANONICAL.tables, **CANONICAL.materialized_views}.items():
        written = "R.5.1" if table in WRITTEN_BY_APP_RW else "R.4.1"
        for role, privileges in declared.grants.items():
            lost, also = ("INSERT", written) if "INSERT" in privileges else ("SELECT", "R.4.1")
            yield Mutation(
                f"{role} may no longer {lost} {table}", f"REVOKE {lost} ON {table} FROM {role}", f"R.4.1 {also}"
            )
        yield Mutation(f"PUBLIC may read {table}", f"GRANT SELECT ON {table} TO PUBLIC", "8b.S.1")


def _comments() -> Iterator[Mutation]:
    kinds = {"TABLE": CANONICAL.tables, "MATERIALIZED VIEW": CANONICAL.materialized_views}
    for kind, relations in kinds.items():
        for name in relations:
            yield Mutation(f"{name} without its comment", f"COMMENT ON {kind} {name} IS NULL", "8b.S.1")


# -- mutations of rows ------------------------------------------------------------------------------------------------

SWAPPED = {
    "tenants": "name",
    "attribution_events": "revenue_cents",
    "channel_taxonomy": "name",
    "attribution_allocations": "allocated_revenue_cents",
    "revenue_ledger": "revenue_cents",
    "dead_events": "error_code",
    "reconciliation_runs": "last_run_at",
}
ANOTHER_VALUE = {
    "attribution_events.processing_status": "'failed'",
    "attribution_events.currency": "'EUR'",
    "attribution_allocations.allocation_ratio": "1 - {} / 2",
    "attribution_allocations.confidence_score": "1 - {} / 2",
    "revenue_ledger.state": "'refunded'",
    "revenue_ledger.currency": "'EUR'",
    "dead_events.remediation_status": "'ignored'",
    "reconciliation_runs.state": "CASE {} WHEN 'idle' THEN 'failed' ELSE 'idle' END",
}
ANOTHER_OF_TYPE = {
    "uuid": "gen_random_uuid()",
    "integer": "coalesce({}, 0) + 1",
    "numeric(5,4)": "coalesce({}, 0) + 1",
    "boolean": "NOT {}",
    "jsonb": """coalesce({}, '{{}}') || '{{"mutant": 1}}'""",
    "timestamp with time zone": "coalesce({}, now()) + interval '1 microsecond'",
}
# Exactly this is done: no foreign key follows, and none refuses.
ALONE = "SET session_replication_role = replica; "


def _first(table: str) -> str:
    return f"ctid = (SELECT min(ctid) FROM {table})"


def _rows() -> Iterator[Mutation]:
    for table, column in SWAPPED.items():
        key = "code" if table == "channel_taxonomy" else "id"
        pair = f"WITH pair AS (SELECT DISTINCT ON ({column}) {key}, {column} FROM {table} ORDER BY {column} LIMIT 2)"
        swap = (
            f"{pair} UPDATE {table} t SET {column} = o.{column} FROM pair m, pair o WHERE t.{key} = m.{key} AND o <> m"
        )
        lost = f"{ALONE}DELETE FROM {table} WHERE {_first(table)}"
        yield Mutation(f"a row of {table} lost", lost, "8b.D.1", reason=table)
        yield Mutation(f"two values of {table}.{column} swapped", swap, "8b.D.1", reason="values moved between rows")


def _values() -> Iterator[Mutation]:
    for table in SWAPPED:
        for name, column in CANONICAL.tables[table].columns.items():
            changed = _another_value(f"{table}.{name}", column).format(name)
            update = f"{ALONE}UPDATE {table} SET {name} = {changed} WHERE {_first(table)}"
            red = f"{BACKFILL[column.phase]} 8b.D.1" if column.phase else "8b.D.1"
            yield Mutation(f"a value of {table}.{name} changed", update, red, reason=name)


def _another_value(where: str, column: ColumnDeclaration) -> str:
    return ANOTHER_VALUE.get(where) or ANOTHER_OF_TYPE.get(column.type) or "coalesce({}, '') || 'x'"


# -- mutations of a phase's work before the next one ------------------------------------------------------------------

COMMENTED = {
    "4": "tenants.notification_email",
    "5": "attribution_events.session_id",
    "6": "attribution_allocations.verified",
    "7": "revenue_ledger.metadata",
    "8a": "dead_events.resolved_at",
}


def _phases() -> Iterator[Mutation]:
    for phase, column in COMMENTED.items():
        done = {
            "lost a row": (f"{ALONE}DELETE FROM reconciliation_runs WHERE {_first('reconciliation_runs')}", "D.1"),
            "changed a value": ("UPDATE channel_taxonomy SET name = 'Direkt' WHERE code = 'direct'", "D.1"),
            "added a column": ("ALTER TABLE reconciliation_runs ADD COLUMN more text", "S.1"),
            "dropped an index": ("DROP INDEX idx_tenants_name", "S.1"),
            "left a comment out": (f"COMMENT ON COLUMN {column} IS NULL", "S.1"),
            "took a right away": ("REVOKE SELECT ON tenants FROM app_ro", "S.1"),
        }
        for what, (statement, test) in done.items():
            yield Mutation(f"phase {phase} {what}", statement, f"{phase}.{test}", at=phase)


# -- mutations written out --------------------------------------------------------------------------------------------


def _literal(text: str | None) -> str:
    return sql.Literal(text).as_string()


def _trigger(table: str, body: str, *, when: str = "BEFORE INSERT") -> str:
    return (
        f"CREATE FUNCTION mutant() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$; "
        f"CREATE TRIGGER mutant {when} ON {table} FOR EACH ROW EXECUTE FUNCTION mutant()"
    )


def _one_of(column: str, *values: str) -> str:
    return f"CHECK ({column} IN ({', '.join(map(_literal, values))}))"


EVENTS, ALLOCATIONS, LEDGER = "attribution_events", "attribution_allocations", "revenue_ledger"
STATUS, COUNT = "ck_attribution_events_processing_status_valid", "ck_attribution_events_retry_count_positive"
STATES = ("authorized", "captured", "refunded", "chargeback")
IDEMPOTENCY = "CREATE UNIQUE INDEX idx_events_idempotency ON attribution_events"
BY_TIME = "CREATE INDEX idx_events_tenant_timestamp ON attribution_events"
PENDING = "CREATE INDEX idx_events_processing_status ON attribution_events"
PERFORMANCE = "CREATE INDEX idx_allocations_channel_performance ON attribution_allocations"
LEDGER_STATE = "CREATE INDEX idx_revenue_ledger_tenant_state ON revenue_ledger"
FOLLOWS = "FOREIGN KEY (ledger_id) REFERENCES revenue_ledger(id)"
TRANSITIONS_KEY = ("revenue_state_transitions", "revenue_state_transitions_ledger_id_fkey")

SUBTLE_INDEXES = [
    Mutation(
        "idempotency per tenant",
        _index("idx_events_idempotency", f"{IDEMPOTENCY} (tenant_id, idempotency_key)"),
        "5.2.1 8b.S.1",
        reason="columns is ['tenant_id', 'idempotency_key']",
    ),
    Mutation(
        "idempotency of some rows",
        _index("idx_events_idempotency", f"{IDEMPOTENCY} (idempotency_key) WHERE currency <> 'USD'"),
        "5.2.2 5.2.1",
        reason="the write was accepted",
    ),
    Mutation(
        "idempotency of a digest",
        _index("idx_events_idempotency", f"{IDEMPOTENCY} (md5(idempotency_key))"),
        "5.2.1 R.3.1",
    ),
    Mutation(
        "idempotency with a column of payload",
        _index("idx_events_idempotency", f"{IDEMPOTENCY} (idempotency_key) INCLUDE (id)"),
        "5.2.1 R.3.1",
    ),
    Mutation(
        "idempotency index invalid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_events_idempotency'::regclass",
        "5.2.1 8b.S.1",
        reason="is_valid is False",
    ),
    Mutation(
        "idempotency index no longer kept up",
        "UPDATE pg_index SET indisvalid = false, indisready = false "
        "WHERE indexrelid = 'idx_events_idempotency'::regclass",
        "5.2.2 5.2.1",
    ),
    Mutation(
        "an index from before invalid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_tenants_name'::regclass",
        "8b.S.1",
    ),
    Mutation("idempotency index renamed", "ALTER INDEX idx_events_idempotency RENAME TO other", "5.2.1 5.2.2"),
    Mutation(
        "idempotency by a constraint",
        "ALTER TABLE attribution_events ADD CONSTRAINT idx_events_idempotency UNIQUE USING INDEX idx_events_idempotency",
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "idempotency index of another filling",
        "ALTER INDEX idx_events_idempotency SET (fillfactor = 50)",
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "api_key_hash unique in pairs",
        _index(
            "idx_tenants_api_key_hash", "CREATE UNIQUE INDEX idx_tenants_api_key_hash ON tenants (api_key_hash, id)"
        ),
        "4.2.2 4.2.1",
        reason="the write was accepted",
    ),
    Mutation(
        "transaction_id unique among captured",
        _index(
            "idx_revenue_ledger_transaction_id",
            "CREATE UNIQUE INDEX idx_revenue_ledger_transaction_id ON revenue_ledger (transaction_id) "
            "WHERE state = 'captured'",
        ),
        "7.2.2 7.2.1",
    ),
    Mutation(
        "event index with keys the other way round",
        _index("idx_events_tenant_timestamp", f"{BY_TIME} (event_timestamp DESC, tenant_id)"),
        "5.6.1 R.3.1",
    ),
    Mutation(
        "event index with NULLs last",
        _index("idx_events_tenant_timestamp", f"{BY_TIME} (tenant_id, event_timestamp DESC NULLS LAST)"),
        "5.6.1 R.3.1",
    ),
    Mutation(
        "event index by another method",
        _index("idx_events_tenant_timestamp", f"{BY_TIME} USING brin (tenant_id, event_timestamp)"),
        "5.6.1 R.7.1",
    ),
    Mutation(
        "pending index of the failed",
        _index(
            "idx_events_processing_status",
            f"{PENDING} (processing_status, processed_at) WHERE processing_status = 'failed'",
        ),
        "5.6.2 R.7.1",
        reason="predicate is",
    ),
    Mutation(
        "pending index without its second key",
        _index("idx_events_processing_status", f"{PENDING} (processing_status) WHERE processing_status = 'pending'"),
        "5.6.2 R.3.1",
    ),
    Mutation(
        "channel index without confidence",
        _index(
            "idx_allocations_channel_performance",
            f"{PERFORMANCE} (tenant_id, channel_code, created_at DESC) INCLUDE (allocated_revenue_cents)",
        ),
        "6.3.1 R.3.1",
        reason="included is ['allocated_revenue_cents']",
    ),
    Mutation(
        "channel index with its payload as keys",
        _index(
            "idx_allocations_channel_performance",
            f"{PERFORMANCE} (tenant_id, channel_code, created_at DESC, allocated_revenue_cents, confidence_score)",
        ),
        "6.3.1 R.3.1",
    ),
    Mutation(
        "channel index with its payload the other way round",
        _index(
            "idx_allocations_channel_performance",
            f"{PERFORMANCE} (tenant_id, channel_code, created_at DESC) "
            "INCLUDE (confidence_score, allocated_revenue_cents)",
        ),
        "6.3.1 R.3.1",
    ),
    Mutation(
        "ledger index without its tenant",
        _index("idx_revenue_ledger_tenant_state", f"{LEDGER_STATE} (state, created_at DESC)"),
        "7.5.1 8b.S.1",
    ),
    Mutation(
        "ledger index unique",
        _index(
            "idx_revenue_ledger_tenant_state",
            "CREATE UNIQUE INDEX idx_revenue_ledger_tenant_state "
            "ON revenue_ledger (tenant_id, state, created_at DESC, id)",
        ),
        "7.5.1 R.3.1",
    ),
    Mutation("an index more", "CREATE INDEX more ON tenants (notification_email)", "8b.S.1"),
    Mutation(
        "channel index of low severity",
        "DROP INDEX idx_attribution_allocations_channel_code",
        "C.1.3",
    ),
]

SUBTLE_CONSTRAINTS = [
    Mutation(
        "processing_status may be invalid_status",
        _constraint(EVENTS, STATUS, _one_of("processing_status", "pending", "processed", "failed", "invalid_status")),
        "5.4.1 C.1.2",
        reason="the write was accepted",
    ),
    Mutation(
        "processing_status may be archived",
        _constraint(EVENTS, STATUS, _one_of("processing_status", "pending", "processed", "failed", "archived")),
        "C.1.2 8b.S.1",
        reason=STATUS,
    ),
    Mutation(
        "processing_status may not be failed",
        _constraint(EVENTS, STATUS, _one_of("processing_status", "pending", "processed")),
        "5.4.4",
        reason="the write was rejected",
    ),
    Mutation(
        "processing_status may not be pending",
        _constraint(EVENTS, STATUS, _one_of("processing_status", "failed", "processed")),
        "5.4.2 R.5.1",
    ),
    Mutation(
        "processing_status may be processed only when done",
        f"ALTER TABLE {EVENTS} ADD CHECK (processing_status <> 'processed' OR event_type = 'unknown')",
        "5.4.3 8b.S.1",
    ),
    Mutation(
        "processing_status check of another name",
        f"ALTER TABLE {EVENTS} RENAME CONSTRAINT {STATUS} TO other",
        "5.4.1",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "processing_status check not inherited",
        _constraint(EVENTS, STATUS, f"{_one_of('processing_status', 'pending', 'processed', 'failed')} NO INHERIT"),
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "retry_count may be -1",
        _constraint(EVENTS, COUNT, "CHECK (retry_count >= -1)"),
        "5.4.5",
        reason="the write was accepted",
    ),
    Mutation(
        "retry_count of dead events may be -1",
        _constraint("dead_events", "ck_dead_events_retry_count_positive", "CHECK (retry_count >= -1)"),
        "8a.2.3",
    ),
    Mutation(
        "confidence up to 2",
        _constraint(
            ALLOCATIONS, "ck_allocations_confidence_score", "CHECK (confidence_score >= 0 AND confidence_score <= 2)"
        ),
        "6.2.1",
        reason="the write was accepted",
    ),
    Mutation(
        "confidence down to -1",
        _constraint(
            ALLOCATIONS, "ck_allocations_confidence_score", "CHECK (confidence_score >= -1 AND confidence_score <= 1)"
        ),
        "6.2.2",
    ),
    Mutation(
        "confidence above 0",
        _constraint(
            ALLOCATIONS, "ck_allocations_confidence_score", "CHECK (confidence_score > 0 AND confidence_score <= 1)"
        ),
        "6.2.3",
        reason="the write was rejected",
    ),
    Mutation(
        "state may be invalid_state",
        _constraint(LEDGER, "ck_revenue_ledger_state_valid", _one_of("state", *STATES, "invalid_state")),
        "7.3.1",
    ),
    Mutation(
        "state may not be chargeback",
        _constraint(LEDGER, "ck_revenue_ledger_state_valid", _one_of("state", *STATES[:3])),
        "7.3.2",
    ),
    Mutation(
        "remediation may not be ignored",
        _constraint(
            "dead_events",
            "ck_dead_events_remediation_status_valid",
            _one_of("remediation_status", "pending", "in_progress", "resolved"),
        ),
        "8a.2.2",
    ),
    Mutation(
        "transitions follow no delete",
        _constraint(*TRANSITIONS_KEY, f"{FOLLOWS} ON DELETE RESTRICT"),
        "8b.2.2 8b.2.1",
        reason="the delete was rejected",
    ),
    Mutation(
        "transitions follow a change of key",
        _constraint(*TRANSITIONS_KEY, f"{FOLLOWS} ON UPDATE CASCADE ON DELETE CASCADE"),
        "8b.2.1 C.1.2",
    ),
    Mutation(
        "transitions checked at commit",
        _constraint(*TRANSITIONS_KEY, f"{FOLLOWS} ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"),
        "8b.2.1 C.1.2",
    ),
    Mutation(
        "a key of dead events that is not primary",
        "ALTER TABLE dead_events DROP CONSTRAINT dead_events_pkey, ADD CONSTRAINT dead_events_pkey UNIQUE (id); "
        "COMMENT ON CONSTRAINT dead_events_pkey ON dead_events IS 'One row for each dead event.'",
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "an allocation's event no longer looked up",
        f"ALTER TABLE {ALLOCATIONS} DISABLE TRIGGER ALL",
        "8b.S.1",
    ),
    Mutation("a ledger entry's transitions left behind", f"ALTER TABLE {LEDGER} DISABLE TRIGGER ALL", "8b.2.2"),
    Mutation("a constraint more", "ALTER TABLE tenants ADD UNIQUE (notification_email)", "8b.S.1"),
]

SUBTLE_COLUMNS = [
    Mutation(
        "confidence_score with a digit less",
        f"ALTER TABLE {ALLOCATIONS} ALTER COLUMN confidence_score TYPE numeric(4,2)",
        "6.1.1 6.1.2 8b.D.1",
    ),
    Mutation(
        "confidence_score of any precision",
        f"ALTER TABLE {ALLOCATIONS} ALTER COLUMN confidence_score TYPE numeric",
        "6.1.1 C.1.3",
        reason="type is 'numeric'",
    ),
    Mutation(
        "api_key_hash shorter",
        "ALTER TABLE tenants ALTER COLUMN api_key_hash TYPE varchar(128)",
        "4.1.1 C.1.2",
    ),
    Mutation(
        "api_key_hash as text",
        "ALTER TABLE tenants ALTER COLUMN api_key_hash TYPE text",
        "4.1.1 C.1.2",
        reason="type is 'text'",
    ),
    Mutation("session_id as text", f"ALTER TABLE {EVENTS} ALTER COLUMN session_id TYPE text", "5.3.2 C.1.2"),
    Mutation(
        "session_id with a default",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id SET DEFAULT gen_random_uuid()",
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "session_id NULL in one row",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id DROP NOT NULL; "
        f"UPDATE {EVENTS} SET session_id = NULL WHERE {_first(EVENTS)}",
        "8b.D.1 5.3.1 5.3.2",
        reason="session_id",
    ),
    Mutation(
        "session_id required of new rows only",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id DROP NOT NULL, "
        "ADD CONSTRAINT required NOT NULL session_id NOT VALID",
        "5.3.2 C.1.2",
        since=18,
    ),
    Mutation(
        "session_id required by a check",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id DROP NOT NULL, ADD CHECK (session_id IS NOT NULL)",
        "5.3.1 5.3.2",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "verification_source keeps the migration's default",
        f"ALTER TABLE {LEDGER} ALTER COLUMN verification_source SET DEFAULT 'legacy_migration'",
        "7.1.1 C.1.2",
    ),
    Mutation("an event's channel renamed", f"ALTER TABLE {EVENTS} RENAME COLUMN channel TO via", "5.1.1 C.1.2 C.2.1"),
    Mutation(
        "an event's channel in another collation",
        f'ALTER TABLE {EVENTS} ALTER COLUMN channel TYPE varchar(100) COLLATE "C"',
        "8b.S.1",
    ),
    Mutation(
        "amount_cents generated",
        f"ALTER TABLE {LEDGER} DROP COLUMN amount_cents, "
        "ADD COLUMN amount_cents integer GENERATED ALWAYS AS (revenue_cents) STORED NOT NULL",
        "7.1.1 8b.S.1",
    ),
    Mutation(
        "from_state required",
        "ALTER TABLE revenue_state_transitions ALTER COLUMN from_state SET NOT NULL",
        "8b.1.2 C.1.2",
    ),
    Mutation(
        "a column more in tenants",
        "ALTER TABLE tenants ADD COLUMN more text",
        "C.2.1 8b.S.1 R.4.1",
        reason="tenants.more",
    ),
    Mutation(
        "a column more in transitions",
        "ALTER TABLE revenue_state_transitions ADD COLUMN more text",
        "8b.1.2 C.2.1",
        reason="extra columns: more",
    ),
]

SUBTLE_COMMENTS = [
    Mutation(
        "api_key_hash said to endanger nothing",
        "COMMENT ON COLUMN tenants.api_key_hash IS 'INVARIANT: none. Hash of the API key.'",
        "4.4.1 8b.S.1",
    ),
    Mutation(
        "notification_email without a purpose",
        "COMMENT ON COLUMN tenants.notification_email IS 'INVARIANT: auth_critical.'",
        "4.4.2 8b.S.1",
    ),
    Mutation(
        "an event's channel without its tag",
        "COMMENT ON COLUMN attribution_events.channel IS 'Channel the event came through.'",
        "5.1.3",
        reason="channel",
    ),
    Mutation(
        "currency of another invariant",
        "COMMENT ON COLUMN attribution_events.currency IS 'INVARIANT: analytics_important. Currency of the value.'",
        "5.1.3",
        reason="currency",
    ),
    Mutation(
        "session_id with its former comment",
        "COMMENT ON COLUMN attribution_events.session_id IS "
        "'INVARIANT: privacy_critical. Session the event belongs to; NULL when it is not known.'",
        "8b.S.1",
    ),
]

TRIGGERS = [
    Mutation(
        "processed events swallowed",
        _trigger(EVENTS, "IF NEW.processing_status = 'processed' THEN RETURN NULL; END IF; RETURN NEW;"),
        "5.4.3 8b.S.1 R.4.1",
        reason="swallowed in silence",
    ),
    Mutation(
        "pending events swallowed",
        _trigger(EVENTS, "IF NEW.processing_status = 'pending' THEN RETURN NULL; END IF; RETURN NEW;"),
        "5.4.2 5.4.1 5.2.2 R.5.1",
        reason="swallowed in silence",
    ),
    Mutation(
        "failed events made pending",
        _trigger(
            EVENTS, "IF NEW.processing_status = 'failed' THEN NEW.processing_status := 'pending'; END IF; RETURN NEW;"
        ),
        "5.4.4",
        reason="written with other values",
    ),
    Mutation(
        "processed events refused at commit",
        "CREATE FUNCTION mutant() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.processing_status = 'processed' "
        "THEN RAISE EXCEPTION 'not yet'; END IF; RETURN NULL; END$$; "
        f"CREATE CONSTRAINT TRIGGER mutant AFTER INSERT ON {EVENTS} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION mutant()",
        "5.4.3",
        reason="not yet",
    ),
    Mutation(
        "confidence rounded",
        _trigger(ALLOCATIONS, "NEW.confidence_score := round(NEW.confidence_score); RETURN NEW;"),
        "6.2.3 6.2.2 R.5.1",
        reason="written with other values",
    ),
    Mutation(
        "every state made authorized",
        _trigger(LEDGER, "NEW.state := 'authorized'; RETURN NEW;"),
        "7.3.2 7.3.1 7.4.2",
        reason="written with other values",
    ),
    Mutation(
        "ignored dead events swallowed",
        _trigger("dead_events", "IF NEW.remediation_status = 'ignored' THEN RETURN NULL; END IF; RETURN NEW;"),
        "8a.2.2",
        reason="swallowed in silence",
    ),
    Mutation(
        "invalid events swallowed",
        _trigger(EVENTS, "IF NEW.processing_status = 'invalid_status' THEN RETURN NULL; END IF; RETURN NEW;"),
        "5.4.1",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "negative counts refused by a trigger",
        _trigger(EVENTS, "IF NEW.retry_count < 0 THEN RAISE EXCEPTION 'negative'; END IF; RETURN NEW;"),
        "5.4.5 R.2.1 R.6.1",
        reason="(SQLSTATE P0001)",
    ),
    Mutation(
        "invalid states refused by a trigger with the same SQLSTATE",
        _trigger(
            LEDGER,
            "IF NEW.state = 'invalid_state' THEN RAISE EXCEPTION 'invalid' USING ERRCODE = '23514'; END IF; RETURN NEW;",
        ),
        "7.3.1",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "missing sessions refused for another column",
        _trigger(
            EVENTS,
            "IF NEW.session_id IS NULL THEN RAISE EXCEPTION 'none' USING ERRCODE = '23502', COLUMN = 'id'; END IF; "
            "RETURN NEW;",
        ),
        "5.3.1",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "a second key hash refused by a trigger",
        _trigger(
            "tenants",
            "IF EXISTS (SELECT FROM tenants WHERE api_key_hash = NEW.api_key_hash) THEN "
            "RAISE EXCEPTION 'taken' USING ERRCODE = '23505'; END IF; RETURN NEW;",
        ),
        "4.2.2",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "missing sessions made up",
        _trigger(EVENTS, "NEW.session_id := coalesce(NEW.session_id, NEW.id); RETURN NEW;"),
        "5.3.1",
        reason="the write was accepted",
    ),
    Mutation(
        "missing currencies made up",
        _trigger(LEDGER, "NEW.currency := coalesce(NEW.currency, 'USD'); RETURN NEW;"),
        "7.4.4",
        reason="the write was accepted",
    ),
    Mutation(
        "every tenant refused",
        _trigger("tenants", "RAISE EXCEPTION 'closed';"),
        "4.3.1 4.2.2 4.3.2",
        reason="the same row without the change was rejected too",
    ),
    Mutation(
        "transitions kept when their entry goes",
        _trigger("revenue_state_transitions", "RETURN NULL;", when="BEFORE DELETE"),
        "8b.2.2",
        reason="other rows went, or stayed",
    ),
    Mutation(
        "all transitions go with one",
        _trigger(
            "revenue_state_transitions", "DELETE FROM revenue_state_transitions; RETURN NULL;", when="AFTER DELETE"
        ),
        "8b.2.2",
        reason="other rows went, or stayed",
    ),
    Mutation(
        "updates of dead events swallowed",
        _trigger("dead_events", "RETURN NULL;", when="BEFORE UPDATE"),
        "R.5.2",
        reason="swallowed in silence",
    ),
    Mutation(
        "deletes of dead events swallowed",
        _trigger("dead_events", "RETURN NULL;", when="BEFORE DELETE"),
        "R.5.3",
        reason="swallowed in silence",
    ),
    Mutation(
        "updates of tenants swallowed by a rule",
        "CREATE RULE mutant AS ON UPDATE TO tenants DO INSTEAD NOTHING",
        "8b.S.1",
    ),
    Mutation(
        "a trigger more that does nothing",
        _trigger("channel_taxonomy", "RETURN NEW;", when="BEFORE UPDATE"),
        "8b.S.1",
    ),
]

ACCESS = [
    Mutation(
        "a policy more for anybody",
        f"CREATE POLICY more ON {EVENTS} USING (true)",
        "8b.S.1 R.5.4",
        reason="policy attribution_events.more",
    ),
    Mutation(
        "a policy that hides rows from the owner",
        "CREATE POLICY more ON tenants AS RESTRICTIVE TO gatebook_owner USING (name <> 'Acme')",
        "4.B.1 8b.D.1 8b.S.1",
        reason="row security may hide rows",
    ),
    Mutation(
        "a restrictive policy in place of a permissive one",
        f"DROP POLICY maintenance_policy ON {LEDGER}; CREATE POLICY maintenance_policy ON {LEDGER} AS RESTRICTIVE "
        "TO gatebook_owner USING (true) WITH CHECK (true); COMMENT ON POLICY maintenance_policy ON revenue_ledger IS "
        "'The role that runs migrations and refreshes sees and writes the rows of every tenant.'",
        "8b.S.1 8b.D.1 7.B.1",
    ),
    Mutation(
        "isolation by another setting",
        f"ALTER POLICY tenant_isolation_policy ON {EVENTS} "
        "USING (tenant_id = current_setting('app.tenant', true)::uuid) "
        "WITH CHECK (tenant_id = current_setting('app.tenant', true)::uuid)",
        "8b.S.1 R.5.1",
    ),
    Mutation(
        "isolation of reads only",
        f"ALTER POLICY tenant_isolation_policy ON {EVENTS} WITH CHECK (true)",
        "8b.S.1",
        reason="(check)",
    ),
    Mutation(
        "isolation of one role only",
        "ALTER POLICY tenant_isolation_policy ON tenants TO app_rw",
        "8b.S.1",
        reason="(roles)",
    ),
    Mutation("channels under row security", "ALTER TABLE channel_taxonomy ENABLE ROW LEVEL SECURITY", "8b.S.1"),
    Mutation("app_ro may write the ledger", f"GRANT INSERT ON {LEDGER} TO app_ro", "8b.S.1"),
    Mutation("app_rw may empty the ledger", f"GRANT TRUNCATE ON {LEDGER} TO app_rw", "8b.S.1"),
    Mutation("app_rw may grant on", f"GRANT SELECT ON {LEDGER} TO app_rw WITH GRANT OPTION", "8b.S.1"),
    Mutation("PUBLIC may read one column", "GRANT SELECT (api_key_hash) ON tenants TO PUBLIC", "8b.S.1"),
    Mutation("app_rw may not update dead events", "REVOKE UPDATE ON dead_events FROM app_rw", "R.5.2 R.4.1"),
    Mutation("app_rw may not delete dead events", "REVOKE DELETE ON dead_events FROM app_rw", "R.5.3 R.4.1"),
    Mutation("app_rw may not look up transitions", "REVOKE SELECT ON revenue_ledger FROM app_rw", "R.5.1 8b.S.1"),
    Mutation("PUBLIC may create in the schema", "GRANT CREATE ON SCHEMA public TO PUBLIC", "8b.S.1"),
    Mutation("app_rw has no way into the schema", "REVOKE USAGE ON SCHEMA public FROM PUBLIC, app_rw", "R.5.1 8b.S.1"),
    Mutation(
        "tables to come open to PUBLIC",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC",
        "8b.S.1",
    ),
    Mutation("channels owned by another role", "ALTER TABLE channel_taxonomy OWNER TO postgres", "P.1.3"),
]

OTHER_OBJECTS = [
    Mutation("transitions dropped", "DROP TABLE revenue_state_transitions", "8b.1.1 8b.1.2 8b.2.1 8b.3.1 R.5.1"),
    Mutation("tenants dropped", "DROP TABLE tenants CASCADE", "4.1.1 4.2.1 4.B.1 8b.D.1 C.1.2"),
    Mutation("dead events not logged", "ALTER TABLE dead_events SET UNLOGGED", "8b.S.1"),
    Mutation(
        "transitions not logged",
        "ALTER TABLE revenue_state_transitions SET UNLOGGED",
        "8b.S.1",
        reason="persistence is 'u'",
    ),
    Mutation("a table never vacuumed", f"ALTER TABLE {EVENTS} SET (autovacuum_enabled = off)", "8b.S.1"),
    Mutation("a table replicated in full", f"ALTER TABLE {EVENTS} REPLICA IDENTITY FULL", "8b.S.1"),
    Mutation("a table more", "CREATE TABLE more (id uuid)", "C.2.1 8b.S.1 R.4.1", reason="more"),
    Mutation("a heir of tenants", "CREATE TABLE more () INHERITS (tenants)", "C.2.1 8b.S.1", reason="more"),
    Mutation("a view more", "CREATE VIEW more AS SELECT api_key_hash FROM tenants", "8b.S.1"),
    Mutation("a sequence more", "CREATE SEQUENCE more", "8b.S.1"),
    Mutation("a type more", "CREATE TYPE more AS ENUM ('one', 'two')", "8b.S.1"),
    Mutation("a function more", "CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "8b.S.1"),
    Mutation("a schema more", "CREATE SCHEMA more", "8b.S.1"),
    Mutation("an extension less", "DROP EXTENSION plpgsql", "8b.S.1"),
    Mutation("a materialized view dropped", "DROP MATERIALIZED VIEW mv_realtime_revenue", "8b.S.1"),
    Mutation(
        "a materialized view of another query",
        "DROP MATERIALIZED VIEW mv_realtime_revenue; CREATE MATERIALIZED VIEW mv_realtime_revenue AS "
        "SELECT tenant_id, sum(revenue_cents)::numeric AS total_revenue, bool_and(is_verified) AS verified, "
        "0 AS data_freshness_seconds FROM revenue_ledger GROUP BY tenant_id",
        "8b.S.1",
    ),
    Mutation(
        "a materialized view that cannot be read",
        "REFRESH MATERIALIZED VIEW mv_realtime_revenue WITH NO DATA",
        "8b.S.1",
    ),
    Mutation("a revision too early", "UPDATE alembic_version SET version_num = '202511151440'", "R.1.1"),
]

ROWS_BY_HAND = [
    Mutation(
        "a dead event replaced by another",
        "CREATE TEMP TABLE one AS SELECT * FROM dead_events LIMIT 1; DELETE FROM dead_events WHERE id = (SELECT id FROM one); "
        "INSERT INTO dead_events SELECT * FROM one; UPDATE dead_events SET id = gen_random_uuid() WHERE id = (SELECT id FROM one)",
        "8b.D.1",
        reason="dead_events",
    ),
    Mutation(
        "a reconciliation run twice",
        "CREATE TEMP TABLE one AS SELECT * FROM reconciliation_runs LIMIT 1; UPDATE one SET id = gen_random_uuid(); "
        "INSERT INTO reconciliation_runs SELECT * FROM one",
        "8b.D.1",
        reason="19 rows before, 20 now",
    ),
    Mutation("all dead events lost", "TRUNCATE dead_events", "8a.B.1 8b.D.1", reason="no rows to look at"),
    Mutation("a tenant lost with all that is theirs", f"DELETE FROM tenants WHERE {_first('tenants')}", "8b.D.1"),
    Mutation(
        "an external id blank instead of missing",
        f"UPDATE {EVENTS} SET external_event_id = '' WHERE external_event_id IS NULL",
        "5.1.2 8b.D.1",
        reason="idempotency_key",
    ),
    Mutation(
        "a description with a blank after it",
        "UPDATE channel_taxonomy SET name = name || ' ' WHERE code = 'direct'",
        "8b.D.1",
        reason="name",
    ),
    Mutation(
        "every time an hour off",
        f"UPDATE {EVENTS} SET occurred_at = occurred_at + interval '1 hour'",
        "8b.D.1 5.1.2",
        reason="occurred_at",
    ),
    Mutation(
        "an event given to another tenant",
        f"UPDATE {EVENTS} e SET tenant_id = (SELECT id FROM tenants t WHERE t.id <> e.tenant_id ORDER BY id LIMIT 1) "
        f"WHERE {_first(EVENTS)}",
        "8b.D.1 5.1.2",
        reason="tenant_id",
    ),
    Mutation(
        "a value in units instead of cents",
        f"UPDATE {EVENTS} SET conversion_value_cents = revenue_cents / 100",
        "5.1.2 8b.D.1",
        reason="conversion_value_cents",
    ),
    Mutation(
        "a conversion without its value",
        f"UPDATE {EVENTS} SET conversion_value_cents = NULL WHERE {_first(EVENTS)}",
        "5.1.2 8b.D.1",
        reason="conversion_value_cents: 1 of",
    ),
    Mutation(
        "keys of events without their tenant",
        f"UPDATE {EVENTS} SET idempotency_key = concat('id:', id)",
        "5.1.2 8b.D.1",
    ),
    Mutation(
        "keys of two events swapped",
        f"DROP INDEX idx_events_idempotency; WITH pair AS (SELECT id, idempotency_key FROM {EVENTS} LIMIT 2) "
        f"UPDATE {EVENTS} t SET idempotency_key = o.idempotency_key FROM pair m, pair o "
        "WHERE t.id = m.id AND o.id <> m.id",
        "8b.D.1 5.1.2",
        reason="values moved between rows",
    ),
    Mutation(
        "every entry captured",
        f"UPDATE {LEDGER} SET state = 'captured'",
        "7.B.1 8b.D.1",
        reason="state: 20 of",
    ),
    Mutation("every key hash known", "UPDATE tenants SET api_key_hash = md5(id::text)", "4.B.1 8b.D.1"),
    Mutation(
        "a tenant's key that fits",
        "UPDATE tenants SET api_key_hash = '!locked:' || repeat('0', 64) WHERE name = (SELECT min(name) FROM tenants)",
        "8b.D.1",
        reason="api_key_hash",
    ),
]

LASTING_FAULTS = [
    Mutation(
        "sessions filled with anything",
        f"UPDATE {EVENTS} SET session_id = gen_random_uuid() WHERE session_id = id",
        "5.D.1",
        reason="session_id",
        at="5",
    ),
    Mutation(
        "a session left NULL",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id DROP NOT NULL; "
        f"UPDATE {EVENTS} SET session_id = NULL WHERE id = (SELECT id FROM {EVENTS} WHERE session_id = id LIMIT 1)",
        "5.D.1 5.S.1 5.3.1",
        at="5",
    ),
    Mutation(
        "values swapped while events were migrated",
        f"WITH pair AS (SELECT DISTINCT ON (revenue_cents) id, revenue_cents FROM {EVENTS} LIMIT 2) UPDATE {EVENTS} t "
        "SET revenue_cents = o.revenue_cents FROM pair m, pair o WHERE t.id = m.id AND o.id <> m.id",
        "5.D.1",
        reason="values moved between rows",
        at="5",
    ),
    Mutation(
        "an old index left by phase 5",
        CANONICAL.tables[EVENTS].removed_indexes["idx_attribution_events_tenant_external_event_id"].definition,
        "5.S.1 5.5.1",
        reason="is still there",
        at="5",
    ),
    Mutation(
        "a column made in another collation",
        f'ALTER TABLE {EVENTS} ALTER COLUMN channel TYPE varchar(100) COLLATE "C"',
        "5.S.1",
        reason="collation",
        at="5",
    ),
    Mutation(
        "a column made with identity",
        f"ALTER TABLE {EVENTS} ALTER COLUMN retry_count DROP DEFAULT, "
        "ALTER COLUMN retry_count ADD GENERATED BY DEFAULT AS IDENTITY",
        "5.S.1 5.1.1",
        at="5",
    ),
    Mutation(
        "an index made invalid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_allocations_channel_performance'::regclass",
        "6.S.1 6.3.1",
        reason="valid",
        at="6",
    ),
    Mutation(
        "a policy made restrictive",
        "DROP POLICY maintenance_policy ON tenants; CREATE POLICY maintenance_policy ON tenants AS RESTRICTIVE "
        "TO gatebook_owner USING (true) WITH CHECK (true); COMMENT ON POLICY maintenance_policy ON tenants IS "
        "'The role that runs migrations and refreshes sees and writes the rows of every tenant.'",
        "4.S.1 4.B.1 4.D.1",
        reason="permissive",
        at="4",
    ),
    Mutation(
        "a policy made for everybody",
        "ALTER POLICY maintenance_policy ON dead_events TO PUBLIC",
        "4.S.1",
        reason="roles is 'PUBLIC'",
        at="4",
    ),
]

MUTATIONS = [
    *_columns(), *_constraints(), *_indexes(), *_removed_indexes(), *_row_security(), *_grants(), *_comments(),
    *_rows(), *_values(), *_phases(),
    *SUBTLE_INDEXES, *SUBTLE_CONSTRAINTS, *SUBTLE_COLUMNS, *SUBTLE_COMMENTS, *TRIGGERS, *ACCESS, *OTHER_OBJECTS,
    *ROWS_BY_HAND, *LASTING_FAULTS,
]  # fmt: skip


# -- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def in_a_hurry(databases: Databases) -> Iterator[None]:
    """More than a thousand notebooks: files that stay the same are read once, and nothing waits for the disk."""
    with pytest.MonkeyPatch.context() as patch, databases.maintenance() as connection:
        patch.setattr("gatebook.phase.load_canonical", lambda _project: CANONICAL)
        patch.setattr("gatebook.phase.load_gates", lambda _project: GATES)
        patch.setattr("gatebook.phase.load", cache(load))
        patch.setattr(migrations, "chain", cache(migrations.chain))
        patch.setattr(os, "fsync", lambda _file: None)
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        yield
        connection.execute("ALTER SYSTEM RESET fsync")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def after(databases: Databases, legacy: Database, migrated: Database) -> dict[str, Database]:
    """Templates: phase -> a database that has had it and none after it; "" -> one that has had all."""
    found = {"": migrated}
    database = legacy
    for phase in COMMENTED:
        database = databases.copy(database)
        run_notebook(GATES.phase(phase).notebook, database=database.name)
        found[phase] = database
    return found


@contextmanager
def mutant(databases: Databases, template: Database, mutation: Mutation) -> Iterator[Database]:
    copy = databases.copy(template)
    try:
        with databases.maintenance(copy.name.removeprefix("embedded/")) as connection:
            connection.execute(mutation.sql)
        yield copy
    finally:
        databases.drop(copy)


def judge(database: Database, tests: list[str]) -> dict[str, SimpleNamespace]:
    """The results of all notebooks that hold one of the tests, run in order: test -> result."""
    found = {}
    for phase in GATES.phases:
        if not phase.tests.keys().isdisjoint(tests):
            found.update(run_notebook(phase.notebook, database=database.name).phase.results)
    return found


@pytest.mark.server
@pytest.mark.parametrize("mutation", MUTATIONS, ids=attrgetter("name"))
def test_a_gate_goes_red(mutation: Mutation, databases: Databases, after: dict[str, Database]) -> None:
    if databases.server.server.major < mutation.since:
        pytest.skip(f"PostgreSQL {mutation.since} is the first to know such a thing")
    with mutant(databases, after[mutation.at], mutation) as database:
        results = judge(database, mutation.tests)
    green = [test for test in mutation.tests if results[test].verdict.is_green]
    red = [test for test, result in results.items() if not result.verdict.is_green]
    assert not green, f"green in spite of it: {green}; red: {red}"
    assert mutation.reason in results[mutation.tests[0]].verdict.reason


def test_the_table_is_long_and_says_nothing_twice() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 150


def test_every_test_of_the_audit_goes_red_for_some_mutation() -> None:
    named = {test for mutation in MUTATIONS for test in mutation.tests}
    declared = {test for phase in SPECIFIED for test in phase.tests}
    # these look at what was kept of earlier phases, or at a name, and not at the database
    assert declared - named == {"C.1.1", "R.1.2", "R.8.2"}
