"""Phase 8a: dead events get their error in words, retries and remediation.

Why    Workers retry dead events and people work through what remains; both need to see what was tried. A
       dead event made before takes its error type from the error code (the first 100 characters), its
       message from error_detail where that has one, and waits for remediation. The values are computed
       while the table is rewritten, not by an UPDATE: a rewrite fires no row trigger, is not confined by
       row security, touches each row once and leaves no dead rows. The queue is ordered by ingested_at: the
       table has no created_at.

Locks  ACCESS EXCLUSIVE on dead_events until the revision commits: one rewrite and one read for the index.
       Readers with an older snapshot see the table empty.

Undo   Drops the nine columns with their data (retries, remediation status and notes), both checks and the
       index.
"""

from alembic import op

revision: str = "202511151440"
down_revision: str | None = "202511151430"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE dead_events
            ADD COLUMN event_type varchar(50) DEFAULT 'unknown' NOT NULL,
            ADD COLUMN error_type varchar(100),
            ADD COLUMN error_message text,
            ADD COLUMN error_traceback text,
            ADD COLUMN retry_count integer DEFAULT 0 NOT NULL,
            ADD COLUMN last_retry_at timestamptz,
            ADD COLUMN remediation_status varchar(20) DEFAULT 'pending' NOT NULL,
            ADD COLUMN remediation_notes text,
            ADD COLUMN resolved_at timestamptz
    """)
    op.execute("""
        ALTER TABLE dead_events
            ALTER COLUMN event_type DROP DEFAULT,
            ALTER COLUMN error_type TYPE varchar(100) USING left(error_code, 100),
            ALTER COLUMN error_type SET NOT NULL,
            ALTER COLUMN error_message TYPE text
                USING coalesce(nullif(error_detail ->> 'message', ''), 'no message recorded'),
            ALTER COLUMN error_message SET NOT NULL,
            ADD CONSTRAINT ck_dead_events_remediation_status_valid
                CHECK (remediation_status IN ('pending', 'in_progress', 'resolved', 'ignored')),
            ADD CONSTRAINT ck_dead_events_retry_count_positive CHECK (retry_count >= 0)
    """)
    op.execute("""
        CREATE INDEX idx_dead_events_remediation
            ON dead_events (remediation_status, ingested_at DESC)
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.event_type IS
            'INVARIANT: processing_critical. Kind of event that failed; unknown for events stored before '
            'kinds were kept.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.error_type IS
            'INVARIANT: processing_critical. Class of the error that stopped the event.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.error_message IS
            'INVARIANT: processing_critical. The error in words.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.error_traceback IS
            'INVARIANT: none. Where in the program the error arose.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.retry_count IS
            'INVARIANT: processing_critical. How often processing was tried again.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.last_retry_at IS
            'INVARIANT: processing_critical. When processing was last tried again; NULL when it was not.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.remediation_status IS
            'INVARIANT: processing_critical. Progress of the remediation (pending, in_progress, resolved, '
            'ignored).'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.remediation_notes IS
            'INVARIANT: none. What people found out and did.'
    """)
    op.execute("""
        COMMENT ON COLUMN dead_events.resolved_at IS
            'INVARIANT: none. When the remediation ended; NULL while it goes on.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_dead_events_remediation_status_valid ON dead_events IS
            'A remediation is pending, in progress, resolved or ignored.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_dead_events_retry_count_positive ON dead_events IS
            'A count of retries is not negative.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_dead_events_remediation IS
            'Lists the dead events in a remediation status, newest first.'
    """)


def downgrade() -> None:
    op.execute("""DROP INDEX idx_dead_events_remediation""")
    op.execute("""
        ALTER TABLE dead_events
            DROP CONSTRAINT ck_dead_events_retry_count_positive,
            DROP CONSTRAINT ck_dead_events_remediation_status_valid,
            DROP COLUMN resolved_at,
            DROP COLUMN remediation_notes,
            DROP COLUMN remediation_status,
            DROP COLUMN last_retry_at,
            DROP COLUMN retry_count,
            DROP COLUMN error_traceback,
            DROP COLUMN error_message,
            DROP COLUMN error_type,
            DROP COLUMN event_type
    """)
