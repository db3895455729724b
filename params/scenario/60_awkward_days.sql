-- Rows at the edges of days and of the 90-day window, each with one allocation and one ledger entry of the
-- same instant.
--
-- The last microsecond and the first two of a day in UTC, Tokyo and Los Angeles, around as_of - 20: a summary
-- by day must not depend on the time zone of whoever makes it. The same around the UTC midnights that begin
-- as_of - 87 to as_of - 92: in or out of the window. The ledger entries also differ in what a backfill of
-- verification_timestamp finds: verified with a time, verified without one, open, and open although it has a
-- time.

WITH scenario AS MATERIALIZED (
    SELECT current_setting('scenario.seed') AS seed, current_setting('scenario.as_of')::date AS as_of
), edges AS (
    SELECT 'edge-' || zone || '-' || days_ago || '-' || side AS label,
           (as_of - days_ago)::timestamp AT TIME ZONE zone + shift AS at
      FROM scenario,
           (VALUES ('UTC', 20), ('Asia/Tokyo', 20), ('America/Los_Angeles', 20),
                   ('UTC', 87), ('UTC', 88), ('UTC', 89), ('UTC', 90), ('UTC', 91), ('UTC', 92))
               AS day (zone, days_ago),
           (VALUES ('before', interval '-1 microsecond'), ('at', interval '0'),
                   ('after', interval '1 microsecond')) AS side (side, shift)
), placed AS (
    SELECT md5(seed || ':' || tenant_key || ':' || label)::uuid AS id, tenant_key, label, at,
           row_number() OVER (PARTITION BY tenant_key ORDER BY at, label)::int AS nth
      FROM scenario, edges, (VALUES ('awkward-a'), ('awkward-b')) AS tenant (tenant_key)
), events AS (
    INSERT INTO attribution_events (id, tenant_id, created_at, updated_at, occurred_at, external_event_id,
                                    session_id, revenue_cents, raw_payload)
    SELECT id, md5(seed || ':tenant:' || tenant_key)::uuid, at, at, at, label, md5(id || ':session')::uuid,
           100 + nth, jsonb_build_object('edge', label)
      FROM scenario, placed
    RETURNING id, tenant_id, occurred_at, revenue_cents
), allocations AS (
    INSERT INTO attribution_allocations (id, tenant_id, event_id, created_at, updated_at, channel_code,
                                         allocated_revenue_cents, allocation_ratio, model_version)
    SELECT md5(id || ':allocation')::uuid, tenant_id, id, occurred_at, occurred_at, 'direct', revenue_cents,
           1, 'last_touch-2.1'
      FROM events
    RETURNING id, tenant_id, event_id, created_at, allocated_revenue_cents
)
INSERT INTO revenue_ledger (id, tenant_id, created_at, updated_at, revenue_cents, is_verified, verified_at,
                            allocation_id, posted_at)
SELECT md5(allocations.id || ':ledger')::uuid, tenant_id, created_at, created_at, allocated_revenue_cents,
       mod(nth, 8) NOT IN (5, 7), CASE WHEN mod(nth, 8) NOT IN (5, 6) THEN created_at END, allocations.id,
       created_at
  FROM allocations
  JOIN placed ON placed.id = event_id;

-- One event whose allocations spread over four days and three models, and ledger entries of the largest
-- amount and of nothing.

WITH scenario AS MATERIALIZED (
    SELECT current_setting('scenario.seed') AS seed,
           (current_setting('scenario.as_of')::date - 15)::timestamp AT TIME ZONE 'UTC' + interval '23 hours'
               AS at
), events AS (
    INSERT INTO attribution_events (id, tenant_id, created_at, updated_at, occurred_at, external_event_id,
                                    session_id, revenue_cents, raw_payload)
    SELECT md5(seed || ':awkward-b:spread-' || amount)::uuid, md5(seed || ':tenant:awkward-b')::uuid,
           at, at, at, 'spread-' || amount, md5(seed || ':awkward-b:spread-session')::uuid, amount, '{}'
      FROM scenario, unnest(ARRAY[1001, 2147483647, 0]) AS amount
    RETURNING id, tenant_id, occurred_at, revenue_cents
), allocations AS (
    INSERT INTO attribution_allocations (id, tenant_id, event_id, created_at, updated_at, channel_code,
                                         allocated_revenue_cents, allocation_ratio, model_version)
    SELECT md5(id || ':' || model_version || ':' || channel_code)::uuid, tenant_id, id, occurred_at + later,
           occurred_at + later, channel_code,
           revenue_cents::bigint * to_share / 100000 - revenue_cents::bigint * from_share / 100000,
           (to_share - from_share) / 100000.0, model_version
      FROM events
     CROSS JOIN (VALUES ('last_touch-2.1', 'direct', 0, 100000, interval '0'),
                        ('linear-1.4', 'direct', 0, 50000, interval '1 hour'),
                        ('linear-1.4', 'email', 50000, 100000, interval '24 hours'),
                        ('position-3.0', 'direct', 0, 40000, interval '48 hours'),
                        ('position-3.0', 'email', 40000, 60000, interval '72 hours'),
                        ('position-3.0', 'organic', 60000, 100000, interval '72 hours'))
            AS touch (model_version, channel_code, from_share, to_share, later)
    RETURNING id, tenant_id, created_at, allocated_revenue_cents, model_version
)
INSERT INTO revenue_ledger (id, tenant_id, created_at, updated_at, revenue_cents, is_verified, verified_at,
                            allocation_id, posted_at)
SELECT md5(id || ':ledger')::uuid, tenant_id, created_at, created_at + interval '2 hours',
       allocated_revenue_cents, true, created_at + interval '2 hours', id, created_at
  FROM allocations
 WHERE model_version = 'last_touch-2.1';
