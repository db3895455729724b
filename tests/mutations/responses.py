"""The contract and the revisions that implement it, responses that break it, and answers that take too long."""

from collections.abc import Iterator

from mutations.mutation import ALLOCATIONS, ALONE, LEDGER, Mutation, replaced_index
from mutations.view import CHANNEL, CHANNELS, DAILY, DAY, LATEST, LOG, Change, contract, definition, revision, shown

UNIQUE_CHANNEL, UNIQUE_DAY = "idx_mv_channel_performance_unique", "idx_mv_daily_revenue_summary_unique"
CONFIDENCE = "confidence: {column: avg_confidence_score}"
SCORE = "      avg_confidence_score: {type: numeric, from: [confidence_score]}\n"
COUNT = "      total_allocations: {type: bigint, from: [id]}\n"
AMOUNT = "total_amount_cents: {type: bigint, from: "
SHOWN_COUNT = "              allocations_count: {type: integer, minimum: 1}\n"
SHOWN_CURRENCY = '              currency: {type: string, pattern: "^[A-Z]{3}$"}\n'
OTHER_LIMITS = "the contract states other limits"


def mutations() -> Iterator[Mutation]:
    for name, changes, red, reason in CONTRACT:
        yield Mutation(name, "", red, reason=reason, edits=contract(*changes))
    for name, at, number, change, red, reason in MIGRATION:
        yield Mutation(name, "", red, reason=reason, at=at, edits=revision(number, change))
    for name, at, chain, red, reason in CHAINS:
        edits = tuple(edit for number, *moved in chain for edit in revision(number, _moved(*moved)))
        yield Mutation(name, "", red, reason=reason, at=at, edits=edits)
    yield from DATABASES
    for name, statements, view, red, reason in SOURCES:
        yield Mutation(name, f"{statements}; SELECT refresh_materialized_view('{view}')", red, reason=reason)
    for name, view, change, red, reason in SHOWN:
        yield Mutation(name, shown(view, change), red, reason=reason)
    yield from PLANS


def _moved(was: str, follows: str) -> Change:
    return f'down_revision: str | None = "{was}"', f'down_revision: str | None = "{follows}"'


# What params/api_contract.yaml says instead.
CONTRACT: list[tuple[str, list[Change], str, str]] = [
    (
        "a field from a column that no view has",
        [(CONFIDENCE, "confidence: {column: confidence}")],
        "MV-1.2.1",
        "channel_performance has no column confidence",
    ),
    (
        "a field that nothing gives",
        [(SHOWN_COUNT, f"{SHOWN_COUNT}              clicks: {{type: integer}}\n")],
        "MV-1.2.1",
        "no source is stated for clicks",
    ),
    (
        "a field that the response does not promise",
        [(SHOWN_CURRENCY, "")],
        "MV-1.2.1",
        "currency is not in the schema of the response",
    ),
    ("a median of 55 ms", [("p50_ms: 50", "p50_ms: 55")], "MV-1.3.1", OTHER_LIMITS),
    ("a dearer plan", [("plan_cost: 1000", "plan_cost: 10000")], "MV-1.3.1", OTHER_LIMITS),
    (
        "a limit that nothing keeps",
        [("plan_cost: 1000", "plan_cost: 0.01")],
        "MV-4.4.1 MV-4.4.2 MV-1.3.1",
        "total_cost is",
    ),
    (
        "a column of another type",
        [("total_conversions: {type: bigint", "total_conversions: {type: integer")],
        "MV-4.1.3 MV-1.4.1 MV-2.2.1",
        "channel_performance.total_conversions is bigint",
    ),
    (
        "a column that the view does not have",
        [(COUNT, f"{COUNT}      since: {{type: date, from: [created_at]}}\n")],
        "MV-2.2.1 MV-1.4.1",
        "missing: since",
    ),
    ("columns of the contract in another order", [(SCORE + COUNT, COUNT + SCORE)], "MV-1.4.1 MV-2.2.1", "order"),
    (
        "a column from a source that is not there",
        [("from: [confidence_score]", "from: [confidence]")],
        "MV-1.1.1",
        "missing: confidence",
    ),
    (
        "a column from the other source",
        [(f"{AMOUNT}[amount_cents]", f"{AMOUNT}[allocated_revenue_cents]")],
        "MV-1.1.2",
        "missing: allocated_revenue_cents",
    ),
    (
        "raw entries of fewer states",
        [("WHERE state <> 'authorized'", "WHERE state = 'captured'")],
        "MV-3.C.1 MV-4.3.2",
        "extra",
    ),
    ("raw allocations of a day more", [("- 90 + time", "- 91 + time")], "MV-2.C.1 MV-4.3.1", "missing"),
    (
        "a confidence in percent",
        [(CONFIDENCE, 'confidence: {column: avg_confidence_score, expression: "avg_confidence_score * 100"}')],
        "MV-4.1.1",
        "is greater than the maximum of 1",
    ),
    (
        "revenue in cents",
        [("round(total_revenue_cents * 0.01, 2)", "total_revenue_cents")],
        "MV-4.1.1",
        "other than the raw query",
    ),
    (
        "revenue as text",
        [("round(total_revenue_cents * 0.01, 2)", "round(total_revenue_cents * 0.01, 2)::text")],
        "MV-4.1.1",
        "is not of type 'number'",
    ),
    (
        "refunds below nothing",
        [("WHERE state = 'refunded'), 0) * 0.01", "WHERE state = 'refunded'), 0) * -0.01")],
        "MV-4.1.2",
        "is less than the minimum of 0",
    ),
    (
        "refunds with what was captured",
        [("FILTER (WHERE state = 'refunded')", "FILTER (WHERE state <> 'chargeback')")],
        "MV-4.1.2",
        "other than the raw query",
    ),
    (
        "days of one currency",
        [("group_by: revenue_date, currency", "group_by: revenue_date, currency, state")],
        "MV-4.1.2",
        "",
    ),
]

