-- Rows of the benchmark, made inside the server: one SELECT for each table. loading.py puts the first one before
-- each of the others as a CTE, and INSERT or CREATE TABLE AS before all of that.
--
-- The customers take turns by a hash of the event's number. Each event has ten allocations: five channels under each
-- of two models, one of which credits all of it. Two of the ten have a ledger entry. One event in eight is credited
-- over up to three days. All times lie in the whole days between bench.starts_at and bench.ends_at; ids are hashes,
-- as unordered as gen_random_uuid() makes them. Nothing is random: the same settings give the same rows.

-- event
SELECT number,
       left(md5('event ' || number), 31) AS hex,  -- and one digit more: the event, its allocations, its entries
       md5('session ' || number / 3)::uuid AS session_id,
       customers.ids[1 + (bits & 1023) % cardinality(customers.ids)] AS tenant_id,
       period.starts_at + number * period.step AS occurred_at,
       period.ends_at - interval '1 second' AS latest_at,
       (500 + ((bits >> 20) & 65535))::int AS revenue_cents,
       (ARRAY['USD', 'USD', 'EUR', 'GBP'])[1 + ((bits >> 10) & 3)] AS currency,
       ((bits >> 12) & 15)::int AS first_channel,
       (bits >> 16) & 7 = 0 AS is_late,
       ((bits >> 36) & 63)::numeric / 1000 AS doubt,
       ((bits >> 44) & 31)::int AS fate
  FROM (SELECT starts_at, ends_at, (ends_at - starts_at) / current_setting('bench.events')::float8 AS step
          FROM (SELECT current_setting('bench.starts_at')::timestamptz AS starts_at,
                       current_setting('bench.ends_at')::timestamptz AS ends_at) AS setting) AS period,
       (SELECT array_agg(id ORDER BY id) AS ids FROM tenants) AS customers,
       generate_series(current_setting('bench.first')::bigint, current_setting('bench.last')::bigint) AS number,
       LATERAL (SELECT hashint8extended(number, 1) AS bits) AS hash
OFFSET 0  -- keeps the hashes from being computed once per use

-- attribution_events
SELECT (hex || 'e')::uuid AS id, tenant_id, occurred_at AS created_at, occurred_at AS updated_at, occurred_at,
       'order-' || number AS external_event_id, session_id, revenue_cents,
       '{"source": "web", "device": "phone"}'::jsonb AS raw_payload,
       tenant_id || ':ext:order-' || number AS idempotency_key, 'purchase' AS event_type, 'web' AS channel,
       revenue_cents AS conversion_value_cents, currency, occurred_at AS event_timestamp,
       occurred_at AS processed_at, 'processed' AS processing_status
  FROM event

-- attribution_allocations
SELECT (hex || touch)::uuid AS id, tenant_id, (hex || 'e')::uuid AS event_id, created_at, created_at AS updated_at,
       (ARRAY['google_search', 'facebook_ads', 'direct', 'email', 'organic', 'referral', 'social', 'paid_search',
              'display'])[1 + (first_channel + touch) % 9] AS channel_code,
       revenue_cents / 5 AS allocated_revenue_cents, model_metadata, 0.2 AS allocation_ratio, model_version,
       model_type, confidence - doubt AS confidence_score, revenue_cents / 6 AS credible_interval_lower_cents,
       revenue_cents / 4 AS credible_interval_upper_cents, convergence_r_hat, effective_sample_size
  FROM event,
       (VALUES (0, 'bayes-2.1', 'bayesian', 0.9, '{"chains": 4}'::jsonb, 1.002, 4000),
               (1, 'bayes-2.1', 'bayesian', 0.8, '{"chains": 4}', 1.001, 3900),
               (2, 'bayes-2.1', 'bayesian', 0.7, '{"chains": 4}', 1.001, 3800),
               (3, 'bayes-2.1', 'bayesian', 0.6, '{"chains": 4}', 1.010, 3100),
               (4, 'bayes-2.1', 'bayesian', 0.5, '{"chains": 4}', 1.004, 2400),
               (5, 'linear-1.4', 'rule', 0.9, NULL, NULL, NULL),
               (6, 'linear-1.4', 'rule', 0.8, NULL, NULL, NULL),
               (7, 'linear-1.4', 'rule', 0.7, NULL, NULL, NULL),
               (8, 'linear-1.4', 'rule', 0.6, NULL, NULL, NULL),
               (9, 'linear-1.4', 'rule', 0.5, NULL, NULL, NULL))
           AS touches (touch, model_version, model_type, confidence, model_metadata, convergence_r_hat,
                       effective_sample_size),
       LATERAL (SELECT least(latest_at, occurred_at + touch * CASE WHEN is_late THEN interval '8 hours'
                                                                   ELSE interval '1 second' END)
                           AS created_at) AS made

-- revenue_ledger
SELECT (hex || entry)::uuid AS id, tenant_id, occurred_at AS created_at, occurred_at AS updated_at,
       revenue_cents / 5 AS revenue_cents, state <> 'authorized' AS is_verified,
       CASE WHEN state <> 'authorized' THEN verified_at END AS verified_at, (hex || touch)::uuid AS allocation_id,
       occurred_at AS posted_at, 'txn-' || hex || entry AS transaction_id, state,
       revenue_cents / 5 AS amount_cents, currency, 'processor' AS verification_source,
       verified_at AS verification_timestamp
  FROM event,
       (VALUES ('a', 0, 0), ('b', 1, 5)) AS entries (entry, touch, turn),
       LATERAL (SELECT least(latest_at, occurred_at + fate * interval '2 hours') AS verified_at,
                       (ARRAY['captured', 'captured', 'captured', 'captured', 'captured', 'captured', 'captured',
                              'captured', 'captured', 'captured', 'authorized', 'authorized', 'authorized',
                              'refunded', 'refunded', 'chargeback'])[1 + (fate + turn) % 16] AS state) AS outcome
