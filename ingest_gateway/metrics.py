"""The gateway's Prometheus metrics, on `CITYFEED_GATEWAY_METRICS_PORT`.

The page is there as soon as, and not before, the gateway works: that is how others see that it is ready.
"""

import logging
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram, start_http_server

log = logging.getLogger(__name__)

MESSAGES = Counter("cityfeed_gateway_messages", "MQTT messages taken from the broker.")
"""cityfeed_gateway_messages_total"""

READINGS = Counter("cityfeed_gateway_readings", "Readings decoded from them.")
"""cityfeed_gateway_readings_total"""

REJECTS = Counter("cityfeed_gateway_rejects", "What could not become a reading, by reason.", ["reason"])
"""cityfeed_gateway_rejects_total; the reasons are `ingest_gateway.decoders.REASONS`"""

UNACKNOWLEDGED = Gauge(
    "cityfeed_gateway_unacknowledged_messages", "Messages taken from the broker that Kafka has not acknowledged yet."
)
"""cityfeed_gateway_unacknowledged_messages"""

KAFKA_ERRORS = Counter("cityfeed_gateway_kafka_errors", "Times that the Kafka producer failed and was made anew.")
"""cityfeed_gateway_kafka_errors_total"""

FLUSH_SECONDS = Histogram(
    "cityfeed_gateway_flush_seconds",
    "From a flush of the batches to Kafka's acknowledgement of all of it.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60),
)
"""cityfeed_gateway_flush_seconds"""


def serve(port: int, host: str) -> Callable[[], None]:
    """Serve the page; the function that ends it. A port in use is a warning: readings matter more."""
    if not port:
        return lambda: None
    try:
        server, thread = start_http_server(port, addr=host)
    except OSError as e:
        log.warning("no metrics: port %d can't be used (%s); CITYFEED_GATEWAY_METRICS_PORT names another", port, e)
        return lambda: None

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join(1.0)

    return close
