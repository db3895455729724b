"""Rights and views through which rows of one tenant reach another, or nobody."""

from collections.abc import Iterator

from gatebook.embedded import OWNER
from mutations.mutation import CONTRACT, EVENTS, LEDGER, Mutation
from mutations.view import OWN_ROWS, READ_THROUGH, SCOPED, revision

TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"
BARRIER = " WITH (security_barrier = true)"
FIRST_COLUMN = " AS\n        SELECT\n            tenant_id"
REVOKED = "FROM PUBLIC, app_rw, app_ro"
SINCE_THE_CHANGE = """extract(epoch FROM statement_timestamp() - (
                SELECT max(entry.updated_at)
                FROM revenue_ledger AS entry
                WHERE entry.tenant_id = mv_realtime_revenue.tenant_id
            ))"""
GRANTED = 'TO app_rw, app_ro\n    """)\n    op.execute("""\n        COMMENT'


def mutations() -> Iterator[Mutation]:
    for view in CONTRACT.views:
        yield from _granted(view)
        yield from _scoped(view)
    yield from RIGHTS
    yield from WAYS
    yield from POLICIES
    for name, changes, red, reason in MIGRATION:
        yield Mutation(name, "", red, reason=reason, at="MV-3", edits=revision(SCOPED, *changes))


def _granted(view: str) -> Iterator[Mutation]:
    """Rights in a materialized view, of which every one is too many."""
    for name, right, red, reason in (
        (
            f"app_ro may read {view}",
            "SELECT ON {} TO app_ro",
            "H.1.1 H.3.1 H.3.3",
            f"rows of others are shown by {view}",
        ),
        (
            f"app_rw may read {view}",
            "SELECT ON {} TO app_rw",
            "H.1.2 H.3.2 H.3.3",
            f"rows of others are shown by {view}",
        ),
        (f"anybody may read {view}", "SELECT ON {} TO PUBLIC", "H.2.1 H.1.1 H.1.2 H.3.1 H.3.2 H.3.3", view),
        (f"app_ro may read a column of {view}", "SELECT (tenant_id) ON {} TO app_ro", "H.3.1 H.1.1 H.3.3", "was read"),
        (f"a stranger may read {view}", "SELECT ON {} TO pg_monitor", "H.3.3", "1 offending rows"),
        (
            f"a stranger may read a column of {view}",
            "SELECT (tenant_id) ON {} TO pg_monitor",
            "H.3.3",
            "1 offending rows",
        ),
    ):
        yield Mutation(name, f"GRANT {right.format(view)}", red, reason=reason)


def _scoped(view: str) -> Iterator[Mutation]:
    """The view over it, as a migration could have made it."""
    over = READ_THROUGH[view]
    head, tail = f"CREATE VIEW {over}{BARRIER}", f"FROM {view}\n        {OWN_ROWS}"
    shown = f"rows of others are shown by {over}"
    all_red = "H.1.1 H.1.2 H.1.3 H.2.1"
    for name, changes, red, reason in (
        (f"{over} without a barrier", [(head, head.removesuffix(BARRIER))], "H.1.3 H.S.1", shown),
        (f"{over} without a filter", [(tail, f"FROM {view}")], all_red, shown),
        (f"{over} with a filter that lets all in", [(tail, f"{tail} OR true")], all_red, shown),
        (
            f"{over} of all where there is no tenant",
            [(tail, f"FROM {view} WHERE tenant_id = coalesce({TENANT}, tenant_id)")],
            "H.2.1",
            over,
        ),
        (
            f"{over} of all under the tenant's name",
            [
                (tail, f"FROM {view} WHERE {TENANT} IS NOT NULL"),
                (f"{head}{FIRST_COLUMN}", f"{head}{FIRST_COLUMN.replace('tenant_id', TENANT)} AS tenant_id"),
            ],
            "H.8.1",
            over,
        ),
        (
            f"{over} by a setting that nobody makes",
            [(tail, tail.replace("app.current_tenant_id", "app.tenant"))],
            "H.8.1",
            over,
        ),
        (
            f"{over} that fails without a tenant",
            [(tail, f"FROM {view} WHERE tenant_id = current_setting('app.current_tenant_id')::uuid")],
            "H.2.1",
            over,
        ),
    ):
        yield Mutation(name, "", red, reason=reason, at="MV-3", edits=revision(SCOPED, *changes))


def _opened(kind: str, definition: str) -> str:
    """One object more, the owner's, which app_ro may read."""
    return f"CREATE {kind} more AS {definition}; ALTER {kind} more OWNER TO {OWNER}; GRANT SELECT ON more TO app_ro"


