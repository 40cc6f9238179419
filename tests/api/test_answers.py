"""Headers around an answer."""

import pytest
from starlette.requests import Request

from api.answers import answer, max_age_s
from api.examples import HISTORY_META, READING
from api.rows import ReadingRow


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw, "query_string": b""})


def test_headers_of_a_page() -> None:
    made = answer(
        request(), ReadingRow, [READING], HISTORY_META, format="csv", max_age_s=5, next_url="http://x/?cursor=1"
    )
    assert made.status_code == 200
    assert made.headers["content-type"] == "text/csv; charset=utf-8"
    assert made.headers["link"] == '<http://x/?cursor=1>; rel="next"'
    assert made.headers["cache-control"] == "public, max-age=5"
    assert made.headers["etag"].startswith('W/"')


@pytest.mark.parametrize("sent", ["{etag}", '"other", {etag}', "{strong}", "*"])
def test_who_has_it_gets_304(sent: str) -> None:
    made = answer(request(), ReadingRow, [READING], HISTORY_META, format="json", max_age_s=5)
    etag = made.headers["etag"]
    again = request(if_none_match=sent.format(etag=etag, strong=etag.removeprefix("W/")))
    same = answer(again, ReadingRow, [READING], HISTORY_META, format="json", max_age_s=5)
    assert (same.status_code, same.body, same.headers["etag"]) == (304, b"", etag)
    assert answer(again, ReadingRow, [], HISTORY_META, format="json", max_age_s=5).status_code == (
        304 if sent == "*" else 200
    )


def test_the_etag_is_of_what_is_the_same() -> None:
    def etag(rows: list[ReadingRow], format: str = "json", same: object = None) -> str:
        return answer(request(), ReadingRow, rows, HISTORY_META, format=format, max_age_s=1, same=same).headers["etag"]

    assert etag([READING]) == etag([READING]) != etag([])
    assert etag([READING], "csv") != etag([READING], "ndjson")
    assert etag([READING], same=[1]) == etag([], same=[1]) != etag([], same=[2])
    assert etag([], "csv", same=[1]) != etag([], "json", same=[1])


def test_closed_history_is_kept_longer() -> None:
    day_ms = 86_400_000
    assert max_age_s(0, 2 * day_ms) == 3600
    assert max_age_s(2 * day_ms, 2 * day_ms) == 5
