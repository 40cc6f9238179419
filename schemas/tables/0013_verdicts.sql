-- Closed hours and days that are to be judged beside other series: hours against the neighbours', days of detectors.
-- Rows are only added and deleted: who changed an hour asks the owners of its neighbours, in the transaction of the
-- change, and waits for nobody. An owner deletes what it read before it judged, so what comes meanwhile stays.
CREATE TABLE verdicts_due (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    part        smallint NOT NULL,      -- whose owner judges
    kind        smallint NOT NULL,      -- 0 the hour of a series and of those around it, 1 a detector's day
    series      integer NOT NULL,       -- what changed; of kind 0 it may be another partition's
    start       timestamptz NOT NULL,   -- of the hour, or of the city's day
    due         bigint NOT NULL         -- log time (epoch ms) from which it is judged
);
CREATE INDEX ON verdicts_due (part, due);
