-- Readings that were judged again, in the order in which that happened: for live clients that come back later than Kafka
-- remembers. BRIN: rows of the history lie in the table in that order.
CREATE INDEX ON readings_history USING brin (known_to) WITH (pages_per_range = 32, autosummarize = on);
