-- The newest readings of a series before a moment, newest first. A function, so that a statement which finds enough
-- in the last days' chunks neither plans nor opens those of all the years.
CREATE FUNCTION sta_readings_before(of_series integer, before timestamptz, n integer) RETURNS SETOF readings
LANGUAGE plpgsql STABLE ROWS 1 AS $$
BEGIN
    RETURN QUERY SELECT * FROM readings AS r
        WHERE r.series = of_series AND r.start < before ORDER BY r.start DESC LIMIT n;
END $$;
