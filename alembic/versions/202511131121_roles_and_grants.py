"""Roles and grants: app_rw writes, app_ro reads, PUBLIC nothing.

Why    Applications do not connect as the owner of the tables. Login roles are made members of app_rw or
       app_ro by whoever runs the cluster; row security then confines them to a tenant. Roles belong to the
       cluster, not to the database, so each is made only when it is missing. That needs CREATEROLE; without
       it the upgrade stops and names the statement an administrator has to run.

Locks  None that reads or writes of the tables wait for; rows of the system catalogs only.

Undo   Takes the grants back and leaves both roles, because other databases of the cluster may use them. An
       administrator drops them with DROP ROLE when no database does. No row is lost.
"""

from alembic import op

revision: str = "202511131121"
down_revision: str | None = "202511131120"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        DO $$
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'app_rw') THEN
                CREATE ROLE app_rw NOLOGIN;
                COMMENT ON ROLE app_rw IS 'Applications that read and write rows of their tenant.';
            END IF;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'insufficient_privilege',
                    MESSAGE = 'role app_rw is missing, and role ' || current_user || ' may not create roles',
                    HINT = 'Let an administrator run CREATE ROLE app_rw NOLOGIN once, then upgrade again.';
            WHEN duplicate_object OR unique_violation THEN
                RAISE NOTICE 'role app_rw was made by another session meanwhile';
        END
        $$
    """)
    op.execute("""
        DO $$
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'app_ro') THEN
                CREATE ROLE app_ro NOLOGIN;
                COMMENT ON ROLE app_ro IS 'Applications and people that read rows of their tenant.';
            END IF;
        EXCEPTION
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'insufficient_privilege',
                    MESSAGE = 'role app_ro is missing, and role ' || current_user || ' may not create roles',
                    HINT = 'Let an administrator run CREATE ROLE app_ro NOLOGIN once, then upgrade again.';
            WHEN duplicate_object OR unique_violation THEN
                RAISE NOTICE 'role app_ro was made by another session meanwhile';
        END
        $$
    """)
    op.execute("""
        REVOKE ALL
            ON tenants, attribution_events, attribution_allocations, revenue_ledger, dead_events,
                reconciliation_runs, mv_realtime_revenue, mv_reconciliation_status
            FROM PUBLIC
    """)
    op.execute("""
        GRANT SELECT, INSERT, UPDATE, DELETE
            ON tenants, attribution_events, attribution_allocations, revenue_ledger, dead_events,
                reconciliation_runs
            TO app_rw
    """)
    op.execute("""
        GRANT SELECT
            ON tenants, attribution_events, attribution_allocations, revenue_ledger, dead_events,
                reconciliation_runs
            TO app_ro
    """)
    op.execute("""GRANT SELECT ON mv_realtime_revenue, mv_reconciliation_status TO app_rw, app_ro""")


def downgrade() -> None:
    op.execute("""REVOKE SELECT ON mv_realtime_revenue, mv_reconciliation_status FROM app_rw, app_ro""")
    op.execute("""
        REVOKE SELECT
            ON tenants, attribution_events, attribution_allocations, revenue_ledger, dead_events,
                reconciliation_runs
            FROM app_ro
    """)
    op.execute("""
        REVOKE SELECT, INSERT, UPDATE, DELETE
            ON tenants, attribution_events, attribution_allocations, revenue_ledger, dead_events,
                reconciliation_runs
            FROM app_rw
    """)
