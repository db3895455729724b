"""Phase 5: events get their idempotency key, type, channel, value, time and processing state.

Why    Ingestion needs one key that makes an event unique, and workers need to know what is left to do. The
       key of an event made before is its tenant and its external id, else its correlation id, else its own
       id. The word in the middle (ext, cor, id) keeps the three kinds apart, so that two events never share
       a key. An external id that makes the key longer than 255 characters is replaced by its SHA-256
       (ext-sha256). Such events count as processed; when they were is not known, so processed_at stays
       NULL.

       Values of new columns are computed while the table is rewritten, not by an UPDATE: a rewrite fires no
       row trigger, is not confined by row security, touches each row once and leaves no dead rows, which
       also clears away those of the one UPDATE below. session_id existed before and views may use it, which
       rules out the rewrite: an event without a session becomes its own session by UPDATE. Tables in use
       may carry triggers that refuse or silently drop updates; exactly the enabled triggers on
       UPDATE are suspended for that statement and set back to the state they had. A row that is still
       without a session stops the revision.

Locks  ACCESS EXCLUSIVE on attribution_events until the revision commits: one UPDATE of the events without a
       session, one rewrite, and one read for each of three indexes. Readers with an older snapshot see the
       table empty.

Undo   Drops the ten columns with their data, both checks and the three indexes. Events that are their own
       session are without a session again, also those that were stored so after the upgrade. The two
       earlier unique indexes are built again, which fails if a tenant has meanwhile stored the same
       external id, or correlation id, twice.
"""

from alembic import op

