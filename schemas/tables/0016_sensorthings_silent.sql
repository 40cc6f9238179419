-- A Datastream that was registered and never heard of has no series: nothing is looked for in the chunks of all years.
ALTER FUNCTION sta_readings_before(integer, timestamptz, integer) STRICT;
