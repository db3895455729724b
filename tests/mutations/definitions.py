"""Indexes, constraints, columns and comments that are there, by the right name, and not what they should be."""

from mutations.mutation import (
    ALLOCATIONS,
    EVENTS,
    LEDGER,
    Mutation,
    first_of,
    one_of,
    replaced_constraint,
    replaced_index,
)

STATUS, COUNT = "ck_attribution_events_processing_status_valid", "ck_attribution_events_retry_count_positive"
STATES = ("authorized", "captured", "refunded", "chargeback")
IDEMPOTENCY = "CREATE UNIQUE INDEX idx_events_idempotency ON attribution_events"
BY_TIME = "CREATE INDEX idx_events_tenant_timestamp ON attribution_events"
PENDING = "CREATE INDEX idx_events_processing_status ON attribution_events"
PERFORMANCE = "CREATE INDEX idx_allocations_channel_performance ON attribution_allocations"
LEDGER_STATE = "CREATE INDEX idx_revenue_ledger_tenant_state ON revenue_ledger"
FOLLOWS = "FOREIGN KEY (ledger_id) REFERENCES revenue_ledger(id)"
TRANSITIONS_KEY = ("revenue_state_transitions", "revenue_state_transitions_ledger_id_fkey")

INDEXES = [
    Mutation(
        "idempotency per tenant",
        replaced_index("idx_events_idempotency", f"{IDEMPOTENCY} (tenant_id, idempotency_key)"),
        "5.2.1 8b.S.1",
        reason="columns is ['tenant_id', 'idempotency_key']",
    ),
    Mutation(
        "idempotency of some rows",
        replaced_index("idx_events_idempotency", f"{IDEMPOTENCY} (idempotency_key) WHERE currency <> 'USD'"),
        "5.2.2 5.2.1",
        reason="the write was accepted",
    ),
    Mutation(
        "idempotency of a digest",
        replaced_index("idx_events_idempotency", f"{IDEMPOTENCY} (md5(idempotency_key))"),
        "5.2.1 R.3.1",
    ),
    Mutation(
        "idempotency with a column of payload",
        replaced_index("idx_events_idempotency", f"{IDEMPOTENCY} (idempotency_key) INCLUDE (id)"),
        "5.2.1 R.3.1",
    ),
    Mutation(
        "idempotency index invalid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_events_idempotency'::regclass",
        "5.2.1 8b.S.1",
        reason="is_valid is False",
    ),
    Mutation(
        "idempotency index no longer kept up",
        "UPDATE pg_index SET indisvalid = false, indisready = false "
        "WHERE indexrelid = 'idx_events_idempotency'::regclass",
        "5.2.2 5.2.1",
    ),
    Mutation(
        "an index from before invalid",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_tenants_name'::regclass",
        "8b.S.1",
    ),
    Mutation("idempotency index renamed", "ALTER INDEX idx_events_idempotency RENAME TO other", "5.2.1 5.2.2"),
    Mutation(
        "idempotency by a constraint",
        f"ALTER TABLE {EVENTS} ADD CONSTRAINT idx_events_idempotency UNIQUE USING INDEX idx_events_idempotency",
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "idempotency index of another filling",
        "ALTER INDEX idx_events_idempotency SET (fillfactor = 50)",
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "api_key_hash unique in pairs",
        replaced_index(
            "idx_tenants_api_key_hash", "CREATE UNIQUE INDEX idx_tenants_api_key_hash ON tenants (api_key_hash, id)"
        ),
        "4.2.2 4.2.1",
        reason="the write was accepted",
    ),
    Mutation(
        "transaction_id unique among captured",
        replaced_index(
            "idx_revenue_ledger_transaction_id",
            "CREATE UNIQUE INDEX idx_revenue_ledger_transaction_id ON revenue_ledger (transaction_id) "
            "WHERE state = 'captured'",
        ),
        "7.2.2 7.2.1",
    ),
    Mutation(
        "event index with keys the other way round",
        replaced_index("idx_events_tenant_timestamp", f"{BY_TIME} (event_timestamp DESC, tenant_id)"),
        "5.6.1 R.3.1",
    ),
    Mutation(
        "event index with NULLs last",
        replaced_index("idx_events_tenant_timestamp", f"{BY_TIME} (tenant_id, event_timestamp DESC NULLS LAST)"),
        "5.6.1 R.3.1",
    ),
    Mutation(
        "event index by another method",
        replaced_index("idx_events_tenant_timestamp", f"{BY_TIME} USING brin (tenant_id, event_timestamp)"),
        "5.6.1 R.7.1",
    ),
    Mutation(
        "pending index of the failed",
        replaced_index(
            "idx_events_processing_status",
            f"{PENDING} (processing_status, processed_at) WHERE processing_status = 'failed'",
        ),
        "5.6.2 R.7.1",
        reason="predicate is",
    ),
    Mutation(
        "pending index without its second key",
        replaced_index(
            "idx_events_processing_status", f"{PENDING} (processing_status) WHERE processing_status = 'pending'"
        ),
        "5.6.2 R.3.1",
    ),
    Mutation(
        "channel index without confidence",
        replaced_index(
            "idx_allocations_channel_performance",
            f"{PERFORMANCE} (tenant_id, channel_code, created_at DESC) INCLUDE (allocated_revenue_cents)",
        ),
        "6.3.1 R.3.1",
        reason="included is ['allocated_revenue_cents']",
    ),
    Mutation(
        "channel index with its payload as keys",
        replaced_index(
            "idx_allocations_channel_performance",
            f"{PERFORMANCE} (tenant_id, channel_code, created_at DESC, allocated_revenue_cents, confidence_score)",
        ),
        "6.3.1 R.3.1",
    ),
    Mutation(
        "channel index with its payload the other way round",
        replaced_index(
            "idx_allocations_channel_performance",
            f"{PERFORMANCE} (tenant_id, channel_code, created_at DESC) "
            "INCLUDE (confidence_score, allocated_revenue_cents)",
        ),
        "6.3.1 R.3.1",
    ),
    Mutation(
        "ledger index without its tenant",
        replaced_index("idx_revenue_ledger_tenant_state", f"{LEDGER_STATE} (state, created_at DESC)"),
        "7.5.1 8b.S.1",
    ),
    Mutation(
        "ledger index unique",
        replaced_index(
            "idx_revenue_ledger_tenant_state",
            "CREATE UNIQUE INDEX idx_revenue_ledger_tenant_state "
            "ON revenue_ledger (tenant_id, state, created_at DESC, id)",
        ),
        "7.5.1 R.3.1",
    ),
    Mutation("an index more", "CREATE INDEX more ON tenants (notification_email)", "8b.S.1"),
    Mutation(
        "channel index of low severity",
        "DROP INDEX idx_attribution_allocations_channel_code",
        "C.1.3",
    ),
]

