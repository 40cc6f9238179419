-- When what a log lost had been received: [since, until), by the log's own time; null: not known. Then history can tell
-- what nobody sent from what was lost here.
ALTER TABLE log_gaps ADD COLUMN since timestamptz;   -- log time of the last record stored before
ALTER TABLE log_gaps ADD COLUMN until timestamptz;   -- log time of the first one after; null: there was none yet
