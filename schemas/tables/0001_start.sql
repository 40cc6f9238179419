-- The tables of cityfeed. Identity outside the database is the string (dataset, sensor, metric); the integer key
-- of a series stays inside. Times are UTC. Run once, in one transaction, by stream_processors/migrations.py.

CREATE TABLE series (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset     text NOT NULL,
    sensor      text NOT NULL,
    metric      text NOT NULL,
    UNIQUE (dataset, sensor, metric)
);

-- The registry, from the topic `sensors`: what is true of a sensor in [valid_from, valid_to).
CREATE TABLE registrations (
    dataset     text NOT NULL,
    sensor      text NOT NULL,
    valid_from  timestamptz NOT NULL,   -- '-infinity': always
    valid_to    timestamptz NOT NULL,   -- 'infinity': until the next one
    lon         float8,
    lat         float8,
    body        jsonb NOT NULL,         -- schemas.registry.Registration: site, device, series
    PRIMARY KEY (dataset, sensor, valid_from)
);

-- One row a reading: the newest `rev`. [start, start + period_s), period_s 0 is an instant.
CREATE TABLE readings (
    series      integer NOT NULL,
    start       timestamptz NOT NULL,
    period_s    integer NOT NULL,
    value       float8 NOT NULL,        -- canonical unit; NaN only with flag 9
    flag        smallint NOT NULL,      -- QARTOD
    tests       integer NOT NULL,       -- bit mask of the tests that fired
    rev         integer NOT NULL,
    origin      smallint NOT NULL,      -- 0 live, 1 import
    received    timestamptz NOT NULL,   -- at the gateway
    part        smallint NOT NULL,      -- Kafka partition, and
    position    bigint NOT NULL,        -- log_epoch << 44 | offset of its clean record
    PRIMARY KEY (series, start)
);
SELECT create_hypertable('readings', 'start', chunk_time_interval => INTERVAL '1 day', create_default_indexes => false);

-- Rows that a higher rev replaced, with the time (of the log) at which they stopped being true.
CREATE TABLE readings_history (
    series      integer NOT NULL,
    start       timestamptz NOT NULL,
    period_s    integer NOT NULL,
    value       float8 NOT NULL,
    flag        smallint NOT NULL,
    tests       integer NOT NULL,
    rev         integer NOT NULL,
    origin      smallint NOT NULL,
    received    timestamptz NOT NULL,
    part        smallint NOT NULL,
    position    bigint NOT NULL,
    known_to    timestamptz NOT NULL,
    PRIMARY KEY (series, start, rev)
);

-- Places of mobile sensors' readings.
CREATE TABLE reading_places (
    series      integer NOT NULL,
    start       timestamptz NOT NULL,
    lon         float8 NOT NULL,
    lat         float8 NOT NULL,
    PRIMARY KEY (series, start)
);

-- One row a window that has readings, selected by their start: [start, start + width_s).
CREATE TABLE windows (
    series      integer NOT NULL,
    width_s     integer NOT NULL,
    start       timestamptz NOT NULL,
    n           integer NOT NULL,       -- readings counted: flags 1, 2, 3 with a value
    n_expected  integer,                -- null: the cadence is not known
    coverage    float8,                 -- covered time over window time, 0..1
    mean        float8,                 -- null: n is 0
    min         float8,
    max         float8,
    std         float8,                 -- of the population; null: n is 0
    p50         float8,
    p95         float8,
    first       float8,
    last        float8,
    total       float8,                 -- what composes: sum of values,
    m2          float8,                 -- sum of squared differences from the arithmetic mean,
    weighted    float8,                 -- sum of value * weight,
    weight      float8,                 -- sum of weights (0: none known)
    complete    boolean NOT NULL,
    rev         integer NOT NULL,
    published   timestamptz NOT NULL,   -- when it was stored (transaction time)
    part        smallint NOT NULL,
    out_seq     bigint NOT NULL,        -- number of this row among all that the partition published
    PRIMARY KEY (series, width_s, start)
);
SELECT create_hypertable('windows', 'start', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false);

CREATE TABLE windows_history (
    LIKE windows,
    known_to    timestamptz NOT NULL,
    PRIMARY KEY (series, width_s, start, rev)
);

-- Closed windows whose stored row is not (yet) what the stored readings say. Only the partition's owner drains them.
CREATE TABLE dirty (
    part        smallint NOT NULL,
    series      integer NOT NULL,
    width_s     integer NOT NULL,
    start       timestamptz NOT NULL,
    marked      bigint NOT NULL,        -- log time (epoch ms) of the first mark: maximum delay counts from it
    touched     bigint NOT NULL,        -- of the newest: quiet time counts from it; 0: due at once
    PRIMARY KEY (part, series, width_s, start)
);

-- How far each partition of readings.clean is stored, and who may store it.
CREATE TABLE positions (
    part            smallint PRIMARY KEY,
    log_epoch       integer NOT NULL DEFAULT 0,
    next_offset     bigint NOT NULL DEFAULT 0,      -- the next clean record to take
    raw             bigint DEFAULT -1,              -- raw offset of the last one taken: its follower's prev_raw; null: any
    tick            bigint NOT NULL DEFAULT 0,      -- newest log time seen (epoch ms)
    epoch           bigint NOT NULL DEFAULT 0,      -- the fence: raised by each new owner
    owner_pid       integer,                        -- backend of the owner
    owner_started   timestamptz,                    -- and its start, for pids come again
    out_seq         bigint NOT NULL DEFAULT 0,      -- last number given to a row to publish
    published_seq   bigint NOT NULL DEFAULT 0       -- last one that Kafka acknowledged
);
