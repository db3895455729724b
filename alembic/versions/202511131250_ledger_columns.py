"""Ledger columns: the allocation an entry posts, and when it was posted.

Why    An entry has to lead back to the allocation it stands for. Entries made before have none, so
       allocation_id stays nullable here; the next revision requires it. An existing entry was posted when
       it was made: posted_at takes created_at, not the time of the migration. The values are computed while
       the table is rewritten, because an UPDATE would be confined by row security and by any trigger that
       keeps the ledger append-only.

Locks  ACCESS EXCLUSIVE on revenue_ledger for one rewrite, SHARE ROW EXCLUSIVE on attribution_allocations
       while the foreign key is made. The unique index then reads the ledger once.

Undo   Drops both columns with their data, the foreign key and the index. Which allocation an entry belongs
       to is lost.
"""

from alembic import op

revision: str = "202511131250"
down_revision: str | None = "202511131232"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE revenue_ledger
            ADD COLUMN allocation_id uuid,
            ADD COLUMN posted_at timestamptz,
            ADD CONSTRAINT revenue_ledger_allocation_id_fkey
                FOREIGN KEY (allocation_id) REFERENCES attribution_allocations (id) ON DELETE CASCADE
    """)
    op.execute("""
        ALTER TABLE revenue_ledger
            ALTER COLUMN posted_at TYPE timestamptz USING created_at,
            ALTER COLUMN posted_at SET DEFAULT now(),
            ALTER COLUMN posted_at SET NOT NULL
    """)
    op.execute("""
        CREATE UNIQUE INDEX idx_revenue_ledger_tenant_allocation_id
            ON revenue_ledger (tenant_id, allocation_id)
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.allocation_id IS
            'INVARIANT: financial_critical. Allocation the entry posts.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.posted_at IS
            'INVARIANT: financial_critical. When the entry was posted.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT revenue_ledger_allocation_id_fkey ON revenue_ledger IS
            'An entry posts an allocation and goes with it.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_revenue_ledger_tenant_allocation_id IS
            'An allocation is posted once.'
    """)


def downgrade() -> None:
    op.execute("""DROP INDEX idx_revenue_ledger_tenant_allocation_id""")
    op.execute("""
        ALTER TABLE revenue_ledger
            DROP CONSTRAINT revenue_ledger_allocation_id_fkey,
            DROP COLUMN posted_at,
            DROP COLUMN allocation_id
    """)
