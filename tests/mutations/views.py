"""Materialized views that hold something else: by their migration, by another definition, by what was done to them."""

from collections.abc import Iterator

from gatebook.embedded import OWNER
from mutations.mutation import ALLOCATIONS, LEDGER, Mutation
from mutations.view import CHANNEL, CHANNELS, DAILY, DAY, REALTIME, RECONCILED, RUNS, definition, remade, revision

UTC_DAY, VERIFIED_DAY = "(created_at AT TIME ZONE 'UTC')::date", "(verification_timestamp AT TIME ZONE 'UTC')::date"
WINDOW = "(date_trunc('day', now() AT TIME ZONE 'UTC') - interval '90 days') AT TIME ZONE 'UTC'"
AVERAGE, MEASURES = "avg(confidence_score)", "avg_confidence_score, total_allocations)"
STATES = "state IN ('captured', 'refunded', 'chargeback')"
CURRENT = "tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid"
STATE, CURRENCY = "            state,\n", "            currency,\n"
BY_DAY = f"{VERIFIED_DAY}, state, currency\n"
OLD = "now() - interval '40 days'"


def others(source: str) -> str:
    """All tenants but one."""
    return f"tenant_id <> (SELECT min(tenant_id::text)::uuid FROM {source})"


def mutations() -> Iterator[Mutation]:
    for name, changes, red, reason in CHANNEL_MIGRATION:
        yield Mutation(name, "", red, reason=reason, at="MV-1", edits=revision(CHANNELS, *changes))
    for name, changes, red, reason in DAILY_MIGRATION:
        yield Mutation(name, "", red, reason=reason, at="MV-2", edits=revision(DAILY, *changes))
    for name, view, changes, red, reason in REMADE:
        yield Mutation(name, remade(view, *changes), red, reason=reason)
    for view, what, change, red, reason in OVER_A_COPY:
        yield Mutation(f"{view} over a copy with {what}", _over_a_copy(view, change), red, reason=reason)
    for view, what, change, red in IN_PLACE:
        reason = "the contents are not what the last refresh on record left"
        yield Mutation(f"{view} with {what}", _in_place(view, change), red, reason=reason)


