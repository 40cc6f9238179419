-- Stored readings and windows in the order in which they came: for replays, and for live clients that come back late.
-- BRIN, for rows lie in the tables nearly in that order, and an insert must not pay for it.
CREATE INDEX ON readings USING brin (received) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX ON readings_history USING brin (received) WITH (pages_per_range = 32, autosummarize = on);
