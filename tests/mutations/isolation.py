"""Rights and views through which rows of one tenant reach another, or nobody."""

from collections.abc import Iterator

from mutations.mutation import CONTRACT, EVENTS, LEDGER, Mutation
from mutations.view import LATEST, OWN_ROWS, READ_THROUGH, SCOPED, also, remade, revision, shown

CHANNEL, DAY = "mv_channel_performance", "mv_daily_revenue_summary"
REALTIME, RECONCILED = "mv_realtime_revenue", "mv_reconciliation_status"
TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"
BARRIER = " WITH (security_barrier = true)"
FRESHNESS = "max(entry.updated_at)"


def mutations() -> Iterator[Mutation]:
    for view in CONTRACT.views:
        yield from _granted(view)
        yield from _shown(view)
    yield from RIGHTS
    yield from TABLES
    for name, changes, red, reason in MIGRATION:
        yield Mutation(name, "", red, reason=reason, at="MV-3", edits=revision(SCOPED, *changes))
    yield from REPAIRED


def _granted(view: str) -> Iterator[Mutation]:
    """Rights in a materialized view, of which every one is too many."""
    seen = f"rows of others are shown by {view}"
    yield Mutation(f"app_ro may read {view}", f"GRANT SELECT ON {view} TO app_ro", "H.1.1 H.3.1 H.3.3", reason=seen)
    yield Mutation(f"app_rw may read {view}", f"GRANT SELECT ON {view} TO app_rw", "H.1.2 H.3.2 H.3.3", reason=seen)
    yield Mutation(
        f"all may read {view}", f"GRANT SELECT ON {view} TO PUBLIC", "H.1.1 H.1.2 H.2.1 H.3.1 H.3.2 H.3.3", reason=seen
    )
    yield Mutation(
        f"app_ro may read one column of {view}",
        f"GRANT SELECT (tenant_id) ON {view} TO app_ro",
        "H.1.1 H.2.1 H.3.1 H.3.3",
        reason=seen,
    )
    yield Mutation(
        f"a stranger may read {view}", f"GRANT SELECT ON {view} TO pg_monitor", "H.3.3", reason="1 offending rows"
    )


def _shown(view: str) -> Iterator[Mutation]:
    """The view over it, as its migration could have made it."""
    over = READ_THROUGH[view]
    head, tail = f"CREATE VIEW {over}", f"FROM {view}\n        {OWN_ROWS}"
    seen = f"rows of others are shown by {over}"
    for name, changes, red, reason in (
        (f"{over} without a barrier", [(f"{head}{BARRIER}", head)], "H.1.3 H.S.1", seen),
        (f"{over} without a filter", [(tail, f"FROM {view}")], "H.1.1 H.1.2 H.1.3 H.2.1", seen),
        (
            f"{over} with a filter that lets all in",
            [(tail, f"FROM {view}\n        {OWN_ROWS} OR true")],
            "H.1.1 H.1.2 H.1.3 H.2.1",
            seen,
        ),
        (
            f"{over} of all where there is no tenant",
            [(tail, f"FROM {view} WHERE tenant_id = coalesce({TENANT}, tenant_id)")],
            "H.2.1",
            over,
        ),
        (
            f"{over} that says of all rows that they are the tenant's",
            [
                (tail, f"FROM {view}"),
                (f"{head}{BARRIER} AS\n        SELECT\n            tenant_id", f"{head}{BARRIER} AS\n        SELECT\n            {TENANT} AS tenant_id"),
            ],
            "H.1.1",
            "",
        ),
        (
            f"{over} by a setting that nobody makes",
            [(tail, tail.replace("app.current_tenant_id", "app.tenant"))],
            "H.1.1",
            "",
        ),
        (
            f"{over} that fails without a tenant",
            [(tail, f"FROM {view} WHERE tenant_id = current_setting('app.current_tenant_id')::uuid")],
            "H.2.1",
            "",
        ),
    ):
        yield Mutation(name, "", red, reason=reason, at="MV-3", edits=revision(SCOPED, *changes))


RIGHTS = [
    Mutation("app_ro may read everything", "GRANT pg_read_all_data TO app_ro", "H.1.1 H.3.1", undo="REVOKE pg_read_all_data FROM app_ro"),
    Mutation("app_rw sees past row security", "ALTER ROLE app_rw BYPASSRLS", "H.1.2 H.2.1", undo="ALTER ROLE app_rw NOBYPASSRLS"),
    Mutation("app_ro may act as the owner", "GRANT gatebook_owner TO app_ro", "H.1.1 H.3.1", undo="REVOKE gatebook_owner FROM app_ro"),
    Mutation("app_ro reads the log of refreshes", "GRANT SELECT ON mv_refresh_log TO app_ro", "H.1.1", reason="whose the rows of mv_refresh_log are"),
    Mutation("app_rw reads the log of refreshes", "GRANT SELECT ON mv_refresh_log TO app_rw", "H.1.2", reason="mv_refresh_log"),
    Mutation("app_ro reads errors of refreshes", "GRANT SELECT (error) ON mv_refresh_log TO app_ro", "H.1.1"),
    Mutation("an open materialized view more",
        "CREATE MATERIALIZED VIEW more AS SELECT tenant_id, name FROM (SELECT id AS tenant_id, name FROM tenants) AS t; GRANT SELECT ON more TO app_ro", "H.1.1 H.3.3"),
    Mutation("an open view more over raw rows", f"CREATE VIEW more AS SELECT * FROM {LEDGER}; ALTER VIEW more OWNER TO gatebook_owner; GRANT SELECT ON more TO app_ro", "H.1.1 H.2.1", reason="more"),
    Mutation("an open view that names no tenant", f"CREATE VIEW more AS SELECT sum(revenue_cents) AS revenue FROM {LEDGER}; ALTER VIEW more OWNER TO gatebook_owner; GRANT SELECT ON more TO app_ro", "H.1.1", reason="whose the rows of more are is not declared"),
    Mutation("an open table more", "CREATE TABLE more AS SELECT id AS tenant_id, name FROM tenants; GRANT SELECT ON more TO PUBLIC", "H.1.1 H.1.2 H.1.3 H.2.1", reason="more"),
    Mutation("views for their reader's rights", "ALTER VIEW realtime_revenue SET (security_invoker = true)", "H.1.1 H.S.1", since=15),
    Mutation("a view that may be called by a leaky function", "ALTER VIEW daily_revenue_summary SET (security_barrier = false)", "H.1.3", reason="daily_revenue_summary"),
]

