"""What the live feed counts, for Prometheus."""

from prometheus_client import Counter, Gauge

CONNECTIONS = Gauge("cityfeed_live_connections", "Live connections that are open")
STALLED = Counter("cityfeed_live_stalled", "Live connections cut off because they did not drain in time")
TAIL_RECORDS = Counter("cityfeed_tail_records", "Records of readings.clean taken")
TAIL_READINGS = Counter("cityfeed_tail_readings", "Readings taken")
TAIL_REPEATS = Counter("cityfeed_tail_repeats", "Records skipped because they came before")
TAIL_GAPS = Counter("cityfeed_tail_gaps", "Places where the log misses records: an alarm")
TAIL_BAD_RECORDS = Counter("cityfeed_tail_bad_records", "Records that are not of our format: an alarm")
