"""Ledger entries require an allocation.

Why    Revenue that leads back to no allocation cannot be explained. Entries without one are counted first,
       and the upgrade stops with their number and what to do about them. The owner of the table is subject
       to row security and would count none, so a policy for this role alone opens the table to the count
       and is dropped right after. SET NOT NULL itself looks at every row, whatever the policies say.

Locks  ACCESS EXCLUSIVE on revenue_ledger, for one scan to count and one to check. Nothing is rewritten.

Undo   Makes the column nullable again. No row is lost.
"""

from alembic import op

revision: str = "202511141302"
down_revision: str | None = "202511131250"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE POLICY allocation_check_policy ON revenue_ledger
            FOR SELECT TO CURRENT_USER USING (true)
    """)
    op.execute("""
        DO $$
        DECLARE
            orphans bigint;
        BEGIN
            SELECT pg_catalog.count(*) INTO orphans FROM revenue_ledger WHERE allocation_id IS NULL;
            IF orphans > 0 THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'not_null_violation',
                    MESSAGE = 'entries of revenue_ledger without an allocation: ' || orphans,
                    TABLE = 'revenue_ledger',
                    COLUMN = 'allocation_id',
                    HINT = 'Set their allocation_id, or archive and delete them, then upgrade again.';
            END IF;
        END
        $$
    """)
    op.execute("""DROP POLICY allocation_check_policy ON revenue_ledger""")
    op.execute("""ALTER TABLE revenue_ledger ALTER COLUMN allocation_id SET NOT NULL""")


def downgrade() -> None:
    op.execute("""ALTER TABLE revenue_ledger ALTER COLUMN allocation_id DROP NOT NULL""")