# What the migration of the channels says instead. The catalog gate cannot know: only what the view is gives it away.
CHANNEL_MIGRATION = [
    ("a window of 91 days", [("'90 days'", "'91 days'")], "MV-2.C.1 MV-2.C.2", "extra"),
    ("a window of 89 days", [("'90 days'", "'89 days'")], "MV-2.C.1 MV-2.C.2", "missing"),
    (
        "a window that begins at this time of the day",
        [("date_trunc('day', now() AT TIME ZONE 'UTC')", "(now() AT TIME ZONE 'UTC')")],
        "MV-2.C.1",
        "different",
    ),
    ("a window that ends yesterday", [("WHERE ", "WHERE created_at < current_date AND ")], "MV-2.C.1", "missing"),
    ("no window at all", [(f"WHERE created_at >= {WINDOW}", "")], "MV-2.C.1 MV-2.C.2", "extra"),
    ("conversions that are not distinct", [("count(DISTINCT event_id)", "count(event_id)")], "MV-2.C.1", "different"),
    ("allocations counted as events", [("count(*)", "count(DISTINCT event_id)")], "MV-2.C.1", "different"),
    ("equal amounts added once", [("sum(", "sum(DISTINCT ")], "MV-2.C.1", "different"),
    ("the greatest amount for the sum", [("sum(", "max(")], "MV-2.C.1", "different"),
    ("a sum without end", [("cents)::bigint", "cents::bigint)")], "MV-2.2.1", "type is 'numeric', wanted 'bigint'"),
    ("a sum in units", [("cents)::bigint", "cents / 100)::bigint")], "MV-2.C.1", "different"),
    ("an average in binary", [(AVERAGE, f"{AVERAGE}::double precision")], "MV-2.2.1", "type is 'double precision'"),
    ("an average to two digits", [(AVERAGE, f"round({AVERAGE}, 2)")], "MV-2.C.1", "different"),
    ("an average to six digits", [(AVERAGE, f"round({AVERAGE}, 6)")], "MV-2.C.1", "different"),
    (
        "an average of three digits",
        [(AVERAGE, f"{AVERAGE}::numeric(4,3)")],
        "MV-2.2.1 MV-2.C.1",
        "type is 'numeric(4,3)', wanted 'numeric'",
    ),
    ("an average of distinct scores", [("avg(", "avg(DISTINCT ")], "MV-2.C.1", "different"),
    (
        "an average weighted by money",
        [(AVERAGE, "sum(confidence_score * allocated_revenue_cents) / nullif(sum(allocated_revenue_cents), 0)")],
        "MV-2.C.1",
        "different",
    ),
    ("days of Tokyo", [("'UTC'", "'Asia/Tokyo'")], "MV-2.C.1", "missing"),
    (
        "days as the source document writes them",
        [(UTC_DAY, "date_trunc('day', created_at)")],
        "MV-2.2.1",
        "type is 'timestamp with time zone', wanted 'date'",
    ),
    ("one tenant left out", [("WHERE ", f"WHERE {others(ALLOCATIONS)} AND ")], "MV-2.C.1", "missing"),
    ("the tenant of the migration alone", [("WHERE ", f"WHERE {CURRENT} AND ")], "MV-2.C.1 MV-2.3.2", "missing"),
    ("one channel left out", [("WHERE ", "WHERE channel_code <> 'direct' AND ")], "MV-2.C.1", "missing"),
    ("doubtful allocations left out", [("WHERE ", "WHERE confidence_score > 0.5 AND ")], "MV-2.C.1", ""),
    (
        "a view that is not filled",
        [(f"channel_code, {UTC_DAY}\n", f"channel_code, {UTC_DAY} WITH NO DATA\n")],
        "MV-2.S.1 MV-2.3.2",
        "populated is False",
    ),
    (
        "columns in another order",
        [
            (f"{AVERAGE} AS avg_confidence_score,\n", "count(*) AS total_allocations,\n"),
            ("count(*) AS total_allocations\n", f"{AVERAGE} AS avg_confidence_score\n"),
        ],
        "MV-2.2.1",
        "",
    ),
    (
        "a column more",
        [("AS total_allocations\n", "AS total_allocations, min(created_at) AS since\n")],
        "MV-2.2.1 MV-2.S.1",
        "extra columns: since",
    ),
    (
        "a channel of at most 100 characters",
        [("            channel_code,\n", "            channel_code::varchar(100) AS channel_code,\n")],
        "MV-2.2.1",
        "type is 'character varying(100)'",
    ),
    ("channels without a unique index", [("UNIQUE INDEX", "INDEX")], "MV-2.3.1 MV-2.3.2", "is_unique is False"),
    (
        "an index of keys alone",
        [(f"INCLUDE (total_conversions, total_revenue_cents, {MEASURES}", "")],
        "MV-2.3.1",
        "included is []",
    ),
    ("an index with a measure less", [(MEASURES, "avg_confidence_score)")], "MV-2.3.1", "included is ['total_conv"),
    (
        "an index with a measure among its keys",
        [(")\n            INCLUDE (total_conversions, ", ", total_conversions)\n            INCLUDE (")],
        "MV-2.3.1",
        "'allocation_date', 'total_conversions']",
    ),
    (
        "an index in another order",
        [("(tenant_id, channel_code, allocation_date)", "(channel_code, tenant_id, allocation_date)")],
        "MV-2.3.1",
        "columns is ['channel_code', 'tenant_id', 'allocation_date']",
    ),
    (
        "an index with the newest day first",
        [("channel_code, allocation_date)", "channel_code, allocation_date DESC)")],
        "MV-2.3.1",
        "'allocation_date DESC']",
    ),
    (
        "an index of some rows",
        [(MEASURES, f"{MEASURES} WHERE total_allocations > 0")],
        "MV-2.3.1 MV-2.3.2",
        "predicate is '(total_allocations > 0)'",
    ),
    (
        "an index of another name",
        [("idx_mv_channel_performance_unique", "idx_mv_channels")],
        "MV-2.3.1 MV-2.S.1",
        "missing: idx_mv_channel_performance_unique",
    ),
    ("a comment without a purpose", [("'Purpose: revenue", "'Revenue")], "MV-2.4.1", "nothing of Purpose:"),
    ("a comment without the way to refresh", [(", CONCURRENTLY", "")], "MV-2.4.1", "nothing of CONCURRENTLY"),
    (
        "a comment on the wrong column",
        [("COLUMN mv_channel_performance.total_revenue_cents", "COLUMN mv_channel_performance.total_allocations")],
        "MV-2.S.1",
        "comment is None",
    ),
    ("a docstring that names no contract", [("params/api_contract.yaml", "that")], "MV-2.6.1", "does not name params"),
    (
        "a downgrade that leaves the view",
        [('op.execute("""DROP MATERIALIZED VIEW mv_channel_performance""")', "pass")],
        "MV-2.5.1",
        "mv_channel_performance",
    ),
    (
        "a downgrade that takes another view along",
        [("DROP MATERIALIZED VIEW mv_channel", "DROP MATERIALIZED VIEW mv_realtime_revenue, mv_channel")],
        "MV-2.5.1",
        "downgrade changed what the phase did not make",
    ),
]