NAMES = "SELECT id AS tenant_id, name FROM tenants"
RIGHTS = [
    Mutation(
        "app_rw may refresh by itself",
        "GRANT MAINTAIN ON mv_realtime_revenue TO app_rw",
        "H.3.3 R.3.1",
        reason="1 offending rows",
        since=17,
    ),
    Mutation(
        "app_ro may hand a view on",
        "GRANT SELECT ON channel_performance TO app_ro WITH GRANT OPTION",
        "R.3.1 R.4.1",
        reason="channel_performance.app_ro",
    ),
    Mutation(
        "app_rw may write a log of its own",
        "GRANT INSERT ON mv_refresh_log TO app_rw",
        "R.3.1 R.4.1",
        reason="mv_refresh_log.app_rw",
    ),
    Mutation(
        "a materialized view of a superuser",
        "ALTER MATERIALIZED VIEW mv_reconciliation_status OWNER TO postgres",
        "P.1.3 H.1.1 H.6.1 R.4.1",
    ),
    Mutation("a view of a superuser", "ALTER VIEW channel_performance OWNER TO postgres", "H.S.1 R.4.1"),
    Mutation(
        "app_ro reads the log of refreshes",
        "GRANT SELECT ON mv_refresh_log TO app_ro",
        "H.1.1 H.2.1",
        reason="whose the rows of mv_refresh_log are is not declared",
    ),
    Mutation(
        "app_rw reads the errors of refreshes",
        "GRANT SELECT (error) ON mv_refresh_log TO app_rw",
        "H.1.2 H.2.1",
        reason="whose the rows of mv_refresh_log are is not declared",
    ),
    Mutation("an open materialized view more", _opened("MATERIALIZED VIEW", NAMES), "H.1.1 H.2.1 H.3.3", reason="more"),
    Mutation("an open view more", _opened("VIEW", f"SELECT * FROM {LEDGER}"), "H.1.1 H.2.1", reason="more"),
    Mutation(
        "an open view that names no tenant",
        _opened("VIEW", f"SELECT sum(revenue_cents) AS revenue FROM {LEDGER}"),
        "H.1.1 H.2.1",
        reason="whose the rows of more are is not declared",
    ),
    Mutation("an open table more", _opened("TABLE", NAMES), "H.1.1 H.1.3 H.2.1", reason="more"),
    Mutation(
        "a view with the rights of its reader",
        "ALTER VIEW realtime_revenue SET (security_invoker = true)",
        "H.1.1 H.S.1",
        reason="realtime_revenue",
        since=15,
    ),
    Mutation(
        "a view without its barrier from now on",
        "ALTER VIEW daily_revenue_summary SET (security_barrier = false)",
        "H.1.3 H.S.1",
        reason="rows of others are shown by daily_revenue_summary",
    ),
]


WAYS = [
    Mutation(
        "app_ro may read everything",
        "GRANT pg_read_all_data TO app_ro",
        "H.1.4 H.1.1 H.3.1",
        reason="app_ro: member of pg_read_all_data",
        undo="REVOKE pg_read_all_data FROM app_ro",
    ),
    Mutation(
        "app_rw sees past row security",
        "ALTER ROLE app_rw BYPASSRLS",
        "H.1.4 H.1.2 H.2.1",
        reason="app_rw: attribute bypasses row security",
        undo="ALTER ROLE app_rw NOBYPASSRLS",
    ),
    Mutation(
        "app_ro may do everything",
        "ALTER ROLE app_ro SUPERUSER",
        "H.1.4 H.1.1 H.3.1",
        reason="app_ro: attribute superuser",
        undo="ALTER ROLE app_ro NOSUPERUSER",
    ),
    Mutation(
        "app_ro may become another",
        "GRANT pg_monitor TO app_ro",
        "H.1.4",
        reason="app_ro: member of pg_monitor",
        undo="REVOKE pg_monitor FROM app_ro",
    ),
    Mutation(
        "a function that sums up all tenants",
        "CREATE FUNCTION more() RETURNS bigint LANGUAGE sql SECURITY DEFINER "
        f"AS 'SELECT sum(revenue_cents) FROM {LEDGER}'; ALTER FUNCTION more() OWNER TO {OWNER}",
        "H.1.4 H.S.1",
        reason="function more()",
    ),
    Mutation(
        "a tenant for those that name none",
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET app.current_tenant_id = %L', current_database(), "
        f"(SELECT min(tenant_id::text) FROM {LEDGER})); END$$",
        "H.2.1",
        reason="rows",
    ),
    Mutation(
        "a policy more for app_ro",
        f"CREATE POLICY more ON {LEDGER} FOR SELECT TO app_ro USING (true)",
        "H.1.1 H.1.3 H.2.1 R.3.1",
        reason=LEDGER,
    ),
]


