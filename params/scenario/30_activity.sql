-- per: days
-- The bulk: events of the generated tenants, their allocations and ledger entries.
--
-- A chunk is the days scenario.first_day to scenario.last_day, both included: 0 is as_of, 1 the day before.
-- Each tenant has events_per_day events a UTC day. An event gets 1 to 3 touches under one
-- or two model versions, 1.75 allocations on average. The shares of one model sum exactly to the revenue of
-- the event, and its ratios to 1. One event in eight is attributed late, over up to three days. About one
-- allocation in five has a ledger entry. Seven in ten of those are verified within three days, and what would
-- be verified after as_of is still open. Nothing is dated after as_of.
--
-- Written for speed: one pass, no lookups, rows in the order of time, and eight bytes of time before eight of
-- hash in an id, so that every large index grows at its end. The bits of one hash a row make all its choices.
-- Run the oldest days first, about 20,000 events a chunk. How the days are cut into chunks does not change a
-- row.

WITH scenario AS MATERIALIZED (
    SELECT current_setting('scenario.seed')::bigint AS seed,
           as_of,
           as_of::timestamp AT TIME ZONE 'UTC' AS last_midnight,
           (as_of + 1)::timestamp AT TIME ZONE 'UTC' AS ends_at,
           (as_of - date '1970-01-01')::bigint * 86400000000 AS last_midnight_us,
           tenants,
           events_per_day,
           oldest_day,
           tenants * events_per_day * (oldest_day - newest_day + 1) AS events,
           (SELECT array_agg(md5(current_setting('scenario.seed') || ':tenant:' || number)::uuid
                             ORDER BY number)
              FROM generate_series(1, tenants) AS number) AS tenant_ids
      FROM (SELECT current_setting('scenario.as_of')::date AS as_of,
                   current_setting('scenario.tenants')::bigint AS tenants,
                   current_setting('scenario.events_per_day')::bigint AS events_per_day,
                   greatest(first_day, last_day) AS oldest_day,
                   least(first_day, last_day) AS newest_day
              FROM (SELECT current_setting('scenario.first_day')::bigint AS first_day,
                           current_setting('scenario.last_day')::bigint AS last_day) AS chunk) AS setting
), numbered AS (
    SELECT scenario.*,
           oldest_day - n / (tenants * events_per_day) AS day,
           mod(n / events_per_day, tenants) + 1 AS tenant,
           mod(n, events_per_day) AS nth
      FROM scenario, generate_series(0, events - 1) AS n
), chosen AS (
    SELECT numbered.*,
           hashint8extended((tenant << 44) | (day << 28) | nth, seed) AS bits,
           hashint8extended((tenant << 44) | (day << 28) | (nth / 3), seed + 1) AS session_bits,
           -day * 86400000000 AS day_us,
           86400000000 / events_per_day AS slot_us,
           extract(dow FROM as_of - day::int)::int AS day_of_week
      FROM numbered
    OFFSET 0  -- keeps the hashes from being computed once per use
), events AS (
    INSERT INTO attribution_events (id, tenant_id, created_at, updated_at, occurred_at, external_event_id,
                                    correlation_id, session_id, revenue_cents, raw_payload)
    SELECT encode(int8send(last_midnight_us + offset_us) || int8send(bits), 'hex')::uuid,
           tenant_ids[tenant],
           occurred_at, occurred_at, occurred_at,
           CASE WHEN has_external_id THEN 'evt-' || to_char(as_of - day::int, 'YYYY-MM-DD') || '-' || nth END,
           CASE WHEN NOT has_external_id OR bits & 48 = 48
                THEN encode(int8send(last_midnight_us + offset_us) || int8send(bits # seed), 'hex')::uuid END,
           encode(int8send(last_midnight_us + day_us) || int8send(session_bits), 'hex')::uuid,
           CASE WHEN (bits >> 8) & 15 = 0 THEN 0
                ELSE (300 + ((amount * amount * amount) >> 32))
                     * (ARRAY[64, 100, 96, 97, 104, 118, 81])[day_of_week + 1] / 100 END,
           (ARRAY['{"source": "web", "device": "phone"}',
                  '{"source": "web", "device": "desktop", "country": "DE"}',
                  '{"source": "app", "device": "phone", "country": "日本"}',
                  '{"source": "shop", "campaign": "spring \"26\""}']
            ::jsonb[])[((bits >> 6) & 3) + 1]
      FROM chosen
     CROSS JOIN LATERAL (SELECT mod((bits >> 4) & 1099511627775, slot_us) AS jitter_us) AS jitter
     CROSS JOIN LATERAL (SELECT day_us + nth * slot_us + jitter_us AS offset_us) AS slot
     CROSS JOIN LATERAL (SELECT last_midnight + offset_us * interval '1 microsecond' AS occurred_at,
                                bits & 15 <> 0 AS has_external_id,
                                (bits >> 12) & 65535 AS amount) AS derived
    RETURNING id, tenant_id, occurred_at, correlation_id, revenue_cents
), touches (plan, touch, place, model_version, from_share, to_share, allocation_ratio, model_metadata) AS (
    -- The model of an event: 7 of 16 last touch, 4 linear, 2 position, 1 decay, 1 last touch and linear, 1 of
    -- unknown model.
    VALUES (0, 1, 0, 'last_touch-2.1', 0, 100000, 1::numeric, '{"touches": 1}'::jsonb),
           (1, 1, 0, 'linear-1.4', 0, 50000, 0.5, '{"touches": 2}'),
           (1, 2, 1, 'linear-1.4', 50000, 100000, 0.5, '{"touches": 2}'),
           (2, 1, 0, 'position-3.0', 0, 40000, 0.4, '{"touches": 3}'),
           (2, 2, 1, 'position-3.0', 40000, 60000, 0.2, '{"touches": 3}'),
           (2, 3, 2, 'position-3.0', 60000, 100000, 0.4, '{"touches": 3}'),
           (3, 1, 0, 'decay-0.9', 0, 33333, 0.33333, '{"touches": 3, "half_life_days": 7}'),
           (3, 2, 1, 'decay-0.9', 33333, 66667, 0.33334, '{"touches": 3, "half_life_days": 7}'),
           (3, 3, 2, 'decay-0.9', 66667, 100000, 0.33333, '{"touches": 3, "half_life_days": 7}'),
           (4, 1, 0, 'last_touch-2.1', 0, 100000, 1, '{"touches": 1}'),
           (4, 2, 0, 'linear-1.4', 0, 50000, 0.5, '{"touches": 2}'),
           (4, 3, 1, 'linear-1.4', 50000, 100000, 0.5, '{"touches": 2}'),
           (5, 1, 0, 'unknown', 0, 100000, 1, NULL)
), planned AS (
    SELECT events.*, bits, ends_at,
           (ARRAY[0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 4, 5])[(bits & 15) + 1] AS plan,
           -- Channel of a touch: a weighted first one, then steps that meet none of thirteen twice.
           (ARRAY[0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2,
                  3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11])[((bits >> 4) & 31) + 1] AS first_channel,
           (ARRAY[1, 2, 4, 5])[((bits >> 9) & 3) + 1] AS channel_step,
           (bits >> 11) & 7 = 0 AS is_late
      FROM scenario, events, LATERAL (SELECT uuid_hash_extended(events.id, 0) AS bits) AS hash
    OFFSET 0
), allocations AS (
    INSERT INTO attribution_allocations (id, tenant_id, event_id, created_at, updated_at, channel_code,
                                         allocated_revenue_cents, model_metadata, correlation_id,
                                         allocation_ratio, model_version)
    SELECT encode(substr(uuid_send(id), 1, 8) || int8send(uuid_hash_extended(id, touch)), 'hex')::uuid,
           tenant_id, id,
           CASE WHEN attributed_at < ends_at THEN attributed_at ELSE occurred_at END,
           CASE WHEN attributed_at < ends_at THEN attributed_at ELSE occurred_at END,
           (ARRAY['google_search', 'facebook_ads', 'direct', 'email', 'organic', 'referral', 'social',
                  'paid_search', 'display', 'partner''s "deal"', 'größe/日本', 'Direct', ' spaced out '])
               [mod(first_channel + place * channel_step, 13) + 1],
           revenue_cents::bigint * to_share / 100000 - revenue_cents::bigint * from_share / 100000,
           model_metadata, correlation_id, allocation_ratio, model_version
      FROM planned
      JOIN touches USING (plan)
     CROSS JOIN LATERAL (SELECT CASE WHEN is_late THEN touch * interval '24 hours'
                                     ELSE interval '2 minutes' END AS lag) AS late
     CROSS JOIN LATERAL (SELECT occurred_at + lag AS attributed_at) AS attributed
    RETURNING id, tenant_id, created_at, allocated_revenue_cents
)
INSERT INTO revenue_ledger (id, tenant_id, created_at, updated_at, revenue_cents, is_verified, verified_at,
                            allocation_id, posted_at)
SELECT encode(substr(uuid_send(id), 1, 8) || int8send(bits), 'hex')::uuid,
       tenant_id, created_at, coalesce(verified_at, created_at), allocated_revenue_cents,
       verified_at IS NOT NULL, verified_at, id, created_at
  FROM scenario, allocations,
       LATERAL (SELECT uuid_hash_extended(id, 0) AS bits) AS hash,
       LATERAL (SELECT created_at + ((bits >> 16) & 262143) * interval '1 second' AS checked_at) AS checked,
       LATERAL (SELECT CASE WHEN (bits >> 8) & 127 < 92 AND checked_at < ends_at
                            THEN checked_at END AS verified_at) AS verified
 WHERE mod(bits, 5) = 0;
