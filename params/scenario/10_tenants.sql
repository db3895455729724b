-- Tenants and channels.
--
-- scenario.tenants generated tenants, the tenant of the source documents, two that only carry awkward rows,
-- and two that a report must not lose: one with events but nothing allocated, one with nothing at all. Codes
-- and names hold quotes, markup and text beyond ASCII, so the database must be in UTF8.
--
-- All files of this folder: plain INSERTs, run in the order of their names in one transaction of the owner of
-- the tables, with every row visible and writable. Parameters are settings: scenario.tenants, scenario.days,
-- scenario.events_per_day (of each tenant), scenario.seed, scenario.as_of (the last day, UTC). A file that
-- begins with "per: days" runs once per chunk of days. The rows depend on the parameters only: ids and
-- choices are hashes, every time is given, nothing asks for a random value or the clock. The id of a tenant
-- is md5 of "seed:tenant:key", so that each file finds its tenants without looking them up.

INSERT INTO tenants (id, name, created_at, updated_at)
SELECT md5(current_setting('scenario.seed') || ':tenant:' || number)::uuid,
       (ARRAY['O''Brien & Söhne', '東京マーケット', 'Zoë "Quote" Ltd', 'Łódź <b>Retail</b>', 'Ελληνικά Κρασιά',
              'متجر الكتب', 'Back\slash Café', 'Ünïcode™ 🛒'])[mod(number - 1, 8) + 1]
           || CASE WHEN number > 8 THEN ' ' || number ELSE '' END,
       began.at, began.at
  FROM generate_series(1, current_setting('scenario.tenants')::int) AS number,
       (SELECT current_setting('scenario.as_of')::date - current_setting('scenario.days')::int - 30)
           AS first (day),
       LATERAL (SELECT day::timestamp AT TIME ZONE 'UTC' + number * interval '1 minute' AS at) AS began;

INSERT INTO tenants (id, name, created_at, updated_at)
SELECT coalesce(fixed_id, md5(current_setting('scenario.seed') || ':tenant:' || key)::uuid), name,
       began.at, began.at
  FROM (VALUES ('documented', '00000000-0000-0000-0000-000000000001'::uuid, 'Test Tenant'),
               ('awkward-a', NULL, 'Robert'' OR ''1''=''1'),
               ('awkward-b', NULL, E'Tab\there, line\nbreak, <script>alert("b")</script>'),
               ('unallocated', NULL, 'Events, nothing allocated'),
               ('idle', NULL, 'Nothing yet')) AS fixed (key, fixed_id, name),
       LATERAL (SELECT (current_setting('scenario.as_of')::date - 120)::timestamp AT TIME ZONE 'UTC' AS at)
           AS began;

INSERT INTO channel_taxonomy (code, name, description, parent_code, is_active, display_order, created_at,
                              updated_at)
SELECT code, name, description, parent_code, is_active, display_order, began.at, began.at
  FROM (VALUES ('partner''s "deal"', 'Partner''s "deal"', 'Code with both kinds of quotes', 'referral',
                true, 101),
               ('größe/日本', 'Größe 日本', 'Code beyond ASCII', 'social', true, 102),
               ('Direct', 'Direct <i>mail</i>', 'Differs from direct in case only', 'direct', true, 103),
               (' spaced out ', 'Spaced', 'Blanks at both ends', NULL, false, NULL))
       AS awkward (code, name, description, parent_code, is_active, display_order),
       LATERAL (SELECT (current_setting('scenario.as_of')::date - 120)::timestamp AT TIME ZONE 'UTC' AS at)
           AS began;
