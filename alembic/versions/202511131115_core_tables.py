"""Core tables: tenants, events, allocations, ledger, dead events, reconciliation runs.

Why    Attribution starts from these six tables. Every row belongs to one tenant and goes when the tenant
       goes; money is kept in integer cents. An event is unique in its tenant by its external id or, where
       the source gives none, by its correlation id.

Locks  Only tables made here: nobody else can hold a lock on them yet.

Undo   Drops the six tables with all their rows.
"""

from alembic import op

revision: str = "202511131115"
down_revision: str | None = "202511121302"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    _create_tenants()
    _create_attribution_events()
    _create_attribution_allocations()
    _create_revenue_ledger()
    _create_dead_events()
    _create_reconciliation_runs()


def downgrade() -> None:
    op.execute("""DROP TABLE reconciliation_runs""")
    op.execute("""DROP TABLE dead_events""")
    op.execute("""DROP TABLE revenue_ledger""")
    op.execute("""DROP TABLE attribution_allocations""")
    op.execute("""DROP TABLE attribution_events""")
    op.execute("""DROP TABLE tenants""")


def _create_tenants() -> None:
    op.execute("""
        CREATE TABLE tenants (
            id uuid DEFAULT gen_random_uuid() NOT NULL,
            name varchar(255) NOT NULL,
            created_at timestamptz DEFAULT now() NOT NULL,
            updated_at timestamptz DEFAULT now() NOT NULL,
            CONSTRAINT tenants_pkey PRIMARY KEY (id),
            CONSTRAINT ck_tenants_name_not_empty CHECK (btrim(name) <> '')
        )
    """)
    op.execute("""CREATE INDEX idx_tenants_name ON tenants (name)""")
    op.execute("""
        COMMENT ON TABLE tenants IS
            'Customers of the product; every other row that holds customer data belongs to one of them.'
    """)
    op.execute("""
        COMMENT ON COLUMN tenants.id IS
            'INVARIANT: auth_critical. Identity of the tenant, and the value row security compares with.'
    """)
    op.execute("""
        COMMENT ON COLUMN tenants.name IS
            'INVARIANT: auth_critical. Name of the tenant as shown to people; never blank.'
    """)
    op.execute("""
        COMMENT ON COLUMN tenants.created_at IS
            'INVARIANT: none. When the row was made.'
    """)
    op.execute("""
        COMMENT ON COLUMN tenants.updated_at IS
            'INVARIANT: none. When the row was last changed.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT tenants_pkey ON tenants IS
            'One row for each tenant.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_tenants_name_not_empty ON tenants IS
            'A tenant has a name that is more than blanks.'
    """)
    op.execute("""
        COMMENT ON INDEX tenants_pkey IS
            'Finds a tenant by its identity.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_tenants_name IS
            'Finds tenants by name.'
    """)