DAILY_MIGRATION = [
    ("authorized entries let in", [("IN (", "IN ('authorized', ")], "MV-3.5.1 MV-3.C.1", "extra"),
    ("chargebacks left out", [(", 'chargeback'", "")], "MV-3.5.1 MV-3.C.1", "missing"),
    ("refunds left out", [("'refunded', ", "")], "MV-3.5.1 MV-3.C.1", "missing"),
    ("captured entries left out", [("'captured', ", "")], "MV-3.5.1 MV-3.C.1", "missing"),
    ("entries of every state", [(f"WHERE {STATES}", "")], "MV-3.5.1 MV-3.C.1", "extra"),
    (
        "entries of a few weeks",
        [("WHERE ", f"WHERE verification_timestamp > {OLD} AND ")],
        "MV-3.C.1 MV-3.5.1",
        "missing",
    ),
    ("entries in dollars alone", [("WHERE ", "WHERE currency = 'USD' AND ")], "MV-3.C.1", "missing"),
    ("days without one tenant", [("WHERE ", f"WHERE {others(LEDGER)} AND ")], "MV-3.C.1", "missing"),
    (
        "currencies added up",
        [(CURRENCY, "            max(currency)::varchar(3) AS currency,\n"), (BY_DAY, f"{VERIFIED_DAY}, state\n")],
        "MV-3.C.1",
        "missing",
    ),
    (
        "states added up",
        [(STATE, "            max(state)::varchar(50) AS state,\n"), (BY_DAY, f"{VERIFIED_DAY}, currency\n")],
        "MV-3.C.1",
        "missing",
    ),
    ("days of Los Angeles", [("'UTC'", "'America/Los_Angeles'")], "MV-3.C.1", "missing"),
    ("days on which entries were made", [("(verification_timestamp AT", "(created_at AT")], "MV-3.C.1", "missing"),
    (
        "refunds taken away",
        [("sum(amount_cents)", "sum(CASE state WHEN 'captured' THEN amount_cents ELSE -amount_cents END)")],
        "MV-3.C.1",
        "different",
    ),
    ("cents cut off", [("sum(amount_cents)", "(sum(amount_cents) / 100 * 100)")], "MV-3.C.1", "different"),
    ("amounts without end", [("cents)::bigint", "cents::bigint)")], "MV-3.2.1", "type is 'numeric', wanted 'bigint'"),
    ("rows counted instead of entries", [("count(*)", "count(DISTINCT state)")], "MV-3.C.1", "different"),
    ("an entry too many a day", [("count(*)", "count(*) + 1")], "MV-3.C.1 MV-3.5.1", "different"),
    ("a state of any length", [(STATE, "            state::text AS state,\n")], "MV-3.2.1", "type is 'text'"),
    (
        "days that are not filled",
        [(BY_DAY, f"{BY_DAY.strip()} WITH NO DATA\n")],
        "MV-3.S.1 MV-3.3.2",
        "populated is False",
    ),
    ("days without a unique index", [("UNIQUE INDEX", "INDEX")], "MV-3.3.1 MV-3.3.2", "is_unique is False"),
    (
        "days with an index of keys alone",
        [("INCLUDE (total_amount_cents, transaction_count)", "")],
        "MV-3.3.1",
        "included is []",
    ),
    (
        "days with an index of captured rows",
        [("transaction_count)\n", "transaction_count) WHERE state = 'captured'\n")],
        "MV-3.3.1 MV-3.3.2",
        "predicate is",
    ),
    ("days with a comment that says nothing", [("Purpose: captured", "Captured")], "MV-3.4.1", "nothing of Purpose:"),
    (
        "a downgrade that forgets the days",
        [('op.execute("""DROP MATERIALIZED VIEW mv_daily_revenue_summary""")', "pass")],
        "MV-3.6.1",
        "mv_daily_revenue_summary",
    ),
]