TABLES = [
    Mutation("events open to all tenants", f"ALTER POLICY tenant_isolation_policy ON {EVENTS} USING (true)", "H.1.1 H.1.2 H.2.1", reason=EVENTS),
    Mutation("the ledger without row security", f"ALTER TABLE {LEDGER} DISABLE ROW LEVEL SECURITY", "H.1.1 H.1.2 H.1.3 H.2.1", reason=LEDGER),
    Mutation("transitions open to all tenants", "ALTER POLICY tenant_isolation_policy ON revenue_state_transitions USING (true)", "H.1.1", reason="revenue_state_transitions"),
    Mutation("tenants shown to each other", "ALTER POLICY tenant_isolation_policy ON tenants USING (true)", "H.1.1 H.2.1", reason="tenants"),
    Mutation("events of nobody shown to all", f"ALTER POLICY tenant_isolation_policy ON {EVENTS} USING (tenant_id = coalesce({TENANT}, tenant_id))", "H.2.1", reason=EVENTS),
    Mutation("the policy of the source document", f"ALTER POLICY tenant_isolation_policy ON {EVENTS} USING (tenant_id = current_setting('app.current_tenant_id')::uuid)", "H.2.1"),
    Mutation("the owner no longer sees one tenant", f"ALTER POLICY maintenance_policy ON {LEDGER} USING (tenant_id <> (SELECT min(id::text)::uuid FROM tenants))", "H.4.1", reason="row security may hide rows"),
]

MIGRATION = [
    ("rights left to app_ro", [("FROM PUBLIC, app_rw, app_ro", "FROM PUBLIC, app_rw")], "H.1.1 H.3.1 H.3.3 H.S.1", "rows of others"),
    ("rights left to app_rw", [("FROM PUBLIC, app_rw, app_ro", "FROM PUBLIC, app_ro")], "H.1.2 H.3.2 H.3.3 H.S.1", "rows of others"),
    ("views that app_ro may not read", [("TO app_rw, app_ro\n    \"\"\")\n    op.execute(\"\"\"\n        COMMENT", "TO app_rw\n    \"\"\")\n    op.execute(\"\"\"\n        COMMENT")], "H.S.1", "daily_revenue_summary to app_ro is missing"),
    ("views that all may read", [("TO app_rw, app_ro\n    \"\"\")\n    op.execute(\"\"\"\n        COMMENT", "TO app_rw, app_ro, PUBLIC\n    \"\"\")\n    op.execute(\"\"\"\n        COMMENT")], "H.S.1", "to PUBLIC added, not declared"),
    ("freshness as it was at the refresh", [("""extract(epoch FROM now() - (
                SELECT max(entry.updated_at)
                FROM revenue_ledger AS entry
                WHERE entry.tenant_id = mv_realtime_revenue.tenant_id
            ))::integer AS data_freshness_seconds""", "data_freshness_seconds")], "H.6.2", "the query answers otherwise"),
    ("freshness of what was made", [(FRESHNESS, "max(entry.created_at)")], "H.6.2", "the query answers otherwise"),
    ("freshness of the oldest entry", [(FRESHNESS, "min(entry.updated_at)")], "H.6.2", "the query answers otherwise"),
    ("freshness of all tenants", [("\n                WHERE entry.tenant_id = mv_realtime_revenue.tenant_id", "")], "H.6.2", ""),
    ("freshness in minutes", [("extract(epoch FROM now() - (", "extract(minutes FROM now() - (")], "H.6.2", ""),
    ("a view with a number that is not that of the materialized one", [("            total_revenue_cents,", "            total_revenue_cents + 1 AS total_revenue_cents,")], "H.1.1", ""),
    ("two columns in each other's place", [("            total_amount_cents,\n            transaction_count\n", "            transaction_count AS total_amount_cents,\n            total_amount_cents AS transaction_count\n")], "H.1.1", ""),
    ("a downgrade that gives no rights back", [("    op.execute(\"\"\"GRANT SELECT ON mv_realtime_revenue, mv_reconciliation_status TO app_rw, app_ro\"\"\")\n", "")], "H.7.1", ""),
    ("a downgrade that leaves a view", [("    op.execute(\"\"\"DROP VIEW reconciliation_status\"\"\")\n", "")], "H.7.1", ""),
]

REPAIRED = [
    Mutation("a comment on a column of a view left out", "", "H.S.1", at="MV-3", edits=revision(SCOPED, ("COLUMN reconciliation_status.state IS", "COLUMN reconciliation_status.tenant_id IS"))),
]
