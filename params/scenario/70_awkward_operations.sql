-- Failed events with every kind of error_detail, and reconciliation runs that tie.
--
-- Phase 8a makes error_type (100 characters) from error_code and error_message from the message in
-- error_detail where that is text. Two runs of one tenant share the latest last_run_at: the plain
-- mv_reconciliation_status cannot hold both and its refresh fails until the tie-break of a later revision.
-- That is intended.

WITH scenario AS MATERIALIZED (
    SELECT current_setting('scenario.seed') AS seed,
           (current_setting('scenario.as_of')::date - 5)::timestamp AT TIME ZONE 'UTC' + interval '6 hours'
               AS at
)
INSERT INTO dead_events (id, tenant_id, ingested_at, source, error_code, error_detail, raw_payload,
                         correlation_id, external_event_id)
SELECT md5(seed || ':awkward-dead:' || nth)::uuid, md5(seed || ':tenant:' || tenant_key)::uuid,
       at + nth * interval '1 second', source, error_code, error_detail, raw_payload,
       CASE WHEN nth = 1 THEN md5(seed || ':awkward-correlation:only')::uuid END,
       CASE WHEN nth IN (1, 2) THEN 'dead ''id'' ' || nth END
  FROM scenario,
       (VALUES (1, 'awkward-a', 'webhook', 'SCHEMA_INVALID',
                '{"message": "Field \"amount\" is missing"}'::jsonb, '{}'::jsonb),
               (2, 'awkward-a', 'webhook', 'NO_MESSAGE', '{"detail": "not called message"}', '{}'),
               (3, 'awkward-a', 'webhook', 'EMPTY', '{}', '{}'),
               (4, 'awkward-a', 'webhook', 'MESSAGE_NUMBER', '{"message": 42}', '{}'),
               (5, 'awkward-a', 'webhook', 'MESSAGE_NULL', '{"message": null}', '{}'),
               (6, 'awkward-a', 'webhook', 'MESSAGE_OBJECT', '{"message": {"text": "nested"}}', '{}'),
               (7, 'awkward-a', 'webhook', 'MESSAGE_ARRAY', '{"message": ["a", "b"]}', '{}'),
               (8, 'awkward-a', 'webhook', 'MESSAGE_BLANK', '{"message": ""}', '{}'),
               (9, 'awkward-a', 'webhook', 'DETAIL_ARRAY', '[{"message": "in an array"}]', '[]'),
               (10, 'awkward-a', 'webhook', 'DETAIL_TEXT', '"only text"', '"only text"'),
               (11, 'awkward-a', 'webhook', 'DETAIL_NULL', 'null', 'null'),
               (12, 'awkward-a', 'import', repeat('LONG_CODE_', 12), '{"message": "Code of 120 characters"}',
                '{}'),
               (13, 'awkward-a', 'import', repeat('LONG_CODE_', 12) || '2',
                '{"message": "Alike in the first 120"}', '{}'),
               (14, 'awkward-a', 'import', repeat('日本語', 34), '{"message": "Code of 102 wide characters"}',
                '{}'),
               (15, 'awkward-b', 'pixel', '<b>BOLD</b>', '{"message": "<script>alert(\"dead\")</script>"}',
                '{"html": "</td></tr>"}'),
               (16, 'awkward-b', 'it''s "odd"', 'QUOTES ''"`',
                '{"message": "it''s \"quoted\", größer, 東京\nnext line"}', '{}'),
               (17, 'awkward-b', '', '', '{"message": "Source and code are empty"}', '{}'))
       AS legacy (nth, tenant_key, source, error_code, error_detail, raw_payload);

WITH scenario AS MATERIALIZED (
    SELECT current_setting('scenario.seed') AS seed,
           (current_setting('scenario.as_of')::date)::timestamp AT TIME ZONE 'UTC' + interval '3 hours' AS at
)
INSERT INTO reconciliation_runs (id, tenant_id, created_at, updated_at, last_run_at, state, error_message,
                                 run_metadata)
SELECT md5(seed || ':awkward-run:' || nth)::uuid, md5(seed || ':tenant:' || tenant_key)::uuid,
       at - hours_ago * interval '1 hour', at - hours_ago * interval '1 hour',
       at - hours_ago * interval '1 hour', state, error_message, run_metadata
  FROM scenario,
       (VALUES (1, 'awkward-a', 72, 'completed', NULL, '{"rows": 12}'::jsonb),
               (2, 'awkward-a', 48, 'failed', 'Provider said: "it''s down" <br> größer', '{"retry": true}'),
               (3, 'awkward-a', 24, 'completed', NULL, NULL),
               (4, 'awkward-a', 0, 'running', NULL, '{}'),
               (5, 'awkward-a', 0, 'failed', 'Started twice', '{}'),
               (6, 'awkward-b', 24, 'completed', NULL, NULL),
               (7, 'awkward-b', 24, 'completed', NULL, NULL),
               (8, 'awkward-b', 1, 'idle', NULL, NULL),
               (9, 'unallocated', 5000, 'idle', NULL, NULL))
       AS legacy (nth, tenant_key, hours_ago, state, error_message, run_metadata);
