"""Pages of history, over real HTTP: the cursor from page to page, busy servers, refusals in the server's own words."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cityfeed_client import AsyncHistory, CityfeedClientError, History, HistoryError
from cityfeed_client.addresses import base_url, live_url

Answer = tuple[int, dict[str, str], Any]


class Served:
    """A server that gives one answer after the other, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.asked.append(self.path)
                served.tokens.append(self.headers.get("Authorization"))
                status, headers, body = served.answers.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def page(*values: float, next: str | None = None, cursor: str | None = None) -> Answer:
    return 200, {}, {"data": [{"value": v} for v in values], "next": next, "meta": {"cursor": cursor}}


def test_pages_follow_next_and_the_last_one_has_the_cursor(served: Served) -> None:
    served.answers = [page(1.0, 2.0, next=f"{served.url}/v1/x/readings?cursor=p2"), page(3.0, cursor="end")]
    since = datetime(2026, 1, 1, tzinfo=UTC)
    history = History(served.url, token="secret")
    found = list(history.pages("x", since=since, metric=["pm25", "no2"], bbox=[-118.3, 34, -118, 35], limit=2))
    assert [row["value"] for p in found for row in p.rows] == [1.0, 2.0, 3.0]
    assert (found[0].cursor, found[1].cursor, found[1].next) == (None, "end", None)
    assert served.asked == [
        "/v1/x/readings?from=2026-01-01T00%3A00%3A00%2B00%3A00&metric=pm25&metric=no2&bbox=-118.3%2C34%2C-118%2C35&limit=2",
        "/v1/x/readings?cursor=p2",
    ]
    assert served.tokens == ["Bearer secret"] * 2  # in a header, never in the URL


async def test_awaited_it_is_the_same(served: Served) -> None:
    served.answers = [page(1.0, next=f"{served.url}/v1/x/windows?cursor=p2"), page(2.0)]
    assert [row["value"] async for row in AsyncHistory(served.url).rows("x", "windows", width="1h")] == [1.0, 2.0]
    assert served.asked[0] == "/v1/x/windows?width=1h"


def test_a_busy_server_is_asked_again_and_not_for_ever(served: Served) -> None:
    busy: Answer = (503, {"Retry-After": "0"}, {"title": "Busy", "detail": "The database is away."})
    served.answers = [busy, busy, page(1.0)]
    assert [row["value"] for row in History(served.url).rows("x")] == [1.0]
    served.answers = [busy] * 10
    with pytest.raises(HistoryError, match="The database is away") as caught:
        list(History(served.url).rows("x"))
    assert (caught.value.status, len(served.answers)) == (503, 6)


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ((404, {}, {"title": "No such dataset", "detail": "There is no dataset 'x'."}), 404, "There is no dataset 'x'"),
        ((400, {}, b"<html>"), 400, "400"),
        ((200, {}, b"<html>"), 200, "is it a cityfeed server"),
        ((200, {}, {"rows": []}), 200, "is it a cityfeed server"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(served: Served, answer: Answer, status: int, said: str) -> None:
    served.answers = [answer]
    with pytest.raises(HistoryError, match=said) as caught:
        list(History(served.url).rows("x"))
    assert caught.value.status == status


def test_what_no_server_could_take_is_refused_here(served: Served) -> None:
    with pytest.raises(CityfeedClientError, match="needs a time zone"):
        list(History(served.url).rows("x", since=datetime(2026, 1, 1)))  # noqa: DTZ001
    with pytest.raises(CityfeedClientError, match="metric=None"):
        list(History(served.url).rows("x", metric=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "base", "live"),
    [
        ("http://a:8000", "http://a:8000", "ws://a:8000/v1/live"),
        ("https://a.b/city/", "https://a.b/city", "wss://a.b/city/v1/live"),
        ("wss://a/v1/live", "https://a", "wss://a/v1/live"),
    ],
)
def test_addresses(url: str, base: str, live: str) -> None:
    assert (base_url(url), live_url(url)) == (base, live)


@pytest.mark.parametrize("url", ["a:8000", "ftp://a", "http://", "http://a?token=x", "http://me:secret@a"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(CityfeedClientError):
        live_url(url)
