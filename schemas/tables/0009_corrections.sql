-- By which correction a partition's corrected hours were made: another one means that all are made again.
CREATE TABLE corrections (
    part        smallint NOT NULL,
    dataset     text NOT NULL,
    metric      text NOT NULL,          -- the corrected one, such as pm25-corr
    rule        text NOT NULL,          -- schemas.corrections.Rule.text
    since       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (part, dataset, metric)
);
