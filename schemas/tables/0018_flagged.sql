-- Readings that are not good, for pages by `flag`: few, so writing hardly pays for it, and a day without any is passed over.
CREATE INDEX ON readings (series, start) WHERE flag > 2;