CONSTRAINTS = [
    Mutation(
        "processing_status may be invalid_status",
        replaced_constraint(
            EVENTS, STATUS, one_of("processing_status", "pending", "processed", "failed", "invalid_status")
        ),
        "5.4.1 C.1.2",
        reason="the write was accepted",
    ),
    Mutation(
        "processing_status may be archived",
        replaced_constraint(EVENTS, STATUS, one_of("processing_status", "pending", "processed", "failed", "archived")),
        "C.1.2 8b.S.1",
        reason=STATUS,
    ),
    Mutation(
        "processing_status may not be failed",
        replaced_constraint(EVENTS, STATUS, one_of("processing_status", "pending", "processed")),
        "5.4.4",
        reason="the write was rejected",
    ),
    Mutation(
        "processing_status may not be pending",
        replaced_constraint(EVENTS, STATUS, one_of("processing_status", "failed", "processed")),
        "5.4.2 R.5.1",
    ),
    Mutation(
        "processing_status may be processed only when done",
        f"ALTER TABLE {EVENTS} ADD CHECK (processing_status <> 'processed' OR event_type = 'unknown')",
        "5.4.3 8b.S.1",
    ),
    Mutation(
        "processing_status check of another name",
        f"ALTER TABLE {EVENTS} RENAME CONSTRAINT {STATUS} TO other",
        "5.4.1",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "processing_status check not inherited",
        replaced_constraint(
            EVENTS, STATUS, f"{one_of('processing_status', 'pending', 'processed', 'failed')} NO INHERIT"
        ),
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "retry_count may be -1",
        replaced_constraint(EVENTS, COUNT, "CHECK (retry_count >= -1)"),
        "5.4.5",
        reason="the write was accepted",
    ),
    Mutation(
        "retry_count of dead events may be -1",
        replaced_constraint("dead_events", "ck_dead_events_retry_count_positive", "CHECK (retry_count >= -1)"),
        "8a.2.3",
    ),
    Mutation(
        "confidence up to 2",
        replaced_constraint(
            ALLOCATIONS, "ck_allocations_confidence_score", "CHECK (confidence_score >= 0 AND confidence_score <= 2)"
        ),
        "6.2.1",
        reason="the write was accepted",
    ),
    Mutation(
        "confidence down to -1",
        replaced_constraint(
            ALLOCATIONS, "ck_allocations_confidence_score", "CHECK (confidence_score >= -1 AND confidence_score <= 1)"
        ),
        "6.2.2",
    ),
    Mutation(
        "confidence above 0",
        replaced_constraint(
            ALLOCATIONS, "ck_allocations_confidence_score", "CHECK (confidence_score > 0 AND confidence_score <= 1)"
        ),
        "6.2.3",
        reason="the write was rejected",
    ),
    Mutation(
        "state may be invalid_state",
        replaced_constraint(LEDGER, "ck_revenue_ledger_state_valid", one_of("state", *STATES, "invalid_state")),
        "7.3.1",
    ),
    Mutation(
        "state may not be chargeback",
        replaced_constraint(LEDGER, "ck_revenue_ledger_state_valid", one_of("state", *STATES[:3])),
        "7.3.2",
        at="8b",
    ),
    Mutation(
        "remediation may not be ignored",
        replaced_constraint(
            "dead_events",
            "ck_dead_events_remediation_status_valid",
            one_of("remediation_status", "pending", "in_progress", "resolved"),
        ),
        "8a.2.2",
    ),
    Mutation(
        "transitions follow no delete",
        replaced_constraint(*TRANSITIONS_KEY, f"{FOLLOWS} ON DELETE RESTRICT"),
        "8b.2.2 8b.2.1",
        reason="the delete was rejected",
    ),
    Mutation(
        "transitions follow a change of key",
        replaced_constraint(*TRANSITIONS_KEY, f"{FOLLOWS} ON UPDATE CASCADE ON DELETE CASCADE"),
        "8b.2.1 C.1.2",
    ),
    Mutation(
        "transitions checked at commit",
        replaced_constraint(*TRANSITIONS_KEY, f"{FOLLOWS} ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"),
        "8b.2.1 C.1.2",
    ),
    Mutation(
        "a key of dead events that is not primary",
        "ALTER TABLE dead_events DROP CONSTRAINT dead_events_pkey, ADD CONSTRAINT dead_events_pkey UNIQUE (id); "
        "COMMENT ON CONSTRAINT dead_events_pkey ON dead_events IS 'One row for each dead event.'",
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "an allocation's event no longer looked up",
        f"ALTER TABLE {ALLOCATIONS} DISABLE TRIGGER ALL",
        "8b.S.1",
    ),
    Mutation("a ledger entry's transitions left behind", f"ALTER TABLE {LEDGER} DISABLE TRIGGER ALL", "8b.2.2"),
    Mutation("a constraint more", "ALTER TABLE tenants ADD UNIQUE (notification_email)", "8b.S.1"),
]

