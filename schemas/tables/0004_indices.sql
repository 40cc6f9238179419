-- Air quality indices of sensors: one row an hour (nowcast, eaqi, daqi) or a day (us-aqi, who) of each pollutant, and
-- one of the metric `overall` that has the worst. Names that repeat in every row are numbers: see
-- schemas/indices/stored.py, which both sides read.

CREATE TABLE index_series (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset     text NOT NULL,
    sensor      text NOT NULL,
    index       text NOT NULL,          -- us-aqi, nowcast, eaqi, daqi, who
    metric      text NOT NULL,          -- pm25, ..., or overall
    UNIQUE (dataset, sensor, index, metric)
);

CREATE TABLE indices (
    series      integer NOT NULL,       -- index_series.id
    start       timestamptz NOT NULL,
    until       timestamptz NOT NULL,   -- the row is of [start, until)
    value       float8,                 -- null: no data
    category    smallint NOT NULL,      -- place among the index's categories; -1: no data
    driver      smallint NOT NULL,      -- the pollutant whose value it is; -1: none
    source      smallint NOT NULL,      -- the metric that was measured or corrected; -1: none
    edition     smallint NOT NULL,      -- year that names the table of the authority
    concentration float8,               -- what the value is of, canonical unit; null: too few hours
    supplement  float8,                 -- what the rule looks at besides: SO2, mean of the day; ozone, highest hour
    hours       smallint NOT NULL,      -- there, of
    expected    smallint NOT NULL,
    beyond      boolean NOT NULL,       -- above the official table
    origin      smallint NOT NULL,      -- 1: of imported readings alone
    rev         integer NOT NULL,
    published   timestamptz NOT NULL,   -- when it was stored (transaction time)
    part        smallint NOT NULL,
    out_seq     bigint NOT NULL,
    PRIMARY KEY (series, start)
);
SELECT create_hypertable('indices', 'start', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false);

CREATE TABLE indices_history (
    LIKE indices,
    known_to    timestamptz NOT NULL,
    PRIMARY KEY (series, start, rev)
);
