-- Row versions, published rows and what positions need to notice a log that broke.

-- `rev` is the row's version and only grows; the sensor's own number stands beside it. An amendment by our rules
-- raises `rev` alone, so that it never swallows a later correction by the sensor.
ALTER TABLE readings ADD COLUMN source_rev integer NOT NULL DEFAULT 1;
ALTER TABLE readings_history ADD COLUMN source_rev integer NOT NULL DEFAULT 1;
UPDATE readings SET source_rev = rev WHERE rev <> 1;
UPDATE readings_history SET source_rev = rev WHERE rev <> 1;

-- A window that no stored reading belongs to any more stays as a row that says so: its `rev` goes on from there.
ALTER TABLE windows ADD COLUMN gone boolean NOT NULL DEFAULT false;
ALTER TABLE windows ADD COLUMN origin smallint NOT NULL DEFAULT 0;   -- 1: made from imported readings alone
ALTER TABLE windows_history ADD COLUMN gone boolean NOT NULL DEFAULT false;
ALTER TABLE windows_history ADD COLUMN origin smallint NOT NULL DEFAULT 0;

-- What is to be made again: 0 a window, 1 the flags around a reading (width_s 0), 2 an index.
ALTER TABLE dirty ADD COLUMN kind smallint NOT NULL DEFAULT 0;
ALTER TABLE dirty DROP CONSTRAINT dirty_pkey;
ALTER TABLE dirty ADD PRIMARY KEY (part, kind, series, width_s, start);

-- Kafka records that a transaction made, until Kafka has acknowledged them (then `positions.published_seq` is past them).
CREATE TABLE outbox (
    part        smallint NOT NULL,
    out_seq     bigint NOT NULL,        -- of the record's last row
    topic       text NOT NULL,          -- without the prefix
    value       bytea NOT NULL,
    made        timestamptz NOT NULL,
    PRIMARY KEY (part, out_seq)
);

-- CRC-32 of the record at next_offset - 1; null: not known. It is read again on assignment: another one means that
-- the log is not the one that was stored from.
ALTER TABLE positions ADD COLUMN crc bigint;

-- What a log lost, for ever: said here once, and served.
CREATE TABLE log_gaps (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic       text NOT NULL,          -- without the prefix
    part        smallint NOT NULL,
    noticed     timestamptz NOT NULL DEFAULT now(),
    log_epoch   integer NOT NULL,       -- from here on
    first_lost  bigint NOT NULL,        -- offset, in the epoch before
    next_offset bigint,                 -- where reading goes on; below first_lost: in a new log
    reason      text NOT NULL           -- retention | recreated | shorter | unlike
);