revision: str = "202511151410"
down_revision: str | None = "202511151400"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE attribution_events
            ADD COLUMN idempotency_key varchar(255),
            ADD COLUMN event_type varchar(50) DEFAULT 'unknown' NOT NULL,
            ADD COLUMN channel varchar(100) DEFAULT 'unknown' NOT NULL,
            ADD COLUMN campaign_id varchar(255),
            ADD COLUMN conversion_value_cents integer,
            ADD COLUMN currency varchar(3) DEFAULT 'USD' NOT NULL,
            ADD COLUMN event_timestamp timestamptz,
            ADD COLUMN processed_at timestamptz,
            ADD COLUMN processing_status varchar(20) DEFAULT 'processed' NOT NULL,
            ADD COLUMN retry_count integer DEFAULT 0 NOT NULL
    """)
    op.execute("""
        DO $$
        DECLARE
            guard_names pg_catalog.name[];
            guard_states text[];
            refused bigint;
        BEGIN
            SELECT
                pg_catalog.array_agg(tgname ORDER BY tgname),
                pg_catalog.array_agg(tgenabled::text ORDER BY tgname)
            INTO guard_names, guard_states
            FROM pg_catalog.pg_trigger
            WHERE tgrelid = 'attribution_events'::pg_catalog.regclass
                AND NOT tgisinternal
                AND tgenabled <> 'D'
                AND (tgtype & 16) <> 0;  -- UPDATE

            FOR i IN 1 .. coalesce(pg_catalog.cardinality(guard_names), 0) LOOP
                EXECUTE 'ALTER TABLE attribution_events DISABLE TRIGGER '
                    || pg_catalog.quote_ident(guard_names[i]);
            END LOOP;

            UPDATE attribution_events SET session_id = id WHERE session_id IS NULL;

            FOR i IN 1 .. coalesce(pg_catalog.cardinality(guard_names), 0) LOOP
                EXECUTE
                    CASE guard_states[i]
                        WHEN 'A' THEN 'ALTER TABLE attribution_events ENABLE ALWAYS TRIGGER '
                        WHEN 'R' THEN 'ALTER TABLE attribution_events ENABLE REPLICA TRIGGER '
                        ELSE 'ALTER TABLE attribution_events ENABLE TRIGGER '
                    END || pg_catalog.quote_ident(guard_names[i]);
            END LOOP;

            SELECT pg_catalog.count(*) INTO refused FROM attribution_events WHERE session_id IS NULL;
            IF refused > 0 THEN
                RAISE EXCEPTION USING
                    MESSAGE = 'events still without a session after the update: ' || refused,
                    TABLE = 'attribution_events',
                    COLUMN = 'session_id',
                    HINT = 'Look for a rule on the table that replaces UPDATE, then upgrade again.';
            END IF;
        END
        $$
    """)
    op.execute("""
        ALTER TABLE attribution_events
            ALTER COLUMN idempotency_key TYPE varchar(255) USING
                CASE
                    WHEN length(concat_ws(':', tenant_id, 'ext', external_event_id)) > 255
                        THEN concat_ws(':', tenant_id, 'ext-sha256',
                            encode(sha256(convert_to(external_event_id, 'UTF8')), 'hex'))
                    WHEN external_event_id IS NOT NULL
                        THEN concat_ws(':', tenant_id, 'ext', external_event_id)
                    WHEN correlation_id IS NOT NULL
                        THEN concat_ws(':', tenant_id, 'cor', correlation_id)
                    ELSE concat_ws(':', tenant_id, 'id', id)
                END,
            ALTER COLUMN idempotency_key SET NOT NULL,
            ALTER COLUMN event_type DROP DEFAULT,
            ALTER COLUMN channel DROP DEFAULT,
            ALTER COLUMN conversion_value_cents TYPE integer USING revenue_cents,
            ALTER COLUMN event_timestamp TYPE timestamptz USING occurred_at,
            ALTER COLUMN event_timestamp SET NOT NULL,
            ALTER COLUMN processed_at SET DEFAULT now(),
            ALTER COLUMN processing_status SET DEFAULT 'pending',
            ALTER COLUMN session_id SET NOT NULL,
            ADD CONSTRAINT ck_attribution_events_processing_status_valid
                CHECK (processing_status IN ('pending', 'processed', 'failed')),
            ADD CONSTRAINT ck_attribution_events_retry_count_positive CHECK (retry_count >= 0)
    """)
    op.execute("""DROP INDEX idx_attribution_events_tenant_external_event_id""")
    op.execute("""DROP INDEX idx_attribution_events_tenant_correlation_id""")
    op.execute("""CREATE UNIQUE INDEX idx_events_idempotency ON attribution_events (idempotency_key)""")
    op.execute("""
        CREATE INDEX idx_events_tenant_timestamp
            ON attribution_events (tenant_id, event_timestamp DESC)
    """)
    op.execute("""
        CREATE INDEX idx_events_processing_status
            ON attribution_events (processing_status, processed_at)
            WHERE processing_status = 'pending'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.idempotency_key IS
            'INVARIANT: processing_critical. Makes the event unique: storing it a second time is refused.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.event_type IS
            'INVARIANT: processing_critical. Kind of event; unknown for events stored before kinds were '
            'kept.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.channel IS
            'INVARIANT: processing_critical. Channel the event came through, as the source names it; '
            'unknown for events stored before.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.campaign_id IS
            'INVARIANT: analytics_important. Campaign the event belongs to, as the source names it.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.conversion_value_cents IS
            'INVARIANT: financial_critical. Value of the conversion in cents of the currency.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.currency IS
            'INVARIANT: financial_critical. Currency of the value, as an ISO 4217 code.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.event_timestamp IS
            'INVARIANT: processing_critical. When the event happened.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.processed_at IS
            'INVARIANT: processing_critical. When the event was taken in or last processed; NULL for '
            'events stored before this was kept.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.processing_status IS
            'INVARIANT: processing_critical. Progress of the event (pending, processed, failed).'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.retry_count IS
            'INVARIANT: processing_critical. How often processing was tried again.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.session_id IS
            'INVARIANT: privacy_critical. Session the event belongs to; an event that came without one is '
            'its own session.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_attribution_events_processing_status_valid ON attribution_events IS
            'An event is pending, processed or failed.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_attribution_events_retry_count_positive ON attribution_events IS
            'A count of retries is not negative.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_events_idempotency IS
            'Refuses an event that is already stored.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_events_tenant_timestamp IS
            'Lists the events of a tenant by when they happened, newest first.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_events_processing_status IS
            'Finds the events that wait for processing.'
    """)


def downgrade() -> None:
    op.execute("""DROP INDEX idx_events_processing_status""")
    op.execute("""DROP INDEX idx_events_tenant_timestamp""")
    op.execute("""DROP INDEX idx_events_idempotency""")
    op.execute("""
        ALTER TABLE attribution_events
            ALTER COLUMN session_id DROP NOT NULL,
            DROP CONSTRAINT ck_attribution_events_retry_count_positive,
            DROP CONSTRAINT ck_attribution_events_processing_status_valid,
            DROP COLUMN retry_count,
            DROP COLUMN processing_status,
            DROP COLUMN processed_at,
            DROP COLUMN event_timestamp,
            DROP COLUMN currency,
            DROP COLUMN conversion_value_cents,
            DROP COLUMN campaign_id,
            DROP COLUMN channel,
            DROP COLUMN event_type,
            DROP COLUMN idempotency_key
    """)
    op.execute("""
        DO $$
        DECLARE
            guard_names pg_catalog.name[];
            guard_states text[];
            refused bigint;
        BEGIN
            SELECT
                pg_catalog.array_agg(tgname ORDER BY tgname),
                pg_catalog.array_agg(tgenabled::text ORDER BY tgname)
            INTO guard_names, guard_states
            FROM pg_catalog.pg_trigger
            WHERE tgrelid = 'attribution_events'::pg_catalog.regclass
                AND NOT tgisinternal
                AND tgenabled <> 'D'
                AND (tgtype & 16) <> 0;  -- UPDATE

            FOR i IN 1 .. coalesce(pg_catalog.cardinality(guard_names), 0) LOOP
                EXECUTE 'ALTER TABLE attribution_events DISABLE TRIGGER '
                    || pg_catalog.quote_ident(guard_names[i]);
            END LOOP;

            UPDATE attribution_events SET session_id = NULL WHERE session_id = id;

            FOR i IN 1 .. coalesce(pg_catalog.cardinality(guard_names), 0) LOOP
                EXECUTE
                    CASE guard_states[i]
                        WHEN 'A' THEN 'ALTER TABLE attribution_events ENABLE ALWAYS TRIGGER '
                        WHEN 'R' THEN 'ALTER TABLE attribution_events ENABLE REPLICA TRIGGER '
                        ELSE 'ALTER TABLE attribution_events ENABLE TRIGGER '
                    END || pg_catalog.quote_ident(guard_names[i]);
            END LOOP;

            SELECT pg_catalog.count(*) INTO refused FROM attribution_events WHERE session_id = id;
            IF refused > 0 THEN
                RAISE EXCEPTION USING
                    MESSAGE = 'events still their own session after the update: ' || refused,
                    TABLE = 'attribution_events',
                    COLUMN = 'session_id',
                    HINT = 'Look for a rule on the table that replaces UPDATE, then downgrade again.';
            END IF;
        END
        $$
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_events.session_id IS
            'INVARIANT: privacy_critical. Session the event belongs to; NULL when it is not known.'
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
        COMMENT ON INDEX idx_attribution_events_tenant_external_event_id IS
            'An external id names one event of a tenant.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_events_tenant_correlation_id IS
            'Without an external id, a correlation id names one event of a tenant.'
    """)
