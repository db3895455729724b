-- Revenue as the last refresh before the migration leaves it: a database in the field has filled views.

REFRESH MATERIALIZED VIEW mv_realtime_revenue;
