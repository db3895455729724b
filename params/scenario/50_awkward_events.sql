-- Legacy events that break naive backfills: no session, ids too long, ids alike, ids missing, amounts at the
-- limits.
--
-- Each becomes a case of phase 5: idempotency_key holds 255 characters and must differ for every row below,
-- session_id becomes NOT NULL, conversion_value_cents copies the extremes. Events of more than nothing have
-- one allocation, or three, that sum to them.

WITH scenario AS MATERIALIZED (
    SELECT current_setting('scenario.seed') AS seed,
           current_setting('scenario.tenants')::int AS tenants,
           (current_setting('scenario.as_of')::date - 10)::timestamp AT TIME ZONE 'UTC' + interval '12 hours'
               AS noon
), legacy (label, tenant_key, external_event_id, correlation_key, has_session, revenue_cents, raw_payload)
AS (
    VALUES
        -- Without a session, in five tenants (the generated ones follow below).
        ('no-session-1', 'awkward-a', 'ns-1', NULL, false, 1200, '{}'::jsonb),
        ('no-session-2', 'awkward-a', 'ns-2', 'ns-2', false, 0, '{}'),
        ('no-session-3', 'awkward-b', 'ns-1', NULL, false, 4999, '{}'),
        ('no-session-bare', 'awkward-b', NULL, NULL, false, 700, '{}'),
        -- Too long: two alike in their first 300 characters, and lengths around what fits beside a tenant id
        -- and a separator.
        ('long-alike-1', 'awkward-a', repeat('0123456789', 30) || 'one', NULL, true, 100, '{}'),
        ('long-alike-2', 'awkward-a', repeat('0123456789', 30) || 'two', NULL, true, 100, '{}'),
        ('long-other-tenant', 'awkward-b', repeat('0123456789', 30) || 'one', NULL, true, 100, '{}'),
        ('long-214', 'awkward-a', repeat('x', 214), NULL, true, 214, '{}'),
        ('long-215', 'awkward-a', repeat('x', 215), NULL, true, 215, '{}'),
        ('long-217', 'awkward-a', repeat('x', 217), NULL, true, 217, '{}'),
        ('long-218', 'awkward-a', repeat('x', 218), NULL, true, 218, '{}'),
        ('long-219', 'awkward-a', repeat('x', 219), NULL, true, 219, '{}'),
        ('long-255', 'awkward-a', repeat('x', 255), NULL, true, 255, '{}'),
        ('long-256', 'awkward-a', repeat('x', 256), NULL, true, 256, '{}'),
        ('long-wide', 'awkward-a', repeat('日本語', 100), NULL, true, 300, '{}'),
        -- Text that has to be quoted, escaped or left alone.
        ('quotes', 'awkward-a', 'it''s "quoted" \ and back', NULL, true, 1,
         '{"note": "it''s \"quoted\" \\ and back"}'),
        ('newline', 'awkward-a', E'two\nlines\tand a tab', NULL, true, 2, '{"note": "two\nlines"}'),
        ('markup', 'awkward-a', '<img src=x onerror=alert(1)>', NULL, true, 3,
         '{"note": "<script>alert(1)</script>"}'),
        ('unicode', 'awkward-a', 'Bestellung-ß-日本-🛒-عربي', NULL, true, 4,
         '{"kunde": {"name": "Jürgen", "städte": ["Köln", "東京"]}}'),
        ('accent-composed', 'awkward-a', U&'caf\00E9', NULL, true, 5, '{}'),
        ('accent-combining', 'awkward-a', U&'cafe\0301', NULL, true, 6, '{}'),
        ('case-lower', 'awkward-a', 'order-a', NULL, true, 7, '{}'),
        ('case-upper', 'awkward-a', 'ORDER-A', NULL, true, 8, '{}'),
        ('trailing-blank', 'awkward-a', 'order-a ', NULL, true, 9, '{}'),
        ('empty', 'awkward-a', '', NULL, true, 10, '{}'),
        ('separator', 'awkward-a', 'a:b:c', NULL, true, 11, '{}'),
        ('word-null', 'awkward-a', 'null', NULL, true, 12, '{}'),
        -- Alike in different places.
        ('shared-a', 'awkward-a', 'shared-1', 'shared', true, 500, '{}'),
        ('shared-b', 'awkward-b', 'shared-1', 'shared', true, 600, '{}'),
        ('correlation-only-a', 'awkward-a', NULL, 'only', true, 800, '{}'),
        ('correlation-only-b', 'awkward-b', NULL, 'only', true, 900, '{}'),
        ('bare-1', 'awkward-a', NULL, NULL, true, 1000, '{}'),
        ('bare-2', 'awkward-a', NULL, NULL, true, 1000, '{}'),
        ('bare-3', 'awkward-b', NULL, NULL, true, 1000, '{}'),
        ('same-correlation-1', 'awkward-a', 'sc-1', 'sc', true, 50, '{}'),
        ('same-correlation-2', 'awkward-a', 'sc-2', 'sc', true, 60, '{}'),
        -- Amounts: the largest (two, so that a sum leaves int4), and none.
        ('largest-1', 'awkward-a', 'max-1', NULL, true, 2147483647, '{}'),
        ('largest-2', 'awkward-a', 'max-2', NULL, true, 2147483647, '{}'),
        ('largest-split', 'awkward-a', 'max-split', NULL, true, 2147483647, '{}'),
        ('zero', 'awkward-a', 'zero', NULL, true, 0, '{}'),
        ('zero-split', 'awkward-a', 'zero-split', NULL, true, 0, '{}'),
        ('one-cent-split', 'awkward-a', 'cent-split', NULL, true, 1, '{}'),
        -- Payloads: nested, an array, a scalar, JSON null.
        ('payload-nested', 'awkward-b', 'p-1', NULL, true, 20,
         '{"a": {"b": [{"c": "it''s \"deep\"", "d": null}, [2.50, 1e400]], "ключ": "знач"}, "": "\u2028"}'),
        ('payload-array', 'awkward-b', 'p-2', NULL, true, 21, '["first", {"second": 2}]'),
        ('payload-scalar', 'awkward-b', 'p-3', NULL, true, 22, '"only text"'),
        ('payload-null', 'awkward-b', 'p-4', NULL, true, 23, 'null')
), described AS (
    SELECT * FROM legacy
    UNION ALL
    -- An external id that reads as the correlation id or id of another row, bare and with the prefixes a key
    -- might use.
    SELECT 'reads-as-' || nth, 'awkward-a', text, NULL, true, 30 + nth, '{}'
      FROM scenario,
           LATERAL (SELECT md5(seed || ':awkward-correlation:only')::uuid::text AS correlation_id,
                           md5(seed || ':awkward-event:bare-1')::uuid::text AS event_id,
                           md5(seed || ':tenant:awkward-a')::uuid::text AS tenant_id) AS ids,
           LATERAL (VALUES (1, correlation_id), (2, event_id),
                           (3, 'correlation:' || correlation_id), (4, 'id:' || event_id),
                           (5, tenant_id || ':' || correlation_id), (6, tenant_id || ':' || event_id))
               AS lookalike (nth, text)
    UNION ALL
    SELECT 'no-session-generated-' || number, number::text, 'ns-' || number, NULL, false, 1500, '{}'
      FROM scenario, generate_series(1, least(tenants, 3)) AS number
    UNION ALL
    SELECT 'unallocated-' || nth, 'unallocated', 'un-' || nth, NULL, true, 100 * nth, '{}'
      FROM generate_series(1, 5) AS nth
), events AS (
    INSERT INTO attribution_events (id, tenant_id, created_at, updated_at, occurred_at, external_event_id,
                                    correlation_id, session_id, revenue_cents, raw_payload)
    SELECT md5(seed || ':awkward-event:' || label)::uuid,
           md5(seed || ':tenant:' || tenant_key)::uuid,
           noon, noon, noon, external_event_id,
           md5(seed || ':awkward-correlation:' || correlation_key)::uuid,
           CASE WHEN has_session THEN md5(seed || ':awkward-session:' || label)::uuid END,
           revenue_cents, raw_payload
      FROM scenario, described
    RETURNING id, tenant_id, occurred_at, correlation_id, revenue_cents
)
INSERT INTO attribution_allocations (id, tenant_id, event_id, created_at, updated_at, channel_code,
                                     allocated_revenue_cents, model_metadata, correlation_id,
                                     allocation_ratio, model_version)
SELECT md5(events.id || ':' || channel_code)::uuid, events.tenant_id, events.id, occurred_at, occurred_at,
       channel_code,
       events.revenue_cents::bigint * to_share / 100000 - events.revenue_cents::bigint * from_share / 100000,
       model_metadata, correlation_id, (to_share - from_share) / 100000.0, model_version
  FROM scenario
 CROSS JOIN described
  JOIN events ON events.id = md5(seed || ':awkward-event:' || label)::uuid
  JOIN (VALUES (false, 'partner''s "deal"', 0, 100000, 'modèle ''β''', '{"note": "it''s \"quoted\""}'::jsonb),
               (true, 'größe/日本', 0, 33333, 'decay-0.9', NULL),
               (true, 'Direct', 33333, 66667, 'decay-0.9', NULL),
               (true, ' spaced out ', 66667, 100000, 'decay-0.9', '[]'))
       AS touch (is_split, channel_code, from_share, to_share, model_version, model_metadata)
    ON touch.is_split = (right(label, 6) = '-split')
 WHERE tenant_key <> 'unallocated';
