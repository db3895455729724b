-- Failed events and reconciliation runs of the generated tenants, in proportion to their activity.
--
-- One dead event per 200 events, one reconciliation run a day: mostly completed, some failed, the run of the
-- last day still running.

INSERT INTO dead_events (id, tenant_id, ingested_at, source, error_code, error_detail, raw_payload,
                         correlation_id, external_event_id)
SELECT md5(seed || ':dead:' || tenant || ':' || day || ':' || nth)::uuid,
       md5(seed || ':tenant:' || tenant)::uuid,
       (as_of - day)::timestamp AT TIME ZONE 'UTC' + (bits & 65535) * interval '1.3 seconds',
       (ARRAY['webhook', 'import', 'pixel', 'webhook'])[(bits >> 20 & 3) + 1],
       failure.code,
       jsonb_build_object('message', failure.message, 'attempt', (bits >> 24 & 3) + 1),
       jsonb_build_object('order', nth, 'amount', bits >> 28 & 4095),
       CASE WHEN bits >> 22 & 1 = 1
            THEN md5(seed || ':dead-correlation:' || tenant || ':' || day || ':' || nth)::uuid END,
       CASE WHEN bits >> 23 & 1 = 1 THEN 'evt-dead-' || to_char(as_of - day, 'YYYY-MM-DD') || '-' || nth END
  FROM (SELECT current_setting('scenario.seed')::bigint AS seed,
               current_setting('scenario.as_of')::date AS as_of) AS scenario
 CROSS JOIN generate_series(1, current_setting('scenario.tenants')::int) AS tenant
 CROSS JOIN generate_series(0, current_setting('scenario.days')::int - 1) AS day
 CROSS JOIN generate_series(1, (current_setting('scenario.events_per_day')::int + 199) / 200) AS nth
 CROSS JOIN LATERAL (SELECT hashint8extended((tenant::bigint << 44) | (day::bigint << 28) | nth, seed + 2)
                                AS bits) AS hash
 CROSS JOIN (VALUES (0, 'SCHEMA_INVALID', 'Field "amount" is missing'),
                    (1, 'DUPLICATE', 'Event was seen before'),
                    (2, 'TIMEOUT', 'No answer within 30 s'),
                    (3, 'UNKNOWN_TENANT', 'Tenant is not known')) AS failure (kind, code, message)
 WHERE failure.kind = bits >> 18 & 3;

INSERT INTO reconciliation_runs (id, tenant_id, created_at, updated_at, last_run_at, state, error_message,
                                 run_metadata)
SELECT md5(seed || ':run:' || tenant || ':' || day)::uuid,
       md5(seed || ':tenant:' || tenant)::uuid,
       started_at, started_at + interval '4 minutes', started_at, outcome.state,
       CASE outcome.state WHEN 'failed' THEN 'Provider did not answer' END,
       jsonb_build_object('day', as_of - day - 1)
  FROM (SELECT current_setting('scenario.seed')::bigint AS seed,
               current_setting('scenario.as_of')::date AS as_of) AS scenario
 CROSS JOIN generate_series(1, current_setting('scenario.tenants')::int) AS tenant
 CROSS JOIN generate_series(0, current_setting('scenario.days')::int - 1) AS day
 CROSS JOIN LATERAL (SELECT (as_of - day)::timestamp AT TIME ZONE 'UTC' + interval '2 hours'
                            + tenant * interval '1 minute' AS started_at) AS start
 CROSS JOIN LATERAL (SELECT CASE WHEN day = 0 THEN 'running'
                                 WHEN mod(day + tenant, 17) = 0 THEN 'failed'
                                 ELSE 'completed' END AS state) AS outcome;