def _create_attribution_events() -> None:
    op.execute("""
        CREATE TABLE attribution_events (
            id uuid DEFAULT gen_random_uuid() NOT NULL,
            tenant_id uuid NOT NULL,
            created_at timestamptz DEFAULT now() NOT NULL,
            updated_at timestamptz DEFAULT now() NOT NULL,
            occurred_at timestamptz NOT NULL,
            external_event_id text,
            correlation_id uuid,
            session_id uuid,
            revenue_cents integer DEFAULT 0 NOT NULL,
            raw_payload jsonb NOT NULL,
            CONSTRAINT attribution_events_pkey PRIMARY KEY (id),
            CONSTRAINT attribution_events_tenant_id_fkey
                FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
            CONSTRAINT ck_attribution_events_revenue_positive CHECK (revenue_cents >= 0)
        )
    """)
    op.execute("""
        CREATE UNIQUE INDEX idx_attribution_events_tenant_external_event_id
            ON attribution_events (tenant_id, external_event_id)
            WHERE external_event_id IS NOT NULL
    """)
    op.execute("""
        CREATE UNIQUE INDEX idx_attribution_events_tenant_correlation_id
            ON attribution_events (tenant_id, correlation_id)
            WHERE correlation_id IS NOT NULL AND external_event_id IS NULL
    """)
    op.execute("""
        CREATE INDEX idx_attribution_events_tenant_occurred_at
            ON attribution_events (tenant_id, occurred_at DESC)
    """)
    op.execute("""
        CREATE INDEX idx_attribution_events_session_id
            ON attribution_events (session_id)
            WHERE session_id IS NOT NULL
    """)
    op.execute("""
        COMMENT ON TABLE attribution_events IS
            'Events, as received, that revenue can be attributed to.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.id IS
            'INVARIANT: processing_critical. Identity of the event.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.tenant_id IS
            'INVARIANT: auth_critical. Tenant that owns the event; row security compares it.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.created_at IS
            'INVARIANT: none. When the row was made.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.updated_at IS
            'INVARIANT: none. When the row was last changed.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.occurred_at IS
            'INVARIANT: processing_critical. When the event happened, by its source.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.external_event_id IS
            'INVARIANT: processing_critical. Id the source gave the event, if it gave one.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.correlation_id IS
            'INVARIANT: processing_critical. Joins the event to the request that brought it.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.session_id IS
            'INVARIANT: privacy_critical. Session the event belongs to; NULL when it is not known.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.revenue_cents IS
            'INVARIANT: financial_critical. Revenue of the event in cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.raw_payload IS
            'INVARIANT: processing_critical. The event as it was received.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT attribution_events_pkey ON attribution_events IS
            'One row for each event.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT attribution_events_tenant_id_fkey ON attribution_events IS
            'An event belongs to a tenant and goes with it.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_attribution_events_revenue_positive ON attribution_events IS
            'Revenue of an event is not negative.'
    """)
    op.execute("""
        COMMENT ON INDEX attribution_events_pkey IS
            'Finds an event by its identity.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_events_tenant_external_event_id IS
            'An external id names one event of a tenant.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_events_tenant_correlation_id IS
            'Without an external id, a correlation id names one event of a tenant.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_events_tenant_occurred_at IS
            'Lists the events of a tenant, newest first.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_events_session_id IS
            'Finds the events of a session.'
    """)


def _create_attribution_allocations() -> None:
    op.execute("""
        CREATE TABLE attribution_allocations (
            id uuid DEFAULT gen_random_uuid() NOT NULL,
            tenant_id uuid NOT NULL,
            event_id uuid NOT NULL,
            created_at timestamptz DEFAULT now() NOT NULL,
            updated_at timestamptz DEFAULT now() NOT NULL,
            channel text NOT NULL,
            allocated_revenue_cents integer DEFAULT 0 NOT NULL,
            model_metadata jsonb,
            correlation_id uuid,
            CONSTRAINT attribution_allocations_pkey PRIMARY KEY (id),
            CONSTRAINT attribution_allocations_tenant_id_fkey
                FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
            CONSTRAINT attribution_allocations_event_id_fkey
                FOREIGN KEY (event_id) REFERENCES attribution_events (id) ON DELETE CASCADE,
            CONSTRAINT ck_attribution_allocations_revenue_positive CHECK (allocated_revenue_cents >= 0)
        )
    """)
    op.execute("""
        CREATE INDEX idx_attribution_allocations_tenant_created_at
            ON attribution_allocations (tenant_id, created_at DESC)
    """)
    op.execute("""CREATE INDEX idx_attribution_allocations_event_id ON attribution_allocations (event_id)""")
    op.execute("""CREATE INDEX idx_attribution_allocations_channel ON attribution_allocations (channel)""")
    op.execute("""
        COMMENT ON TABLE attribution_allocations IS
            'Shares of the revenue of an event, one for each channel credited by a model.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.id IS
            'INVARIANT: processing_critical. Identity of the allocation.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.tenant_id IS
            'INVARIANT: auth_critical. Tenant that owns the allocation; row security compares it.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.event_id IS
            'INVARIANT: processing_critical. Event whose revenue is allocated.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.created_at IS
            'INVARIANT: none. When the row was made.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.updated_at IS
            'INVARIANT: none. When the row was last changed.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.channel IS
            'INVARIANT: analytics_important. Channel the revenue is credited to.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.allocated_revenue_cents IS
            'INVARIANT: financial_critical. Revenue credited to the channel, in cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.model_metadata IS
            'INVARIANT: analytics_important. Parameters of the model that made the allocation.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.correlation_id IS
            'INVARIANT: processing_critical. Joins the allocation to the request that made it.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT attribution_allocations_pkey ON attribution_allocations IS
            'One row for each allocation.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT attribution_allocations_tenant_id_fkey ON attribution_allocations IS
            'An allocation belongs to a tenant and goes with it.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT attribution_allocations_event_id_fkey ON attribution_allocations IS
            'An allocation belongs to an event and goes with it.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_attribution_allocations_revenue_positive ON attribution_allocations IS
            'Allocated revenue is not negative.'
    """)
    op.execute("""
        COMMENT ON INDEX attribution_allocations_pkey IS
            'Finds an allocation by its identity.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_allocations_tenant_created_at IS
            'Lists the allocations of a tenant, newest first.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_allocations_event_id IS
            'Finds the allocations of an event.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_allocations_channel IS
            'Finds the allocations of a channel.'
    """)