# In a database that has had all: the view, and what its definition says instead.
REMADE = [
    (
        "channels by days of the session",
        CHANNEL,
        [(UTC_DAY, "created_at::date")],
        "H.5.1",
        f"{CHANNEL} under Asia/Tokyo, {CHANNEL} under America/Los_Angeles",
    ),
    (
        "a window of days of the session",
        CHANNEL,
        [(WINDOW, "date_trunc('day', now()) - '90 days'::interval")],
        "H.5.1",
        CHANNEL,
    ),
    (
        "a window without its time zone",
        CHANNEL,
        [(WINDOW, WINDOW.removesuffix(" AT TIME ZONE 'UTC'"))],
        "H.5.1",
        CHANNEL,
    ),
    ("revenue by days of the session", DAY, [(VERIFIED_DAY, "verification_timestamp::date")], "H.5.1", f"{DAY} under"),
    (
        "runs with the time of the session",
        RECONCILED,
        [("            state,", "            to_char(last_run_at, 'HH24')::varchar(20) AS state,")],
        "H.5.1 H.6.3",
        f"{RECONCILED} under",
    ),
    (
        "events counted as often as they are there",
        CHANNEL,
        [("count(DISTINCT event_id)", "count(*)")],
        "MV-4.3.4 MV-4.3.1 MV-4.3.3",
        "different",
    ),
    (
        "an average to three digits",
        CHANNEL,
        [(AVERAGE, f"round({AVERAGE}, 3)")],
        "MV-4.2.1 MV-4.2.2 MV-4.3.1 MV-4.3.3",
        "different",
    ),
    (
        "old allocations without their revenue",
        CHANNEL,
        [("sum(", f"sum(CASE WHEN created_at < {OLD} THEN 0 ELSE 1 END * ")],
        "MV-4.2.2 MV-4.3.1 MV-4.3.4 MV-4.3.3",
        "different",
    ),
    (
        "old entries without their amount",
        DAY,
        [("sum(", f"sum(CASE WHEN verification_timestamp < {OLD} THEN 0 ELSE 1 END * ")],
        "MV-4.2.4 MV-4.3.2 MV-4.3.3",
        "different",
    ),
    (
        "a cent more a day",
        DAY,
        [("sum(amount_cents)", "(sum(amount_cents) + 1)")],
        "MV-4.2.3 MV-4.2.4 MV-4.3.2",
        "different",
    ),
    ("a tenant's revenue cut off", REALTIME, [("sum(", "trunc(sum("), ("100.0", "100.0)")], "H.6.3", "different"),
    ("verified when one entry is", REALTIME, [("bool_and", "bool_or")], "H.6.3", "different"),
    ("the first run instead of the latest", RECONCILED, [("last_run_at DESC", "last_run_at")], "H.6.3", "different"),
    ("of two runs the other", RECONCILED, [("id DESC", "id")], "H.6.3", "different"),
    ("idle runs left out", RECONCILED, [("ORDER BY", "WHERE state <> 'idle' ORDER BY")], "H.6.3 H.4.1", "missing"),
    *(
        (
            f"one tenant left out of {view}",
            view,
            [(f"FROM {source}", f"FROM (SELECT * FROM {source} WHERE {others(source)}) AS those")],
            red,
            "1 missing",
        )
        for view, source, red in (
            (REALTIME, LEDGER, "H.4.1 H.6.3"),
            (RECONCILED, RUNS, "H.4.1 H.6.3"),
            (CHANNEL, ALLOCATIONS, "H.4.1"),
            (DAY, LEDGER, "H.4.1"),
        )
    ),
    (
        "a tenant that has no allocations",
        CHANNEL,
        [
            (
                f"channel_code, {UTC_DAY}",
                f"channel_code, {UTC_DAY} UNION ALL "
                "SELECT '00000000-0000-4000-8000-000000000000', 'direct', current_date, 1, 1, 1.0, 1",
            )
        ],
        "H.4.1 MV-4.3.1",
        "1 extra",
    ),
]