COLUMNS = [
    Mutation(
        "confidence_score with a digit less",
        f"ALTER TABLE {ALLOCATIONS} ALTER COLUMN confidence_score TYPE numeric(4,2)",
        "6.1.1 6.1.2 8b.D.1",
        at="8b",
    ),
    Mutation(
        "confidence_score of any precision",
        f"ALTER TABLE {ALLOCATIONS} ALTER COLUMN confidence_score TYPE numeric",
        "6.1.1 C.1.3",
        reason="type is 'numeric'",
        at="8b",
    ),
    Mutation(
        "api_key_hash shorter",
        "ALTER TABLE tenants ALTER COLUMN api_key_hash TYPE varchar(128)",
        "4.1.1 C.1.2",
    ),
    Mutation(
        "api_key_hash as text",
        "ALTER TABLE tenants ALTER COLUMN api_key_hash TYPE text",
        "4.1.1 C.1.2",
        reason="type is 'text'",
    ),
    Mutation("session_id as text", f"ALTER TABLE {EVENTS} ALTER COLUMN session_id TYPE text", "5.3.2 C.1.2"),
    Mutation(
        "session_id with a default",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id SET DEFAULT gen_random_uuid()",
        "C.1.2 8b.S.1",
    ),
    Mutation(
        "session_id NULL in one row",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id DROP NOT NULL; "
        f"UPDATE {EVENTS} SET session_id = NULL WHERE {first_of(EVENTS)}",
        "8b.D.1 5.3.1 5.3.2",
        reason="session_id",
    ),
    Mutation(
        "session_id required of new rows only",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id DROP NOT NULL, "
        "ADD CONSTRAINT required NOT NULL session_id NOT VALID",
        "5.3.2 C.1.2",
        since=18,
    ),
    Mutation(
        "session_id required by a check",
        f"ALTER TABLE {EVENTS} ALTER COLUMN session_id DROP NOT NULL, ADD CHECK (session_id IS NOT NULL)",
        "5.3.1 5.3.2",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "verification_source keeps the migration's default",
        f"ALTER TABLE {LEDGER} ALTER COLUMN verification_source SET DEFAULT 'legacy_migration'",
        "7.1.1 C.1.2",
    ),
    Mutation("an event's channel renamed", f"ALTER TABLE {EVENTS} RENAME COLUMN channel TO via", "5.1.1 C.1.2 C.2.1"),
    Mutation(
        "an event's channel in another collation",
        f'ALTER TABLE {EVENTS} ALTER COLUMN channel TYPE varchar(100) COLLATE "C"',
        "8b.S.1",
    ),
    Mutation(
        "amount_cents generated",
        f"ALTER TABLE {LEDGER} DROP COLUMN amount_cents, "
        "ADD COLUMN amount_cents integer GENERATED ALWAYS AS (revenue_cents) STORED NOT NULL",
        "7.1.1 8b.S.1",
        at="8b",
    ),
    Mutation(
        "from_state required",
        "ALTER TABLE revenue_state_transitions ALTER COLUMN from_state SET NOT NULL",
        "8b.1.2 C.1.2",
    ),
    Mutation(
        "a column more in tenants",
        "ALTER TABLE tenants ADD COLUMN more text",
        "C.2.1 8b.S.1 R.4.1",
        reason="tenants.more",
    ),
    Mutation(
        "a column more in transitions",
        "ALTER TABLE revenue_state_transitions ADD COLUMN more text",
        "8b.1.2 C.2.1",
        reason="extra columns: more",
    ),
]

COMMENTS = [
    Mutation(
        "api_key_hash said to endanger nothing",
        "COMMENT ON COLUMN tenants.api_key_hash IS 'INVARIANT: none. Hash of the API key.'",
        "4.4.1 8b.S.1",
    ),
    Mutation(
        "notification_email without a purpose",
        "COMMENT ON COLUMN tenants.notification_email IS 'INVARIANT: auth_critical.'",
        "4.4.2 8b.S.1",
    ),
    Mutation(
        "an event's channel without its tag",
        "COMMENT ON COLUMN attribution_events.channel IS 'Channel the event came through.'",
        "5.1.3",
        reason="channel",
    ),
    Mutation(
        "currency of another invariant",
        "COMMENT ON COLUMN attribution_events.currency IS 'INVARIANT: analytics_important. Currency of the value.'",
        "5.1.3",
        reason="currency",
    ),
    Mutation(
        "session_id with its former comment",
        "COMMENT ON COLUMN attribution_events.session_id IS "
        "'INVARIANT: privacy_critical. Session the event belongs to; NULL when it is not known.'",
        "8b.S.1",
    ),
]
