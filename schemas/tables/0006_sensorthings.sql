-- The entities of OGC SensorThings, a read model of `registrations` and `series` that triggers keep in the same
-- transaction. An id is a hash of the name that never changes (dataset/sensor/metric), so it is the same in every
-- database of a city, and whoever knows the name can work it out: 52 bits, exact as a JSON number.

CREATE FUNCTION sta_id(name text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$ SELECT ('x' || left(md5(name), 13))::bit(52)::bigint $$;

-- A coordinate for the public: api/places.py has the rule (the nearest point of a grid), a test holds both equal.
CREATE FUNCTION sta_public_lat(lat float8, precision_m float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE WHEN coalesce(precision_m, 0) <= 0 THEN lat
   ELSE greatest(-90, least(90, round(lat / (precision_m / 111320.0)) * (precision_m / 111320.0))) END $$;

CREATE FUNCTION sta_public_lon(lon float8, public_lat float8, precision_m float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE WHEN coalesce(precision_m, 0) <= 0 THEN lon ELSE greatest(-180, least(180, round(lon / step) * step)) END
   FROM (SELECT precision_m / 111320.0 / greatest(cos(radians(public_lat)), 1e-6) AS step) AS grid $$;

-- Models of devices; make and model are empty where nobody told.
CREATE TABLE sta_sensors (
    id          bigint PRIMARY KEY,
    dataset     text NOT NULL,
    make        text NOT NULL,
    model       text NOT NULL
);

CREATE TABLE sta_metrics (
    id          bigint PRIMARY KEY,
    metric      text NOT NULL UNIQUE
);

-- Sensors, registered or only heard of, as the newest registration describes them.
CREATE TABLE sta_things (
    id          bigint PRIMARY KEY,
    dataset     text NOT NULL,
    sensor      text NOT NULL,
    name        text NOT NULL,
    model       bigint NOT NULL,        -- sta_sensors
    registered  boolean NOT NULL,
    body        jsonb NOT NULL,         -- the newest registration; {} where there is none
    UNIQUE (dataset, sensor)
);

-- The time of each sensor, cut where its place changes, without gaps; lon and lat are the public ones, null: no place.
CREATE TABLE sta_places (
    id          bigint PRIMARY KEY,
    thing       bigint NOT NULL,
    name        text NOT NULL,
    since       timestamptz NOT NULL,   -- inclusive; '-infinity': always
    until       timestamptz NOT NULL,   -- exclusive; 'infinity': until further notice
    lon         float8,
    lat         float8,
    precision_m integer NOT NULL        -- of the grid that the place is published on; 0: exact
);
CREATE INDEX ON sta_places (thing, since);

CREATE TABLE sta_datastreams (
    id          bigint PRIMARY KEY,
    thing       bigint NOT NULL,
    dataset     text NOT NULL,
    sensor      text NOT NULL,
    metric      text NOT NULL,
    series      integer UNIQUE,         -- null: registered, nothing was heard
    name        text NOT NULL,          -- the thing's
    model       bigint NOT NULL,
    rule        jsonb NOT NULL,         -- schemas.registry.Series: what is special about this one
    area        jsonb                   -- GeoJSON: around all its places
);
CREATE INDEX ON sta_datastreams (thing);
CREATE INDEX ON sta_datastreams (metric);
CREATE INDEX ON sta_datastreams (model);

-- Makes the entities of these sensors anew. One at a time, for each must see what the others committed.
CREATE FUNCTION sta_refresh(datasets text[], sensors text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sta_refresh ' || current_schema()));
    CREATE TEMPORARY TABLE IF NOT EXISTS sta_changed (
        id bigint, dataset text, sensor text, body jsonb, registered boolean
    ) ON COMMIT DROP;
    TRUNCATE sta_changed;
    INSERT INTO sta_changed
    SELECT sta_id(c.d || '/' || c.s), c.d, c.s, coalesce(r.body, '{}'), r.body IS NOT NULL
    FROM (SELECT DISTINCT d, s FROM unnest(datasets, sensors) AS u (d, s)) AS c
    LEFT JOIN LATERAL (
        SELECT body FROM registrations WHERE dataset = c.d AND sensor = c.s ORDER BY valid_from DESC LIMIT 1
    ) AS r ON true;

    INSERT INTO sta_sensors (id, dataset, make, model)
    SELECT DISTINCT sta_id('model/' || dataset || '/' || make || '/' || model), dataset, make, model
    FROM (SELECT dataset, coalesce(body #>> '{device,make}', '') AS make, coalesce(body #>> '{device,model}', '') AS model
          FROM sta_changed) AS m
    ORDER BY 1 ON CONFLICT DO NOTHING;

    INSERT INTO sta_things (id, dataset, sensor, name, model, registered, body)
    SELECT id, dataset, sensor, coalesce(nullif(body #>> '{site,name}', ''), sensor),
           sta_id('model/' || dataset || '/' || coalesce(body #>> '{device,make}', '') || '/'
                  || coalesce(body #>> '{device,model}', '')),
           registered, body
    FROM sta_changed ORDER BY dataset, sensor
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, model = excluded.model, registered = excluded.registered,
        body = excluded.body;

    CREATE TEMPORARY TABLE IF NOT EXISTS sta_new_places (LIKE sta_places) ON COMMIT DROP;
    TRUNCATE sta_new_places;
    INSERT INTO sta_new_places
    SELECT sta_id(p.dataset || '/' || p.sensor || '@' || extract(epoch FROM p.since)), p.id, p.name, p.since, p.until,
           CASE WHEN p.grid > 0 THEN round(sta_public_lon(p.lon, p.lat, p.grid)::numeric, 6)::float8 ELSE p.lon END,
           CASE WHEN p.grid > 0 THEN round(p.lat::numeric, 6)::float8 ELSE p.lat END, p.grid
    FROM (
        SELECT c.id, c.dataset, c.sensor, r.valid_from AS since,
               least(r.valid_to, lead(r.valid_from, 1, 'infinity') OVER (PARTITION BY c.id ORDER BY r.valid_from)) AS until,
               coalesce(nullif(r.body #>> '{site,name}', ''), c.sensor) AS name, r.lon, grid,
               sta_public_lat(r.lat, grid) AS lat
        FROM sta_changed AS c JOIN registrations AS r USING (dataset, sensor)
        CROSS JOIN LATERAL (SELECT coalesce((r.body ->> 'public_precision_m')::integer, 0) AS grid) AS g
    ) AS p
    WHERE p.since < p.until AND p.lon IS NOT NULL AND p.lat IS NOT NULL;

    INSERT INTO sta_new_places
    SELECT sta_id(dataset || '/' || sensor || '!' || extract(epoch FROM since)), id, sensor, since, until, NULL, NULL, 0
    FROM (
        SELECT id, dataset, sensor, ends AS since,
               lead(starts, 1, 'infinity') OVER (PARTITION BY id ORDER BY starts, ends) AS until
        FROM (
            SELECT id, dataset, sensor, '-infinity'::timestamptz AS starts, '-infinity'::timestamptz AS ends
            FROM sta_changed
            UNION ALL
            SELECT c.id, c.dataset, c.sensor, p.since, p.until FROM sta_changed AS c JOIN sta_new_places AS p ON p.thing = c.id
        ) AS taken
    ) AS gaps
    WHERE since < until;

    DELETE FROM sta_places WHERE thing IN (SELECT id FROM sta_changed) AND id NOT IN (SELECT id FROM sta_new_places);
    INSERT INTO sta_places SELECT * FROM sta_new_places ORDER BY id
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, since = excluded.since, until = excluded.until,
        lon = excluded.lon, lat = excluded.lat, precision_m = excluded.precision_m;

    INSERT INTO sta_datastreams (id, thing, dataset, sensor, metric, series, name, model, rule, area)
    SELECT sta_id(m.dataset || '/' || m.sensor || '/' || m.metric), t.id, m.dataset, m.sensor, m.metric, max(m.series),
           t.name, t.model, coalesce(t.body -> 'series' -> m.metric, '{}'), a.area
    FROM (
        SELECT c.dataset, c.sensor, s.metric, s.id AS series
        FROM sta_changed AS c JOIN series AS s USING (dataset, sensor)
        UNION ALL
        SELECT c.dataset, c.sensor, k.metric, NULL
        FROM sta_changed AS c JOIN registrations AS r USING (dataset, sensor)
        CROSS JOIN LATERAL jsonb_object_keys(coalesce(r.body -> 'series', '{}')) AS k (metric)
    ) AS m
    JOIN sta_things AS t USING (dataset, sensor)
    LEFT JOIN (
        SELECT thing, CASE WHEN min(lon) = max(lon) AND min(lat) = max(lat)
            THEN jsonb_build_object('type', 'Point', 'coordinates', jsonb_build_array(min(lon), min(lat)))
            ELSE jsonb_build_object('type', 'Polygon', 'coordinates', jsonb_build_array(jsonb_build_array(
                jsonb_build_array(min(lon), min(lat)), jsonb_build_array(max(lon), min(lat)),
                jsonb_build_array(max(lon), max(lat)), jsonb_build_array(min(lon), max(lat)),
                jsonb_build_array(min(lon), min(lat))))) END AS area
        FROM sta_new_places WHERE lon IS NOT NULL GROUP BY thing
    ) AS a ON a.thing = t.id
    GROUP BY m.dataset, m.sensor, m.metric, t.id, t.name, t.model, t.body, a.area
    ORDER BY 1
    ON CONFLICT (id) DO UPDATE SET series = excluded.series, name = excluded.name, model = excluded.model,
        rule = excluded.rule, area = excluded.area;

    INSERT INTO sta_metrics (id, metric)
    SELECT DISTINCT sta_id('metric/' || d.metric), d.metric
    FROM sta_datastreams AS d JOIN sta_changed AS c ON c.id = d.thing
    WHERE NOT EXISTS (SELECT FROM sta_metrics AS m WHERE m.metric = d.metric)
    ORDER BY 1 ON CONFLICT DO NOTHING;
END $$;

CREATE FUNCTION sta_on_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added) THEN
        PERFORM sta_refresh(array_agg(dataset), array_agg(sensor)) FROM added;
    END IF;
    RETURN NULL;
END $$;

-- Processors write all registrations again when they start: only what changed costs something.
CREATE FUNCTION sta_on_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sta_refresh(array_agg(dataset), array_agg(sensor))
    FROM after JOIN before USING (dataset, sensor, valid_from)
    WHERE (after.valid_to, after.body) IS DISTINCT FROM (before.valid_to, before.body)
    HAVING count(*) > 0;
    RETURN NULL;
END $$;

CREATE TRIGGER sta_series AFTER INSERT ON series
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sta_on_insert();
CREATE TRIGGER sta_registrations_new AFTER INSERT ON registrations
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sta_on_insert();
CREATE TRIGGER sta_registrations_changed AFTER UPDATE ON registrations
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION sta_on_update();

SELECT sta_refresh(array_agg(dataset), array_agg(sensor))
FROM (SELECT dataset, sensor FROM series UNION SELECT dataset, sensor FROM registrations) AS known
HAVING count(*) > 0;
