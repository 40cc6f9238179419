-- One plan for all moments: one for each would cost more than what it finds, with hundreds of chunks.
ALTER FUNCTION sta_readings_before(integer, timestamptz, integer) SET plan_cache_mode = 'force_generic_plan';