def _create_revenue_ledger() -> None:
    op.execute("""
        CREATE TABLE revenue_ledger (
            id uuid DEFAULT gen_random_uuid() NOT NULL,
            tenant_id uuid NOT NULL,
            created_at timestamptz DEFAULT now() NOT NULL,
            updated_at timestamptz DEFAULT now() NOT NULL,
            revenue_cents integer DEFAULT 0 NOT NULL,
            is_verified boolean DEFAULT false NOT NULL,
            verified_at timestamptz,
            reconciliation_run_id uuid,
            CONSTRAINT revenue_ledger_pkey PRIMARY KEY (id),
            CONSTRAINT revenue_ledger_tenant_id_fkey
                FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
            CONSTRAINT ck_revenue_ledger_revenue_positive CHECK (revenue_cents >= 0)
        )
    """)
    op.execute("""
        CREATE INDEX idx_revenue_ledger_tenant_updated_at
            ON revenue_ledger (tenant_id, updated_at DESC)
    """)
    op.execute("""
        CREATE INDEX idx_revenue_ledger_is_verified
            ON revenue_ledger (is_verified)
            WHERE is_verified
    """)
    op.execute("""
        COMMENT ON TABLE revenue_ledger IS
            'Revenue entries of a tenant, verified or still to be verified.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.id IS
            'INVARIANT: financial_critical. Identity of the entry.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.tenant_id IS
            'INVARIANT: auth_critical. Tenant that owns the entry; row security compares it.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.created_at IS
            'INVARIANT: none. When the row was made.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.updated_at IS
            'INVARIANT: none. When the row was last changed.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.revenue_cents IS
            'INVARIANT: financial_critical. Revenue of the entry in cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.is_verified IS
            'INVARIANT: financial_critical. Whether the revenue was confirmed by its source.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.verified_at IS
            'INVARIANT: financial_critical. When the revenue was confirmed.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.reconciliation_run_id IS
            'INVARIANT: financial_critical. Reconciliation run that confirmed the entry, if one did.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT revenue_ledger_pkey ON revenue_ledger IS
            'One row for each entry.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT revenue_ledger_tenant_id_fkey ON revenue_ledger IS
            'An entry belongs to a tenant and goes with it.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_revenue_ledger_revenue_positive ON revenue_ledger IS
            'Revenue of an entry is not negative.'
    """)
    op.execute("""
        COMMENT ON INDEX revenue_ledger_pkey IS
            'Finds an entry by its identity.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_revenue_ledger_tenant_updated_at IS
            'Lists the entries of a tenant, last changed first.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_revenue_ledger_is_verified IS
            'Finds verified entries.'
    """)


