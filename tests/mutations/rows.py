"""Rows lost, swapped and replaced, values changed, backfills gone wrong."""

from collections.abc import Iterator

from gatebook.canonical import ColumnDeclaration
from mutations.mutation import ALONE, CANONICAL, EVENTS, LEDGER, Mutation, first_of

BACKFILL = {"4": "4.B.1", "5": "5.1.2", "6": "6.1.2", "7": "7.B.1", "8a": "8a.B.1"}
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


def mutations() -> Iterator[Mutation]:
    yield from _rows()
    yield from _values()
    yield from BY_HAND


def _rows() -> Iterator[Mutation]:
    for table, column in SWAPPED.items():
        key = "code" if table == "channel_taxonomy" else "id"
        pair = f"WITH pair AS (SELECT DISTINCT ON ({column}) {key}, {column} FROM {table} ORDER BY {column} LIMIT 2)"
        swap = (
            f"{pair} UPDATE {table} t SET {column} = o.{column} FROM pair m, pair o WHERE t.{key} = m.{key} AND o <> m"
        )
        lost = f"{ALONE}DELETE FROM {table} WHERE {first_of(table)}"
        yield Mutation(f"a row of {table} lost", lost, "8b.D.1", reason=table)
        yield Mutation(f"two values of {table}.{column} swapped", swap, "8b.D.1", reason="values moved between rows")


def _values() -> Iterator[Mutation]:
    for table in SWAPPED:
        for name, column in CANONICAL.tables[table].columns.items():
            changed = _another_value(f"{table}.{name}", column).format(name)
            update = f"{ALONE}UPDATE {table} SET {name} = {changed} WHERE {first_of(table)}"
            red = BACKFILL[column.phase] if column.phase else "8b.D.1"
            yield Mutation(f"a value of {table}.{name} changed", update, red, reason=name)


def _another_value(where: str, column: ColumnDeclaration) -> str:
    return ANOTHER_VALUE.get(where) or ANOTHER_OF_TYPE.get(column.type) or "coalesce({}, '') || 'x'"


BY_HAND = [
    Mutation(
        "a dead event replaced by another",
        f"CREATE TEMP TABLE one AS SELECT * FROM dead_events WHERE {first_of('dead_events')}; "
        "DELETE FROM dead_events WHERE id = (SELECT id FROM one); "
        "UPDATE one SET id = gen_random_uuid(); INSERT INTO dead_events SELECT * FROM one",
        "8b.D.1",
        reason="dead_events",
    ),
    Mutation(
        "a reconciliation run twice",
        "CREATE TEMP TABLE one AS SELECT * FROM reconciliation_runs LIMIT 1; UPDATE one SET id = gen_random_uuid(); "
        "INSERT INTO reconciliation_runs SELECT * FROM one",
        "8b.D.1",
        reason="reconciliation_runs: ",
    ),
    Mutation(
        "a change of state out of nowhere",
        "INSERT INTO revenue_state_transitions (ledger_id, to_state) SELECT id, 'refunded' FROM revenue_ledger LIMIT 1",
        "R.4.2",
        reason="revenue_state_transitions",
    ),
    Mutation(
        "an address put in after the audit",
        f"UPDATE tenants SET notification_email = 'alerts@example.org' WHERE {first_of('tenants')}",
        "R.4.2 4.B.1 8b.D.1",
        reason="notification_email",
    ),
    Mutation("all dead events lost", "TRUNCATE dead_events", "8a.B.1 8b.D.1", reason="no rows to look at"),
    Mutation("a tenant lost with all that is theirs", f"DELETE FROM tenants WHERE {first_of('tenants')}", "8b.D.1"),
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
        f"WHERE {first_of(EVENTS)}",
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
        f"UPDATE {EVENTS} SET conversion_value_cents = NULL WHERE {first_of(EVENTS)}",
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
        reason="state: ",
    ),
    Mutation("every key hash known", "UPDATE tenants SET api_key_hash = md5(id::text)", "4.B.1 8b.D.1"),
    Mutation(
        "a tenant's key that fits",
        "UPDATE tenants SET api_key_hash = '!locked:' || repeat('0', 64) WHERE name = (SELECT min(name) FROM tenants)",
        "8b.D.1",
        reason="api_key_hash",
    ),
]
