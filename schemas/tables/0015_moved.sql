-- UTC days of a dataset whose readings are in the archive and no longer in `readings` (but for what came since, and the
-- first and the newest reading of each series). History reads them from these files.
CREATE TABLE moved_days (
    day         integer NOT NULL,       -- from 1970-01-01
    dataset     text NOT NULL,
    revision    integer NOT NULL,
    path        text NOT NULL,          -- of the Parquet file, below the archive's place
    log_path    text NOT NULL,          -- where each of its rows stands in the log
    rows        bigint NOT NULL,
    periods     integer[] NOT NULL,     -- the different period_s of its rows
    moved       timestamptz NOT NULL DEFAULT now(),
    back        timestamptz,            -- when they were put into `readings` again; null: they are in the archive alone
    PRIMARY KEY (day, dataset)
);
