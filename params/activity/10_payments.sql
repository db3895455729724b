-- What payment providers report once the ledger has states: refunds, chargebacks, and payments in other currencies.
--
-- The entries of the documented tenant get the state that model_metadata of their allocation foretells: five a day
-- each of captured, refunded and chargeback. Of every other tenant's captured entries one in twelve is refunded
-- and one in forty charged back; one in five of its entries is in euros and one in ten in pounds. Entries that
-- are only authorized stay so. Each change of a state is recorded as a transition. Choices are bits of a hash of
-- the entry's id; times follow from the entry; nothing asks for a random value or the clock.

WITH chosen AS (
    SELECT entry.id, entry.state AS from_state, entry.verification_timestamp + interval '30 minutes' AS at,
           CASE WHEN allocation.model_metadata ? 'ledger_state' THEN allocation.model_metadata ->> 'ledger_state'
                WHEN entry.state <> 'captured' THEN entry.state
                WHEN mod(bits >> 8 & 65535, 12) = 0 THEN 'refunded'
                WHEN mod(bits >> 24 & 65535, 40) = 0 THEN 'chargeback'
                ELSE entry.state END AS to_state,
           CASE WHEN entry.tenant_id = '00000000-0000-0000-0000-000000000001' THEN 'USD'
                WHEN mod(bits >> 40 & 65535, 10) = 0 THEN 'GBP'
                WHEN mod(bits >> 40 & 65535, 5) = 1 THEN 'EUR'
                ELSE 'USD' END AS currency
      FROM revenue_ledger AS entry
      JOIN attribution_allocations AS allocation ON allocation.id = entry.allocation_id
     CROSS JOIN LATERAL (SELECT hashtextextended(entry.id::text, current_setting('scenario.seed')::bigint) AS bits)
           AS hash
), changed AS (
    UPDATE revenue_ledger AS entry
       SET state = chosen.to_state,
           previous_state = CASE WHEN chosen.to_state <> chosen.from_state THEN chosen.from_state END,
           currency = chosen.currency,
           updated_at = chosen.at
      FROM chosen
     WHERE chosen.id = entry.id
       AND (chosen.to_state <> entry.state OR chosen.currency <> entry.currency)
    RETURNING entry.id, entry.previous_state, entry.state, entry.updated_at
)
INSERT INTO revenue_state_transitions (id, ledger_id, from_state, to_state, reason, transitioned_at)
SELECT md5(id || ':' || state)::uuid, id, previous_state, state,
       CASE state WHEN 'refunded' THEN 'The customer sent the goods back' ELSE 'The customer''s bank asked for it' END,
       updated_at
  FROM changed
 WHERE previous_state IS NOT NULL
ON CONFLICT (id) DO NOTHING;
