"""Phase 4: tenants get an API key hash and a notification address.

Why    Ingestion authenticates a tenant by the hash of its API key, and alerts need an address. A tenant
       made before gets a random value that is marked as locked and that no hash function can output, so
       that nobody can authenticate with it, and an address under .invalid, which never receives mail; both
       wait to be replaced. The values are computed while the table is rewritten, not by an UPDATE: a
       rewrite fires no row trigger, is not confined by row security, touches each row once and leaves no
       dead rows.

       Row security holds for the owner of the tables too. From here on a policy opens the six tables to the
       role that runs this revision, and to no other, so that backfills and materialized views see every
       tenant. Row security itself stays on. Where a table has none, the policy has no effect.

Locks  ACCESS EXCLUSIVE on all six tables until the revision commits: the policies change the catalog only,
       tenants is rewritten once and then read once to build the index. Readers with an older snapshot see
       tenants empty.

Undo   Drops both columns with every key hash and address in them, the index and the six policies.
"""

from alembic import op

revision: str = "202511151400"
down_revision: str | None = "202511141311"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE POLICY maintenance_policy ON tenants
            FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)
    """)
    op.execute("""
        COMMENT ON POLICY maintenance_policy ON tenants IS
            'The role that runs migrations and refreshes sees and writes the rows of every tenant.'
    """)
    op.execute("""
        CREATE POLICY maintenance_policy ON attribution_events
            FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)
    """)
    op.execute("""
        COMMENT ON POLICY maintenance_policy ON attribution_events IS
            'The role that runs migrations and refreshes sees and writes the rows of every tenant.'
    """)
    op.execute("""
        CREATE POLICY maintenance_policy ON attribution_allocations
            FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)
    """)
    op.execute("""
        COMMENT ON POLICY maintenance_policy ON attribution_allocations IS
            'The role that runs migrations and refreshes sees and writes the rows of every tenant.'
    """)
    op.execute("""
        CREATE POLICY maintenance_policy ON revenue_ledger
            FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)
    """)
    op.execute("""
        COMMENT ON POLICY maintenance_policy ON revenue_ledger IS
            'The role that runs migrations and refreshes sees and writes the rows of every tenant.'
    """)
    op.execute("""
        CREATE POLICY maintenance_policy ON dead_events
            FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)
    """)
    op.execute("""
        COMMENT ON POLICY maintenance_policy ON dead_events IS
            'The role that runs migrations and refreshes sees and writes the rows of every tenant.'
    """)
    op.execute("""
        CREATE POLICY maintenance_policy ON reconciliation_runs
            FOR ALL TO CURRENT_USER USING (true) WITH CHECK (true)
    """)
    op.execute("""
        COMMENT ON POLICY maintenance_policy ON reconciliation_runs IS
            'The role that runs migrations and refreshes sees and writes the rows of every tenant.'
    """)
    op.execute("""
        ALTER TABLE tenants
            ADD COLUMN api_key_hash varchar(255),
            ADD COLUMN notification_email varchar(255)
    """)
    op.execute("""
        ALTER TABLE tenants
            ALTER COLUMN api_key_hash TYPE varchar(255)
                USING concat('!locked:', replace(concat(gen_random_uuid(), gen_random_uuid()), '-', '')),
            ALTER COLUMN api_key_hash SET NOT NULL,
            ALTER COLUMN notification_email TYPE varchar(255)
                USING concat('tenant-', id, '@placeholder.invalid'),
            ALTER COLUMN notification_email SET NOT NULL
    """)
    op.execute("""CREATE UNIQUE INDEX idx_tenants_api_key_hash ON tenants (api_key_hash)""")
    op.execute("""
        COMMENT ON COLUMN tenants.api_key_hash IS
            'INVARIANT: auth_critical. Hash of the API key that authenticates the tenant; !locked: marks '
            'a tenant without a usable key.'
    """)
    op.execute("""
        COMMENT ON COLUMN tenants.notification_email IS
            'INVARIANT: auth_critical. Address that receives alerts about the tenant; under '
            'placeholder.invalid until one is set.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_tenants_api_key_hash IS
            'Finds the tenant of an API key, and keeps two tenants from sharing one.'
    """)


def downgrade() -> None:
    op.execute("""DROP INDEX idx_tenants_api_key_hash""")
    op.execute("""
        ALTER TABLE tenants
            DROP COLUMN notification_email,
            DROP COLUMN api_key_hash
    """)
    op.execute("""DROP POLICY maintenance_policy ON reconciliation_runs""")
    op.execute("""DROP POLICY maintenance_policy ON dead_events""")
    op.execute("""DROP POLICY maintenance_policy ON revenue_ledger""")
    op.execute("""DROP POLICY maintenance_policy ON attribution_allocations""")
    op.execute("""DROP POLICY maintenance_policy ON attribution_events""")
    op.execute("""DROP POLICY maintenance_policy ON tenants""")
