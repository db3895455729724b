"""Channel performance by UTC day: mv_channel_performance.

Contract  params/api_contract.yaml, view mv_channel_performance.

Why    A dashboard that sums allocations on every request reads the whole table of its tenant. The view holds one
       row for each tenant, channel and UTC day of the last 90 days and today. Days are cut in UTC, and so is the
       window, so that they do not depend on the TimeZone of whoever refreshes. The unique index is what REFRESH
       MATERIALIZED VIEW CONCURRENTLY needs; it carries the measures too, so that reading the view is an
       index-only scan. Conversions are distinct events of one day: summed over days, an event that has
       allocations on several days counts once for each.

Locks  ACCESS SHARE on attribution_allocations while the view is filled: reads and writes go on.

Undo   Drops the view and, with it, its index; the allocations it is computed from keep every row.
"""

from alembic import op

revision: str = "202511151500"
down_revision: str | None = "202511151450"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE MATERIALIZED VIEW mv_channel_performance AS
        SELECT
            tenant_id,
            channel_code,
            (created_at AT TIME ZONE 'UTC')::date AS allocation_date,
            count(DISTINCT event_id) AS total_conversions,
            sum(allocated_revenue_cents)::bigint AS total_revenue_cents,
            avg(confidence_score) AS avg_confidence_score,
            count(*) AS total_allocations
        FROM attribution_allocations
        WHERE created_at >= (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '90 days') AT TIME ZONE 'UTC'
        GROUP BY tenant_id, channel_code, (created_at AT TIME ZONE 'UTC')::date
    """)
    op.execute("""
        CREATE UNIQUE INDEX idx_mv_channel_performance_unique
            ON mv_channel_performance (tenant_id, channel_code, allocation_date)
            INCLUDE (total_conversions, total_revenue_cents, avg_confidence_score, total_allocations)
    """)
    op.execute("""REVOKE ALL ON mv_channel_performance FROM PUBLIC, app_rw, app_ro""")
    op.execute("""
        COMMENT ON MATERIALIZED VIEW mv_channel_performance IS
            'Purpose: revenue, conversions and confidence of each channel by UTC day, for dashboards; today and '
            'the 90 days before. Refresh: hourly and after bulk changes, CONCURRENTLY, by '
            'refresh_materialized_view().'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_channel_performance.tenant_id IS
            'INVARIANT: auth_critical. Tenant whose allocations are summed up.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_channel_performance.channel_code IS
            'INVARIANT: analytics_important. Channel of the taxonomy that the revenue is attributed to.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_channel_performance.allocation_date IS
            'INVARIANT: analytics_important. UTC day on which the allocations were made.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_channel_performance.total_conversions IS
            'INVARIANT: analytics_important. Distinct events of the day; does not add up over days.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_channel_performance.total_revenue_cents IS
            'INVARIANT: financial_critical. Sum of allocated_revenue_cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_channel_performance.avg_confidence_score IS
            'INVARIANT: analytics_important. Average of confidence_score; weigh it by total_allocations when '
            'averaging over days.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_channel_performance.total_allocations IS
            'INVARIANT: analytics_important. Number of allocations.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_mv_channel_performance_unique IS
            'One row for each tenant, channel and day; lets the view be refreshed concurrently and read by index '
            'alone.'
    """)


def downgrade() -> None:
    op.execute("""DROP MATERIALIZED VIEW mv_channel_performance""")
