"""The latest reconciliation run of a tenant is one run: mv_reconciliation_status made anew.

Why    The view took every run that started at the latest time. Two runs of a tenant with the same last_run_at made
       two rows, and from then on every refresh failed on the unique index. Now DISTINCT ON takes one: the run
       that started last, among these the one changed last, and then the one with the greatest id.

Locks  ACCESS EXCLUSIVE on mv_reconciliation_status until the revision commits: readers of the view wait. ACCESS
       SHARE on reconciliation_runs.

Undo   Makes the view as it was. Where two runs of a tenant share their latest start it cannot be filled, as it
       could not be before: it is then left empty, and a notice says so.
"""

from alembic import op

revision: str = "202511151530"
down_revision: str | None = "202511151520"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    # CI:DESTRUCTIVE_OK - made again below from the same rows, ADR-008
    op.execute("""DROP MATERIALIZED VIEW mv_reconciliation_status""")
    op.execute("""
        CREATE MATERIALIZED VIEW mv_reconciliation_status AS
        SELECT DISTINCT ON (tenant_id)
            tenant_id,
            state,
            last_run_at,
            id AS reconciliation_run_id
        FROM reconciliation_runs
        ORDER BY tenant_id, last_run_at DESC, updated_at DESC, id DESC
    """)
    op.execute("""
        COMMENT ON MATERIALIZED VIEW mv_reconciliation_status IS
            'Latest reconciliation run of each tenant, from reconciliation_runs, as of the last refresh; one row '
            'per tenant that has runs.'
    """)
    _index_grants_and_comments()


def downgrade() -> None:
    op.execute("""DROP MATERIALIZED VIEW mv_reconciliation_status""")
    op.execute("""
        CREATE MATERIALIZED VIEW mv_reconciliation_status AS
        SELECT
            run.tenant_id,
            run.state,
            run.last_run_at,
            run.id AS reconciliation_run_id
        FROM reconciliation_runs AS run
        JOIN (
            SELECT tenant_id, max(last_run_at) AS last_run_at
            FROM reconciliation_runs
            GROUP BY tenant_id
        ) AS latest
            ON latest.tenant_id = run.tenant_id
            AND latest.last_run_at = run.last_run_at
        WITH NO DATA
    """)
    op.execute("""
        COMMENT ON MATERIALIZED VIEW mv_reconciliation_status IS
            'Latest reconciliation run of each tenant, from reconciliation_runs, as of the last refresh.'
    """)
    _index_grants_and_comments()
    op.execute("""
        DO $$
        BEGIN
            REFRESH MATERIALIZED VIEW mv_reconciliation_status;
        EXCEPTION
            WHEN unique_violation THEN
                RAISE NOTICE 'mv_reconciliation_status is left empty: two runs of a tenant started at the same time';
        END
        $$
    """)


def _index_grants_and_comments() -> None:
    """What the view has in both of its forms."""
    op.execute("""
        CREATE UNIQUE INDEX idx_mv_reconciliation_status_tenant_id
            ON mv_reconciliation_status (tenant_id)
    """)
    op.execute("""REVOKE ALL ON mv_reconciliation_status FROM PUBLIC""")
    op.execute("""GRANT SELECT ON mv_reconciliation_status TO app_rw, app_ro""")
    op.execute("""
        COMMENT ON COLUMN mv_reconciliation_status.tenant_id IS
            'INVARIANT: auth_critical. Tenant the run belongs to.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_reconciliation_status.state IS
            'INVARIANT: financial_critical. Progress of the latest run.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_reconciliation_status.last_run_at IS
            'INVARIANT: financial_critical. When the latest run last started.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_reconciliation_status.reconciliation_run_id IS
            'INVARIANT: financial_critical. Identity of the latest run.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_mv_reconciliation_status_tenant_id IS
            'One row per tenant; lets the view be refreshed concurrently.'
    """)