# What a revision says instead, for what is not known before it runs.
MIGRATION: list[tuple[str, str, str, Change, str, str]] = [
    (
        "days as timestamps in the migration to come",
        "MV-1",
        CHANNELS,
        ("(created_at AT TIME ZONE 'UTC')::date", "date_trunc('day', created_at)"),
        "MV-1.4.1",
        "columns, their types or their order differ",
    ),
    (
        "amounts without end in the migration to come",
        "MV-1",
        DAILY,
        ("cents)::bigint", "cents::bigint)"),
        "MV-1.4.1",
        "columns, their types or their order differ",
    ),
    (
        "a migration to come that fails",
        "MV-1",
        DAILY,
        ("FROM revenue_ledger", "FROM revenue_ledgers"),
        "MV-1.4.1",
        'relation "revenue_ledgers" does not exist',
    ),
    (
        "a migration to come of another view",
        "MV-1",
        CHANNELS,
        ("mv_channel_performance", "mv_channels"),
        "MV-1.4.1",
        "columns, their types or their order differ",
    ),
]

# name, phase before, (revision, what it follows, what it follows instead) …
CHAINS = [
    (
        "the views in another order",
        "MV-1",
        [(CHANNELS, "202511151450", DAILY), (DAILY, CHANNELS, "202511151450"), (LOG, DAILY, CHANNELS)],
        "MV-2.1.1 MV-2.S.1",
        f"after is {DAILY}, wanted 202511151450",
    ),
    (
        "a revision between the views",
        "MV-2",
        [(LOG, DAILY, CHANNELS), (DAILY, CHANNELS, LOG), (LATEST, LOG, DAILY)],
        "MV-3.1.1 MV-3.S.1",
        f"after is {LOG}, wanted {CHANNELS}",
    ),
]

DATABASES = [
    Mutation(
        "a view that is there before its time",
        "CREATE MATERIALIZED VIEW mv_channel_performance AS SELECT 1 AS one",
        "P.2.2",
        reason="table mv_channel_performance is there already",
        at="P",
    ),
    Mutation(
        "a log that is there before its time",
        "CREATE TABLE mv_refresh_log (id bigint)",
        "P.2.2",
        reason="table mv_refresh_log is there already",
        at="P",
    ),
    Mutation(
        "a source column renamed",
        f"ALTER TABLE {ALLOCATIONS} RENAME COLUMN confidence_score TO confidence",
        "MV-1.1.1 MV-1.4.2",
        reason="missing: confidence_score",
    ),
    Mutation(
        "a source column of the ledger renamed",
        f"ALTER TABLE {LEDGER} RENAME COLUMN verification_timestamp TO verified_on",
        "MV-1.1.2 MV-1.4.2",
        reason="missing: verification_timestamp",
    ),
    Mutation(
        "no allocations to look at",
        f"{ALONE}DELETE FROM {ALLOCATIONS}",
        "MV-1.4.2",
        reason="no rows for mv_channel_performance",
        at="MV-1",
    ),
    Mutation(
        "no revenue to look at",
        f"UPDATE {LEDGER} SET state = 'authorized'",
        "MV-1.4.2",
        reason="no rows for mv_daily_revenue_summary",
        at="MV-1",
    ),
    Mutation(
        "a column of a view renamed",
        f"ALTER MATERIALIZED VIEW {CHANNEL} RENAME COLUMN total_conversions TO conversions",
        "MV-2.2.1 MV-2.3.1",
        reason="missing: total_conversions",
    ),
    Mutation(
        "a revision of the views set back",
        f"UPDATE alembic_version SET version_num = '{DAILY}'",
        "R.2.1 R.4.1 R.4.2",
        reason="phase H",
    ),
]

