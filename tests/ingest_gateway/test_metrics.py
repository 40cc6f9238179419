"""The metrics page."""

import logging
import socket
import urllib.request

import pytest

from ingest_gateway import metrics

NAMES = (
    "cityfeed_gateway_messages_total",
    "cityfeed_gateway_readings_total",
    "cityfeed_gateway_rejects_total",
    "cityfeed_gateway_unacknowledged_messages",
    "cityfeed_gateway_kafka_errors_total",
    "cityfeed_gateway_flush_seconds_bucket",
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_the_page_has_all_names() -> None:
    metrics.REJECTS.labels("not_json").inc(0)
    port = free_port()
    close = metrics.serve(port, "127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            text = page.read().decode()
    finally:
        close()
    for name in NAMES:
        assert f"\n{name}" in text


def test_a_port_in_use_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, caplog.at_level(logging.WARNING):
        metrics.serve(server.getsockname()[1], "127.0.0.1")()
    assert "CITYFEED_GATEWAY_METRICS_PORT" in caplog.text


def test_port_0_is_none() -> None:
    metrics.serve(0, "127.0.0.1")()
