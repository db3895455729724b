"""Every object of the canonical schema, dropped or altered, so that none is forgotten."""

import re
from collections.abc import Iterator

from gatebook.canonical import ColumnDeclaration, TableDeclaration
from mutations.mutation import CANONICAL, Mutation, replaced_constraint, replaced_index

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


def _of_column(where: str, phase: str) -> str:
    """The test of a column that a phase adds."""
    return OF_COLUMN.get(where) or COLUMNS[phase]


def _divergence(column: ColumnDeclaration) -> str:
    return DIVERGENCE[CANONICAL.severities[column.invariant]]


def mutations() -> Iterator[Mutation]:
    for some in (_columns, _constraints, _indexes, _removed_indexes, _row_security, _grants, _comments):
        yield from some()


def _columns() -> Iterator[Mutation]:
    for table, declared in CANONICAL.tables.items():
        for name, column in declared.columns.items():
            where, alter = f"{table}.{name}", f"ALTER TABLE {table} ALTER COLUMN {name}"
            phase = _phase(table, column)
            red = _of_column(where, phase) if phase else _divergence(column)
            dropped = f"ALTER TABLE {table} DROP COLUMN {name} CASCADE"
            yield Mutation(f"{where} dropped", dropped, f"{red} {_divergence(column)}" if phase else red)
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
                replaced = replaced_constraint(table, name, _weaker_constraint(thing.definition))
                yield Mutation(f"{name} weaker", replaced, f"{weaker} R.3.1")
                unproven = replaced_constraint(table, name, f"{thing.definition} NOT VALID")
                yield Mutation(f"{name} not valid", unproven, "R.3.1 R.4.1")
            if thing.phase or declared.phase:
                bare = f"COMMENT ON CONSTRAINT {name} ON {table} IS NULL"
                yield Mutation(f"{name} without its comment", bare, "R.4.1 R.8.1")


def _weaker_constraint(definition: str) -> str:
    if definition.startswith("CHECK"):
        return "CHECK (true)"
    cascade = " ON DELETE CASCADE"
    return definition.replace(cascade, "") if cascade in definition else f"{definition}{cascade}"


def _indexes() -> Iterator[Mutation]:
    for declared in (*CANONICAL.tables.values(), *CANONICAL.materialized_views.values()):
        compared = "R.3.1" if isinstance(declared, TableDeclaration) else "R.4.1"
        for name, thing in declared.indexes.items():
            gone, weaker = OF_OBJECT.get(name, ("R.4.1", "R.4.1"))
            yield Mutation(f"{name} dropped", f"DROP INDEX {name}", f"{gone} {compared}")
            replaced = replaced_index(name, _weaker_index(thing.definition))
            yield Mutation(f"{name} weaker", replaced, f"{weaker} {compared}")
            if thing.phase or getattr(declared, "phase", None):
                yield Mutation(f"{name} without its comment", f"COMMENT ON INDEX {name} IS NULL", "R.4.1 R.8.1")


def _weaker_index(definition: str) -> str:
    """No longer unique, or in another order, or without its predicate, or with one."""
    for much in (" UNIQUE", " DESC"):
        if much in definition:
            return definition.replace(much, "", 1)
    return definition.partition(" WHERE ")[0] if " WHERE " in definition else f"{definition} WHERE false"


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
            yield Mutation(f"{table} without maintenance policy", f"DROP POLICY {ours}", "8b.S.1")
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