def _create_dead_events() -> None:
    op.execute("""
        CREATE TABLE dead_events (
            id uuid DEFAULT gen_random_uuid() NOT NULL,
            tenant_id uuid NOT NULL,
            ingested_at timestamptz DEFAULT now() NOT NULL,
            source text NOT NULL,
            error_code text NOT NULL,
            error_detail jsonb NOT NULL,
            raw_payload jsonb NOT NULL,
            correlation_id uuid,
            external_event_id text,
            CONSTRAINT dead_events_pkey PRIMARY KEY (id),
            CONSTRAINT dead_events_tenant_id_fkey
                FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
        )
    """)
    op.execute("""
        CREATE INDEX idx_dead_events_tenant_ingested_at
            ON dead_events (tenant_id, ingested_at DESC)
    """)
    op.execute("""CREATE INDEX idx_dead_events_source ON dead_events (source)""")
    op.execute("""CREATE INDEX idx_dead_events_error_code ON dead_events (error_code)""")
    op.execute("""
        COMMENT ON TABLE dead_events IS
            'Events that could not be processed, kept with the error and the payload.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.id IS
            'INVARIANT: processing_critical. Identity of the dead event.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.tenant_id IS
            'INVARIANT: auth_critical. Tenant that owns the dead event; row security compares it.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.ingested_at IS
            'INVARIANT: processing_critical. When the event arrived.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.source IS
            'INVARIANT: processing_critical. Sender of the event.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.error_code IS
            'INVARIANT: processing_critical. Code of the error that stopped the event.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.error_detail IS
            'INVARIANT: processing_critical. What is known about the error.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.raw_payload IS
            'INVARIANT: processing_critical. The event as it was received.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.correlation_id IS
            'INVARIANT: processing_critical. Joins the dead event to the request that brought it.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.external_event_id IS
            'INVARIANT: processing_critical. Id the source gave the event, if it gave one.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT dead_events_pkey ON dead_events IS
            'One row for each dead event.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT dead_events_tenant_id_fkey ON dead_events IS
            'A dead event belongs to a tenant and goes with it.'
    """)
    op.execute("""
        COMMENT ON INDEX dead_events_pkey IS
            'Finds a dead event by its identity.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_dead_events_tenant_ingested_at IS
            'Lists the dead events of a tenant, newest first.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_dead_events_source IS
            'Finds dead events by sender.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_dead_events_error_code IS
            'Finds dead events by error code.'
    """)


def _create_reconciliation_runs() -> None:
    op.execute("""
        CREATE TABLE reconciliation_runs (
            id uuid DEFAULT gen_random_uuid() NOT NULL,
            tenant_id uuid NOT NULL,
            created_at timestamptz DEFAULT now() NOT NULL,
            updated_at timestamptz DEFAULT now() NOT NULL,
            last_run_at timestamptz NOT NULL,
            state varchar(20) DEFAULT 'idle' NOT NULL,
            error_message text,
            run_metadata jsonb,
            CONSTRAINT reconciliation_runs_pkey PRIMARY KEY (id),
            CONSTRAINT reconciliation_runs_tenant_id_fkey
                FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
            CONSTRAINT ck_reconciliation_runs_state_valid
                CHECK (state IN ('idle', 'running', 'failed', 'completed'))
        )
    """)
    op.execute("""
        CREATE INDEX idx_reconciliation_runs_tenant_last_run_at
            ON reconciliation_runs (tenant_id, last_run_at DESC)
    """)
    op.execute("""CREATE INDEX idx_reconciliation_runs_state ON reconciliation_runs (state)""")
    op.execute("""
        COMMENT ON TABLE reconciliation_runs IS
            'Runs that compare the ledger with the payment sources.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_runs.id IS
            'INVARIANT: financial_critical. Identity of the run.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_runs.tenant_id IS
            'INVARIANT: auth_critical. Tenant that owns the run; row security compares it.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_runs.created_at IS
            'INVARIANT: none. When the row was made.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_runs.updated_at IS
            'INVARIANT: none. When the row was last changed.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_runs.last_run_at IS
            'INVARIANT: financial_critical. When the run last started.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_runs.state IS
            'INVARIANT: financial_critical. Progress of the run (idle, running, failed, completed).'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_runs.error_message IS
            'INVARIANT: none. Why the run failed, if it did.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_runs.run_metadata IS
            'INVARIANT: none. Parameters and counts of the run.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT reconciliation_runs_pkey ON reconciliation_runs IS
            'One row for each run.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT reconciliation_runs_tenant_id_fkey ON reconciliation_runs IS
            'A run belongs to a tenant and goes with it.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_reconciliation_runs_state_valid ON reconciliation_runs IS
            'A run is idle, running, failed or completed.'
    """)
    op.execute("""
        COMMENT ON INDEX reconciliation_runs_pkey IS
            'Finds a run by its identity.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_reconciliation_runs_tenant_last_run_at IS
            'Lists the runs of a tenant, newest first.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_reconciliation_runs_state IS
            'Finds runs by progress.'
    """)
