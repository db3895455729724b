-- The scenario of the source documents, row for row: one tenant, the 90 days that end at as_of.
--
-- 90 days x 10 events x 3 channels = 2,700 allocations, 30 a UTC day. 90 days x 3 states x 5 transactions =
-- 1,350 ledger entries, 15 a UTC day by created_at and by verified_at. The ledger has no state at this
-- revision: all entries are verified, so the backfill of phase 7 makes them captured. The state that the
-- documents want stands in model_metadata of the allocation as ledger_state (five a day each of captured,
-- refunded, chargeback), for a later step to apply once the column exists.

WITH events AS (
    INSERT INTO attribution_events (id, tenant_id, created_at, updated_at, occurred_at, external_event_id,
                                    correlation_id, session_id, revenue_cents, raw_payload)
    SELECT md5(seed || ':documented-event:' || day || ':' || nth)::uuid,
           '00000000-0000-0000-0000-000000000001', occurred_at, occurred_at, occurred_at,
           'doc-' || to_char(as_of - day, 'YYYY-MM-DD') || '-' || nth,
           md5(seed || ':documented-correlation:' || day || ':' || nth)::uuid,
           md5(seed || ':documented-session:' || day || ':' || nth / 2)::uuid,
           1000 + 10 * mod(day * 37 + nth * 11, 900),
           jsonb_build_object('order', nth, 'source', 'documents')
      FROM (SELECT current_setting('scenario.seed') AS seed, current_setting('scenario.as_of')::date AS as_of)
           AS scenario
     CROSS JOIN generate_series(0, 89) AS day
     CROSS JOIN generate_series(0, 9) AS nth
     CROSS JOIN LATERAL (SELECT (as_of - day)::timestamp AT TIME ZONE 'UTC'
                                + (nth * 2 + 2) * interval '1 hour' AS occurred_at) AS clock
    RETURNING id, tenant_id, occurred_at, correlation_id, revenue_cents, (raw_payload ->> 'order')::int AS nth
), allocations AS (
    INSERT INTO attribution_allocations (id, tenant_id, event_id, created_at, updated_at, channel_code,
                                         allocated_revenue_cents, model_metadata, correlation_id,
                                         allocation_ratio, model_version)
    SELECT md5(events.id || ':' || channel_code)::uuid, tenant_id, events.id, occurred_at, occurred_at,
           channel_code, revenue_cents / 10 * tenths,
           CASE WHEN nth < 5
                THEN jsonb_build_object('ledger_state', states[mod(nth + position, 3) + 1])
                ELSE '{}' END,
           correlation_id, tenths / 10.0, 'position-3.0'
      FROM events
     CROSS JOIN (SELECT ARRAY['captured', 'refunded', 'chargeback'] AS states) AS wanted
     CROSS JOIN (VALUES (0, 'google_search', 5), (1, 'facebook_ads', 3), (2, 'email', 2))
           AS touch (position, channel_code, tenths)
    RETURNING id, tenant_id, created_at, allocated_revenue_cents, model_metadata
)
INSERT INTO revenue_ledger (id, tenant_id, created_at, updated_at, revenue_cents, is_verified, verified_at,
                            allocation_id, posted_at)
SELECT md5(id || ':ledger')::uuid, tenant_id, created_at, created_at + interval '1 hour',
       allocated_revenue_cents, true, created_at + interval '1 hour', id, created_at
  FROM allocations
 WHERE model_metadata ? 'ledger_state';
