"""Allocations refer to the channel taxonomy.

Why    channel becomes channel_code, with a foreign key to channel_taxonomy. Channels that the taxonomy does
       not know are listed first, and the upgrade stops with what to do about them. The owner of the table
       is subject to row security and would find none, so a policy for this role alone opens the table to
       the search and is dropped right after. The foreign key itself looks at every row, whatever the
       policies say.

Locks  ACCESS EXCLUSIVE on attribution_allocations, for one scan to search and one to check; SHARE ROW
       EXCLUSIVE on channel_taxonomy. Nothing is rewritten; the indexes are renamed, not rebuilt.

Undo   Drops the foreign key and gives the column and its indexes their earlier names. No row is lost.
"""

from alembic import op

revision: str = "202511141311"
down_revision: str | None = "202511141310"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE POLICY channel_check_policy ON attribution_allocations
            FOR SELECT TO CURRENT_USER USING (true)
    """)
    op.execute("""
        DO $$
        DECLARE
            strangers text;
        BEGIN
            SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_literal(allocation.channel), ', ')
            INTO strangers
            FROM attribution_allocations AS allocation
            WHERE NOT EXISTS (SELECT FROM channel_taxonomy WHERE code = allocation.channel);
            IF strangers IS NOT NULL THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'foreign_key_violation',
                    MESSAGE = 'attribution_allocations holds channels that are not in channel_taxonomy',
                    DETAIL = 'Unknown channels: ' || strangers,
                    TABLE = 'attribution_allocations',
                    COLUMN = 'channel',
                    HINT = 'Add the codes to channel_taxonomy or correct the rows, then upgrade again.';
            END IF;
        END
        $$
    """)
    op.execute("""DROP POLICY channel_check_policy ON attribution_allocations""")
    op.execute("""ALTER TABLE attribution_allocations RENAME COLUMN channel TO channel_code""")
    op.execute("""
        ALTER TABLE attribution_allocations
            ADD CONSTRAINT fk_attribution_allocations_channel_code
                FOREIGN KEY (channel_code) REFERENCES channel_taxonomy (code)
    """)
    op.execute("""
        ALTER INDEX idx_attribution_allocations_channel
            RENAME TO idx_attribution_allocations_channel_code
    """)
    op.execute("""
        ALTER INDEX idx_attribution_allocations_tenant_event_model_channel
            RENAME TO idx_attribution_allocations_tenant_event_model_channel_code
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.channel_code IS
            'INVARIANT: analytics_important. Channel the revenue is credited to, as in channel_taxonomy.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT fk_attribution_allocations_channel_code ON attribution_allocations IS
            'A credited channel is in the taxonomy.'
    """)


def downgrade() -> None:
    op.execute("""
        ALTER INDEX idx_attribution_allocations_tenant_event_model_channel_code
            RENAME TO idx_attribution_allocations_tenant_event_model_channel
    """)
    op.execute("""
        ALTER INDEX idx_attribution_allocations_channel_code
            RENAME TO idx_attribution_allocations_channel
    """)
    op.execute("""
        ALTER TABLE attribution_allocations
            DROP CONSTRAINT fk_attribution_allocations_channel_code
    """)
    op.execute("""ALTER TABLE attribution_allocations RENAME COLUMN channel_code TO channel""")
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.channel IS
            'INVARIANT: analytics_important. Channel the revenue is credited to.'
    """)