def _policy(name: str, table: str, using: str, red: str, reason: str = "") -> Mutation:
    return Mutation(
        name, f"ALTER POLICY tenant_isolation_policy ON {table} USING ({using})", red, reason=reason or table
    )


POLICIES = [
    _policy("events shown to all tenants", EVENTS, "true", "H.1.1 H.1.2 H.2.1"),
    _policy("transitions shown to all tenants", "revenue_state_transitions", "true", "H.1.1 H.1.2 H.2.1"),
    _policy("tenants shown to each other", "tenants", "true", "H.1.1 H.1.2 H.2.1"),
    _policy("events shown to nobody's tenant", EVENTS, f"tenant_id = coalesce({TENANT}, tenant_id)", "H.2.1"),
    _policy(
        "the policy of the source document",
        EVENTS,
        "tenant_id = current_setting('app.current_tenant_id')::uuid",
        "H.2.1",
    ),
    Mutation(
        "the ledger open to all tenants",
        f"ALTER TABLE {LEDGER} DISABLE ROW LEVEL SECURITY",
        "H.1.1 H.1.2 H.1.3 H.2.1",
        reason=LEDGER,
    ),
    Mutation(
        "one tenant hidden from the owner",
        f"ALTER POLICY maintenance_policy ON {LEDGER} USING (tenant_id <> (SELECT min(id::text)::uuid FROM tenants))",
        "H.4.1",
        reason="row security may hide rows",
    ),
]

MIGRATION = [
    ("rights left to app_ro", [(REVOKED, "FROM PUBLIC, app_rw")], "H.1.1 H.3.1 H.3.3 H.S.1", "rows of others"),
    ("rights left to app_rw", [(REVOKED, "FROM PUBLIC, app_ro")], "H.1.2 H.3.2 H.3.3 H.S.1", "rows of others"),
    (
        "views that app_ro may not read",
        [(GRANTED, GRANTED.replace(", app_ro", ""))],
        "H.S.1",
        "grant channel_performance to app_ro is missing",
    ),
    (
        "views that anybody may read",
        [(GRANTED, GRANTED.replace("app_ro", "app_ro, PUBLIC"))],
        "H.S.1",
        "grant channel_performance to PUBLIC added, not declared",
    ),
    ("freshness of the refresh", [(f"greatest(0, {SINCE_THE_CHANGE})::integer AS ", "")], "H.6.2", "answers otherwise"),
    ("freshness of what was made", [("max(entry.updated_at)", "max(entry.created_at)")], "H.6.2", "answers otherwise"),
    ("freshness of the oldest entry", [("max(entry", "min(entry")], "H.6.2", "answers otherwise"),
    ("freshness of nothing", [(f"greatest(0, {SINCE_THE_CHANGE})", "NULL")], "H.6.2", "answers otherwise"),
    (
        "freshness of all tenants",
        [("\n                WHERE entry.tenant_id = mv_realtime_revenue.tenant_id", "")],
        "H.6.2",
        "answers otherwise",
    ),
    (
        "a cent more for the application",
        [("            total_revenue_cents,", "            total_revenue_cents + 1 AS total_revenue_cents,")],
        "H.8.1",
        "different",
    ),
    (
        "two columns in each other's place",
        [
            (
                "total_amount_cents,\n            transaction_count\n",
                "transaction_count AS total_amount_cents,\n            total_amount_cents AS transaction_count\n",
            )
        ],
        "H.8.1",
        "different",
    ),
    (
        "a comment on the wrong column of a view",
        [("COLUMN reconciliation_status.state IS", "COLUMN reconciliation_status.tenant_id IS")],
        "H.S.1",
        "column reconciliation_status.state: comment is None",
    ),
    (
        "a downgrade that gives no rights back",
        [
            (
                "GRANT SELECT ON mv_realtime_revenue, mv_reconciliation_status TO app_rw, app_ro",
                "SELECT 1",
            )
        ],
        "H.7.1",
        "to app_ro",
    ),
    (
        "a downgrade that leaves a view",
        [('    op.execute("""DROP VIEW reconciliation_status""")\n', "")],
        "H.7.1",
        "reconciliation_status",
    ),
]
