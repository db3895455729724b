"""Phase 8b: a history of the states of ledger entries.

Why    Refunds and chargebacks have to be explained to auditors: every change of state is kept with its
       reason and its time, and goes with its ledger entry. The rows are customer data without a tenant of
       their own, so row security compares the tenant of the ledger entry, and compares it itself instead of
       relying on the policy of the ledger, which a later change could loosen. The role that runs this
       revision, and no other, sees every tenant.

Locks  SHARE ROW EXCLUSIVE on revenue_ledger until the revision commits: reads go on, writes wait for the
       catalog changes. Otherwise only the table made here.

Undo   Drops the table with all its rows: the history of states is lost, the ledger keeps the present ones.
"""

from alembic import op

revision: str = "202511151450"
down_revision: str | None = "202511151440"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE revenue_state_transitions (
            id uuid DEFAULT gen_random_uuid() NOT NULL,
            ledger_id uuid NOT NULL,
            from_state varchar(50),
            to_state varchar(50) NOT NULL,
            reason text,
            transitioned_at timestamptz DEFAULT now() NOT NULL,
            CONSTRAINT revenue_state_transitions_pkey PRIMARY KEY (id),
            CONSTRAINT revenue_state_transitions_ledger_id_fkey
                FOREIGN KEY (ledger_id) REFERENCES revenue_ledger (id) ON DELETE CASCADE
        )
    """)
    op.execute("""
        CREATE INDEX idx_revenue_state_transitions_ledger_id
            ON revenue_state_transitions (ledger_id, transitioned_at DESC)
    """)
    op.execute("""ALTER TABLE revenue_state_transitions ENABLE ROW LEVEL SECURITY""")
    op.execute("""ALTER TABLE revenue_state_transitions FORCE ROW LEVEL SECURITY""")
    op.execute("""
        CREATE POLICY tenant_isolation_policy ON revenue_state_transitions
            USING (EXISTS (
                SELECT FROM revenue_ledger AS entry
                WHERE entry.id = revenue_state_transitions.ledger_id
                    AND entry.tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid
            ))
            WITH CHECK (EXISTS (
                SELECT FROM revenue_ledger AS entry
                WHERE entry.id = revenue_state_transitions.ledger_id
                    AND entry.tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid
            ))
    """)
    op.execute("""
        CREATE POLICY maintenance_policy ON revenue_state_transitions
            FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)
    """)
    op.execute("""REVOKE ALL ON revenue_state_transitions FROM PUBLIC""")
    op.execute("""GRANT SELECT, INSERT, UPDATE, DELETE ON revenue_state_transitions TO app_rw""")
    op.execute("""GRANT SELECT ON revenue_state_transitions TO app_ro""")
    op.execute("""
        COMMENT ON TABLE revenue_state_transitions IS
            'Changes of the state of ledger entries, one row for each change.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_state_transitions.id IS
            'INVARIANT: financial_critical. Identity of the change.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_state_transitions.ledger_id IS
            'INVARIANT: financial_critical. Ledger entry whose state changed.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_state_transitions.from_state IS
            'INVARIANT: financial_critical. State before the change; NULL for the first one.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_state_transitions.to_state IS
            'INVARIANT: financial_critical. State after the change.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_state_transitions.reason IS
            'INVARIANT: none. Why the state changed.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_state_transitions.transitioned_at IS
            'INVARIANT: financial_critical. When the state changed.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT revenue_state_transitions_pkey ON revenue_state_transitions IS
            'One row for each change.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT revenue_state_transitions_ledger_id_fkey ON revenue_state_transitions IS
            'A change belongs to a ledger entry and goes with it.'
    """)
    op.execute("""
        COMMENT ON INDEX revenue_state_transitions_pkey IS
            'Finds a change by its identity.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_revenue_state_transitions_ledger_id IS
            'Lists the changes of a ledger entry, newest first.'
    """)
    op.execute("""
        COMMENT ON POLICY tenant_isolation_policy ON revenue_state_transitions IS
            'Changes of ledger entries of the tenant of the connection are the only ones it sees or '
            'writes.'
    """)
    op.execute("""
        COMMENT ON POLICY maintenance_policy ON revenue_state_transitions IS
            'The role that runs migrations and refreshes sees and writes the rows of every tenant.'
    """)


def downgrade() -> None:
    op.execute("""DROP TABLE revenue_state_transitions""")