# Rows of the sources that no constraint keeps out, and the view refreshed.
SOURCES = [
    (
        "currencies in lower case",
        f"UPDATE {LEDGER} SET currency = lower(currency)",
        DAY,
        "MV-4.1.2",
        "does not match '^[A-Z]{3}$'",
    ),
    (
        "amounts below nothing",
        f"UPDATE {LEDGER} SET amount_cents = -amount_cents - 1",
        DAY,
        "MV-4.1.2",
        "is less than the minimum of 0",
    ),
    (
        "channels without a code",
        f"{ALONE}UPDATE {ALLOCATIONS} SET channel_code = '' WHERE channel_code = 'email'",
        CHANNEL,
        "MV-4.1.1",
        "channel: '' should be non-empty",
    ),
    (
        "more than confident",
        f"ALTER TABLE {ALLOCATIONS} DROP CONSTRAINT ck_allocations_confidence_score; "
        f"UPDATE {ALLOCATIONS} SET confidence_score = 1.5",
        CHANNEL,
        "MV-4.1.1",
        "is greater than the maximum of 1",
    ),
    (
        "revenue below nothing",
        f"ALTER TABLE {ALLOCATIONS} DROP CONSTRAINT ck_attribution_allocations_revenue_positive; "
        f"UPDATE {ALLOCATIONS} SET allocated_revenue_cents = -1",
        CHANNEL,
        "MV-4.1.1",
        "is less than the minimum of 0",
    ),
    (
        "no allocations of this month",
        f"{ALONE}UPDATE {ALLOCATIONS} SET created_at = created_at - interval '45 days'",
        CHANNEL,
        "MV-4.1.1 MV-4.4.1",
        "no items",
    ),
]

# What the view that is asked says instead.
SHOWN: list[tuple[str, str, Change, str, str]] = [
    (
        "channels without a name",
        CHANNEL,
        ("            channel_code,", "            NULL::text AS channel_code,"),
        "MV-4.1.1 H.8.1",
        "None is not of type 'string'",
    ),
    (
        "no channels for anybody",
        CHANNEL,
        ("app.current_tenant_id", "app.tenant"),
        "MV-4.1.1 MV-4.4.1 H.8.1",
        "",
    ),
    ("no days for anybody", DAY, ("app.current_tenant_id", "app.tenant"), "MV-4.1.2 MV-4.4.2 H.8.1", ""),
    (
        "channels of the last week",
        CHANNEL,
        ("WHERE ", "WHERE allocation_date > current_date - 7 AND "),
        "MV-4.1.1 H.8.1",
        "other than the raw query",
    ),
]

ADDED_UP = definition(CHANNEL).partition(" AS\n")[2]
DEARLY = "CREATE FUNCTION mutant(uuid) RETURNS boolean LANGUAGE plpgsql COST 10000000 AS 'BEGIN RETURN true; END'"
ON_A_NEW_CONNECTION = "CASE WHEN EXISTS (SELECT FROM pg_prepared_statements) THEN 0 ELSE 0.06 END"
PLANS = [
    Mutation(
        "an index that cannot answer alone",
        replaced_index(
            UNIQUE_CHANNEL,
            f"CREATE UNIQUE INDEX {UNIQUE_CHANNEL} ON {CHANNEL} (tenant_id, channel_code, allocation_date)",
        ),
        "MV-4.4.1 MV-2.3.1",
        reason="not index-only: Index Scan",
    ),
    Mutation(
        "days whose index cannot answer alone",
        replaced_index(
            UNIQUE_DAY, f"CREATE UNIQUE INDEX {UNIQUE_DAY} ON {DAY} (tenant_id, revenue_date, state, currency)"
        ),
        "MV-4.4.2 MV-3.3.1",
        reason="not index-only: Index Scan",
    ),
    Mutation(
        "an index that is invalid",
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{UNIQUE_CHANNEL}'::regclass",
        "MV-4.4.1 MV-2.3.1 MV-2.3.2",
        reason=f"index not used: {UNIQUE_CHANNEL}",
    ),
    Mutation(
        "days without an index", f"DROP INDEX {UNIQUE_DAY}", "MV-4.4.2 MV-3.3.1 MV-3.3.2", reason="index not used"
    ),
    Mutation(
        "channels added up while they are read",
        shown(CHANNEL, (f"FROM {CHANNEL}\n", f"FROM ({ADDED_UP}) AS added_up\n")),
        "MV-4.4.1",
        reason="it reads attribution_allocations",
    ),
    Mutation(
        "days that look at the ledger too",
        shown(DAY, ("WHERE ", f"WHERE EXISTS (SELECT FROM {LEDGER} AS entry WHERE entry.state = {DAY}.state) AND ")),
        "MV-4.4.2",
        reason="it reads revenue_ledger",
    ),
    Mutation(
        "channels that cost too much",
        f"{DEARLY}; {shown(CHANNEL, ('WHERE ', 'WHERE mutant(tenant_id) AND '))}",
        "MV-4.4.1",
        reason="total_cost is",
    ),
    Mutation(
        "days that take their time",
        shown(DAY, ("WHERE ", "WHERE (SELECT pg_sleep(0.11)) IS NOT NULL AND ")),
        "MV-4.4.2",
        reason="execution_ms is",
    ),
    Mutation(
        "days that are slow on a new connection",
        shown(DAY, ("WHERE ", f"WHERE (SELECT pg_sleep({ON_A_NEW_CONNECTION})) IS NOT NULL AND ")),
        "MV-4.4.3",
        reason="cold: p50 is",
    ),
]