# One thing changed in the contents; {} is the relation.
CENT_MORE = "UPDATE {} SET total_revenue_cents = total_revenue_cents + 1 WHERE ctid = (SELECT min(ctid) FROM {})"
CENT_LESS = "UPDATE {} SET total_amount_cents = total_amount_cents - 1 WHERE ctid = (SELECT min(ctid) FROM {})"
ROW_LESS = "DELETE FROM {} WHERE ctid = (SELECT min(ctid) FROM {})"
CHANNEL_MORE = (
    "INSERT INTO {} SELECT tenant_id, 'more', max(allocation_date), 1, 100, 1.0, 1 FROM {} GROUP BY tenant_id LIMIT 1"
)
STATE_MORE = (
    "INSERT INTO {} SELECT tenant_id, max(revenue_date), 'more', 'USD', 100, 1 FROM {} GROUP BY tenant_id LIMIT 1"
)
OVER_A_COPY = [
    (CHANNEL, "a cent more", CENT_MORE, "MV-4.3.1 MV-4.2.2 MV-4.3.3 MV-2.C.1", "0 missing, 0 extra, 1 different"),
    (CHANNEL, "a row less", ROW_LESS, "MV-4.3.1 MV-4.2.2 MV-4.3.3 MV-2.C.1", "1 missing, 0 extra, 0 different"),
    (CHANNEL, "a channel more", CHANNEL_MORE, "MV-4.3.1 MV-4.2.1 MV-4.3.3 MV-2.C.1", "0 missing, 1 extra, 0 different"),
    (DAY, "a cent less", CENT_LESS, "MV-4.3.2 MV-4.2.4 MV-4.3.3 MV-3.C.1", "0 missing, 0 extra, 1 different"),
    (DAY, "a row less", ROW_LESS, "MV-4.3.2 MV-4.2.4 MV-4.3.3 MV-3.C.1", "1 missing, 0 extra, 0 different"),
    (DAY, "a state more", STATE_MORE, "MV-4.3.2 MV-3.5.1 MV-4.3.3 MV-3.C.1", "0 missing, 1 extra, 0 different"),
]
IN_PLACE = [
    (CHANNEL, "a cent more", CENT_MORE, "MV-4.3.3"),
    (CHANNEL, "a row less", ROW_LESS, "MV-4.3.3"),
    (CHANNEL, "a channel more", CHANNEL_MORE, "MV-4.3.3"),
    (DAY, "a cent less", CENT_LESS, "MV-4.3.3"),
    (DAY, "a row less", ROW_LESS, "MV-4.3.3"),
    (DAY, "a state more", STATE_MORE, "MV-4.3.3"),
    (REALTIME, "ten times the revenue", "UPDATE {} SET total_revenue = total_revenue * 10", "MV-4.3.3"),
    (RECONCILED, "all runs completed", "UPDATE {} SET state = 'completed'", "MV-4.3.3"),
]


def _over_a_copy(view: str, change: str) -> str:
    """The view made anew over a table that holds what it held, but for one thing."""
    copied = (
        f"CREATE TABLE copied AS TABLE {view}; ALTER TABLE copied OWNER TO {OWNER}; {change.replace('{}', 'copied')}"
    )
    return f"{copied}; {remade(view, (definition(view), f'CREATE MATERIALIZED VIEW {view} AS TABLE copied'))}"


def _in_place(view: str, change: str) -> str:
    """A materialized view cannot be written to. A superuser says that it is a table, and later that it is not."""
    said = f"UPDATE pg_class SET relkind = '%s', relhasrules = %s WHERE oid = '{view}'::regclass"
    return f"{said % ('r', 'false')}; {change.replace('{}', view)}; {said % ('m', 'true')}"
