"""Row security: a connection sees and writes the rows of one tenant.

Why    The tenant of a connection is the setting app.current_tenant_id. Without it, or after RESET (which
       leaves an empty string), the comparison is with NULL: no tenant, no rows. FORCE makes the policies
       hold for the owner of the tables as well, so that no role but a superuser or one with BYPASSRLS reads
       across tenants.

Locks  ACCESS EXCLUSIVE on each of the six tables, for catalog changes only: no row is read or written.

Undo   Drops the policies and switches row security off again: every role with SELECT then sees all tenants.
       No row is lost.
"""

from alembic import op

revision: str = "202511131120"
down_revision: str | None = "202511131119"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""ALTER TABLE tenants ENABLE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE tenants FORCE ROW LEVEL SECURITY""")
    op.execute("""
        CREATE POLICY tenant_isolation_policy ON tenants
            USING (id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
            WITH CHECK (id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
    """)
    op.execute("""
        COMMENT ON POLICY tenant_isolation_policy ON tenants IS
            'The tenant of the connection is the only one it sees or writes.'
    """)
    op.execute("""ALTER TABLE attribution_events ENABLE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE attribution_events FORCE ROW LEVEL SECURITY""")
    op.execute("""
        CREATE POLICY tenant_isolation_policy ON attribution_events
            USING (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
            WITH CHECK (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
    """)
    op.execute("""
        COMMENT ON POLICY tenant_isolation_policy ON attribution_events IS
            'Rows of the tenant of the connection are the only ones it sees or writes.'
    """)
    op.execute("""ALTER TABLE attribution_allocations ENABLE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE attribution_allocations FORCE ROW LEVEL SECURITY""")
    op.execute("""
        CREATE POLICY tenant_isolation_policy ON attribution_allocations
            USING (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
            WITH CHECK (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
    """)
    op.execute("""
        COMMENT ON POLICY tenant_isolation_policy ON attribution_allocations IS
            'Rows of the tenant of the connection are the only ones it sees or writes.'
    """)
    op.execute("""ALTER TABLE revenue_ledger ENABLE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE revenue_ledger FORCE ROW LEVEL SECURITY""")
    op.execute("""
        CREATE POLICY tenant_isolation_policy ON revenue_ledger
            USING (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
            WITH CHECK (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
    """)
    op.execute("""
        COMMENT ON POLICY tenant_isolation_policy ON revenue_ledger IS
            'Rows of the tenant of the connection are the only ones it sees or writes.'
    """)
    op.execute("""ALTER TABLE dead_events ENABLE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE dead_events FORCE ROW LEVEL SECURITY""")
    op.execute("""
        CREATE POLICY tenant_isolation_policy ON dead_events
            USING (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
            WITH CHECK (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
    """)
    op.execute("""
        COMMENT ON POLICY tenant_isolation_policy ON dead_events IS
            'Rows of the tenant of the connection are the only ones it sees or writes.'
    """)
    op.execute("""ALTER TABLE reconciliation_runs ENABLE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE reconciliation_runs FORCE ROW LEVEL SECURITY""")
    op.execute("""
        CREATE POLICY tenant_isolation_policy ON reconciliation_runs
            USING (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
            WITH CHECK (tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid)
    """)
    op.execute("""
        COMMENT ON POLICY tenant_isolation_policy ON reconciliation_runs IS
            'Rows of the tenant of the connection are the only ones it sees or writes.'
    """)


def downgrade() -> None:
    op.execute("""DROP POLICY tenant_isolation_policy ON reconciliation_runs""")
    op.execute("""ALTER TABLE reconciliation_runs NO FORCE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE reconciliation_runs DISABLE ROW LEVEL SECURITY""")
    op.execute("""DROP POLICY tenant_isolation_policy ON dead_events""")
    op.execute("""ALTER TABLE dead_events NO FORCE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE dead_events DISABLE ROW LEVEL SECURITY""")
    op.execute("""DROP POLICY tenant_isolation_policy ON revenue_ledger""")
    op.execute("""ALTER TABLE revenue_ledger NO FORCE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE revenue_ledger DISABLE ROW LEVEL SECURITY""")
    op.execute("""DROP POLICY tenant_isolation_policy ON attribution_allocations""")
    op.execute("""ALTER TABLE attribution_allocations NO FORCE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE attribution_allocations DISABLE ROW LEVEL SECURITY""")
    op.execute("""DROP POLICY tenant_isolation_policy ON attribution_events""")
    op.execute("""ALTER TABLE attribution_events NO FORCE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE attribution_events DISABLE ROW LEVEL SECURITY""")
    op.execute("""DROP POLICY tenant_isolation_policy ON tenants""")
    op.execute("""ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE tenants DISABLE ROW LEVEL SECURITY""")
