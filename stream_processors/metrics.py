"""What the processors count, for Prometheus; each named and documented once."""

from prometheus_client import Counter, Gauge, Histogram

CLEAN_RECORDS = Counter("cityfeed_clean_records_total", "Raw records cleaned, ticks among them")
CLEAN_READINGS = Counter("cityfeed_clean_readings_total", "Readings written to readings.clean")
CLEAN_REPEATS = Counter("cityfeed_clean_repeats_total", "Readings that came before and were dropped")
CLEAN_REJECTS = Counter("cityfeed_clean_rejects_total", "Readings and records sent to the dead letters", ["reason"])
CLEAN_LAG = Gauge("cityfeed_clean_lag_records", "Raw records not yet cleaned")

WINDOWS_READINGS = Counter("cityfeed_windows_readings_total", "Readings stored")
WINDOWS_REPEATS = Counter("cityfeed_windows_repeats_total", "Readings that were stored already and were skipped")
WINDOWS_CONFLICTS = Counter(
    "cityfeed_windows_conflicts_total", "Readings of a stored rev with another value; the first stays"
)
WINDOWS_REVISED = Counter("cityfeed_windows_replaced_total", "Readings that replaced an older rev")
READINGS_AMENDED = Counter("cityfeed_readings_amended_total", "Stored readings whose flags changed among neighbours")
WINDOWS_CLOSED = Counter("cityfeed_windows_closed_total", "Windows stored when they closed", ["width"])
WINDOWS_REPAIRED = Counter("cityfeed_windows_repaired_total", "Windows made from stored readings", ["width"])
WINDOWS_DIRTY = Gauge("cityfeed_windows_dirty_marks", "Closed windows that wait to be made again")
WINDOWS_LAG = Gauge("cityfeed_windows_lag_records", "Clean records not yet stored")
WINDOWS_LOG_TIME = Gauge(
    "cityfeed_windows_log_time_seconds",
    "Newest stored tick of the partition that is farthest back (Unix time)",
)
WINDOWS_WATERMARK = Gauge(
    "cityfeed_windows_watermark_seconds", "End of the newest stored reading (Unix time); its age is time() less this"
)
WINDOWS_REFUSED = Counter(
    "cityfeed_windows_refused_writes_total", "Writes of former owners that the fence refused: their backends were ended"
)
WINDOWS_SKIPPED = Counter("cityfeed_windows_skipped_records_total", "Clean records that were repeats and were skipped")
LOG_GAPS = Counter(
    "cityfeed_log_gaps_total", "Times that a log had lost records or was another one than before", ["topic", "reason"]
)
WINDOWS_FLUSH_S = Histogram(
    "cityfeed_windows_flush_seconds", "Time of one transaction", buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10)
)
INDICES_STORED = Counter("cityfeed_index_rows_total", "Index rows stored or revised", ["index"])
PUBLISHED = Counter("cityfeed_published_records_total", "Records of published rows that Kafka acknowledged", ["topic"])
OUTBOX = Gauge("cityfeed_outbox_rows", "Published rows that Kafka does not have yet, at most: numbers have holes")
DATABASE_UP = Gauge("cityfeed_windows_database_up", "1 when the last try to reach the database went well")
