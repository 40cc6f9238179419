-- Published rows in the order in which they came: for live clients that come back later than Kafka remembers. BRIN, as
-- for readings (0008): rows lie in the tables nearly in that order, and an insert must not pay for it.
CREATE INDEX ON windows USING brin (published) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX ON windows_history USING brin (published) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX ON indices USING brin (published) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX ON indices_history USING brin (published) WITH (pages_per_range = 32, autosummarize = on);
