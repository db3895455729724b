"""Every object of the canonical schema, dropped or altered, so that none is forgotten."""

import re
from collections.abc import Iterator, Mapping

from gatebook.canonical import ColumnDeclaration, ObjectDeclaration, TableDeclaration, ViewDeclaration
from mutations.mutation import CANONICAL, CONTRACT, Mutation, replaced_constraint, replaced_index

Tables = Mapping[str, TableDeclaration]

DIVERGENCE = {"BLOCKING": "C.1.2", "HIGH": "C.1.3", "LOW": "C.1.4"}
COLUMNS = {"5": "5.1.1", "6": "6.1.1", "7": "7.1.1", "8a": "8a.1.1", "8b": "8b.1.2", "H": "R.3.1"}
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
READ_BY_VIEWS = {
    f"{view.source}.{name}"
    for view in CONTRACT.views.values()
    for column in view.columns.values()
    for name in column.source
}


def mutations() -> Iterator[Mutation]:
    """Of the tables that are there before the views."""
    yield from _of_tables({name: table for name, table in CANONICAL.tables.items() if table.phase != "H"})


def view_mutations() -> Iterator[Mutation]:
    """Of the views, and of the table that remembers their refreshes."""
    yield from _of_tables({name: table for name, table in CANONICAL.tables.items() if table.phase == "H"})
    for name, view in CANONICAL.views.items():
        yield from _of_view(name, view)


def _of_tables(tables: Tables) -> Iterator[Mutation]:
    for some in (_columns, _constraints, _removed_indexes, _row_security):
        yield from some(tables)
    for name, table in tables.items():
        yield from _indexes(table.indexes, is_new=table.phase is not None)
        yield from _grants(name, table.grants)
        yield Mutation(f"{name} without its comment", f"COMMENT ON TABLE {name} IS NULL", "R.4.1")


def _phase(table: str, column: ColumnDeclaration) -> str | None:
    return column.phase or CANONICAL.tables[table].phase


def _of_column(where: str, phase: str) -> str:
    """The test of a column that a phase adds."""
    return OF_COLUMN.get(where) or COLUMNS[phase]


def _divergence(column: ColumnDeclaration, phase: str | None) -> str:
    """Phase C looks at what is there before the views, phase R at all."""
    return "R.3.1" if phase == "H" else DIVERGENCE[CANONICAL.severities[column.invariant]]


def _columns(tables: Tables) -> Iterator[Mutation]:
    for table, declared in tables.items():
        for name, column in declared.columns.items():
            where, alter = f"{table}.{name}", f"ALTER TABLE {table} ALTER COLUMN {name}"
            phase = _phase(table, column)
            divergence = _divergence(column, phase)
            red = _of_column(where, phase) if phase else divergence
            dropped = f"ALTER TABLE {table} DROP COLUMN {name} CASCADE"
            yield Mutation(f"{where} dropped", dropped, f"{red} {divergence}" if phase else red)
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
    if name != "ledger_id" and phase != "H":  # a policy, a foreign key or a view would have to go first
        at = "8b" if where in READ_BY_VIEWS else ""
        yield Mutation(f"{where} of another type", f"{alter} TYPE {_another_type(column.type)}", red, at=at)
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


def _constraints(tables: Tables) -> Iterator[Mutation]:
    for table, declared in tables.items():
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


def _indexes(indexes: Mapping[str, ObjectDeclaration], *, is_new: bool) -> Iterator[Mutation]:
    for name, thing in indexes.items():
        gone, weaker = OF_OBJECT.get(name, ("R.4.1", "R.4.1"))
        yield Mutation(f"{name} dropped", f"DROP INDEX {name}", f"{gone} R.3.1")
        replaced = replaced_index(name, _weaker_index(thing.definition))
        yield Mutation(f"{name} weaker", replaced, f"{weaker} R.3.1")
        if is_new or thing.phase:
            yield Mutation(f"{name} without its comment", f"COMMENT ON INDEX {name} IS NULL", "R.4.1 R.8.1")


def _weaker_index(definition: str) -> str:
    """No longer unique, or in another order, or without its predicate, or with one."""
    for much in (" UNIQUE", " DESC"):
        if much in definition:
            return definition.replace(much, "", 1)
    return definition.partition(" WHERE ")[0] if " WHERE " in definition else f"{definition} WHERE false"


def _removed_indexes(tables: Tables) -> Iterator[Mutation]:
    for declared in tables.values():
        for name, thing in declared.removed_indexes.items():
            yield Mutation(f"{name} still there", thing.definition, "5.5.1 8b.S.1")


def _row_security(tables: Tables) -> Iterator[Mutation]:
    for table, declared in tables.items():
        stolen = "R.5.4" if table == "attribution_events" else "R.4.1"
        if declared.row_security.get("enabled"):
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


def _grants(relation: str, grants: Mapping[str, list[str]]) -> Iterator[Mutation]:
    written = "R.5.1" if relation in WRITTEN_BY_APP_RW else "R.4.1"
    for role, privileges in grants.items():
        lost, also = ("INSERT", written) if "INSERT" in privileges else ("SELECT", "R.4.1")
        revoked = f"REVOKE {lost} ON {relation} FROM {role}"
        yield Mutation(f"{role} may no longer {lost} {relation}", revoked, f"R.4.1 {also}")
    yield Mutation(f"PUBLIC may read {relation}", f"GRANT SELECT ON {relation} TO PUBLIC", "R.3.1 R.4.1")


def _of_view(name: str, view: ViewDeclaration) -> Iterator[Mutation]:
    kind, is_new = view.kind.upper(), view.phase is not None
    bare = "R.4.1 R.8.1" if is_new else "R.4.1"
    yield Mutation(f"{name} dropped", f"DROP {kind} {name} CASCADE", "R.3.1 R.4.1", reason=name)
    yield Mutation(f"{name} without its comment", f"COMMENT ON {kind} {name} IS NULL", bare)
    for column in view.columns:
        where = f"{name}.{column}"
        yield Mutation(f"{where} without its comment", f"COMMENT ON COLUMN {where} IS NULL", bare, reason=where)
    yield from _indexes(view.indexes, is_new=is_new)
    yield from _grants(name, view.grants)
