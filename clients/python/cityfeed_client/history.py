"""History in pages, by the cursor in each page's `next`; the last page's cursor can be given to the live feed."""

import asyncio
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from cityfeed_client.addresses import base_url
from cityfeed_client.errors import CityfeedClientError, HistoryError
from cityfeed_client.events import Row
from cityfeed_client.wanted import time_of

TIMEOUT_S = 60.0
TRIES = 4
LONGEST_WAIT_S = 30.0
_PASSING = (0, 429, 502, 503, 504)

Kind = Literal["readings", "windows", "index"]
Value = str | int | float | datetime | Sequence[str | int | float]


@dataclass(frozen=True)
class Page:
    """One page. `cursor` is where the live feed goes on (on the last page, where the server tells it)."""

    rows: list[Row]
    next: str | None
    cursor: str | None
    meta: dict[str, Any]


class History:
    """What the server stored. Raises `HistoryError` with the server's own words.

    A server that is busy or away for a moment is asked again, `TRIES` times, as its `Retry-After` says.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._base = base_url(url)
        self._token = token
        self._timeout_s = timeout_s

    def pages(self, dataset: str, kind: Kind = "readings", **query: Value) -> Iterator[Page]:
        """Every page of a dataset's readings, windows or index rows.

        The query is the API's (`/docs`): metric=["pm25"], width="1h", limit=10_000, bbox=[...]; `since` and `until`
        are its `from` and `to`, as times with a zone.
        """
        url: str | None = f"{self._base}/v1/{quote(dataset, safe='')}/{kind}{_query(query)}"
        while url is not None:
            page = self._page(url)
            yield page
            url = page.next

    def rows(self, dataset: str, kind: Kind = "readings", **query: Value) -> Iterator[Row]:
        """The rows of all pages."""
        for page in self.pages(dataset, kind, **query):
            yield from page.rows

    def _page(self, url: str) -> Page:
        for tries_left in reversed(range(TRIES)):
            try:
                found = self._get(url)
            except _Passing as e:
                if not tries_left:
                    raise HistoryError(e.status, str(e)) from None
                time.sleep(e.wait_s)
                continue
            meta = found.get("meta") or {}
            return Page(found["data"], found.get("next"), meta.get("cursor"), meta)
        raise AssertionError("unreachable")

    def _get(self, url: str) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=self._timeout_s
            ) as answer:
                found = msgspec.json.decode(answer.read())
        except urllib.error.HTTPError as e:
            with e:
                said = _problem(e)
            if e.code in _PASSING:
                raise _Passing(e.code, said, e.headers.get("Retry-After")) from None
            raise HistoryError(e.code, said) from None
        except (urllib.error.URLError, OSError, http.client.HTTPException) as e:
            raise _Passing(0, f"{self._base}: {getattr(e, 'reason', e)}") from None
        except msgspec.DecodeError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("data"), list):
            raise HistoryError(200, f"{url} answers, but not with a page of rows: is it a cityfeed server?")
        return found


class AsyncHistory:
    """`History`, awaited: each page is fetched in a thread."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._history = History(url, token=token, timeout_s=timeout_s)

    async def pages(self, dataset: str, kind: Kind = "readings", **query: Value) -> AsyncIterator[Page]:
        """As `History.pages`."""
        found = self._history.pages(dataset, kind, **query)
        while (page := await asyncio.to_thread(next, found, None)) is not None:
            yield page

    async def rows(self, dataset: str, kind: Kind = "readings", **query: Value) -> AsyncIterator[Row]:
        """As `History.rows`."""
        async for page in self.pages(dataset, kind, **query):
            for row in page.rows:
                yield row


class _Passing(Exception):
    """A refusal that may be over soon."""

    def __init__(self, status: int, said: str, retry_after: str | None = None) -> None:
        super().__init__(said)
        self.status = status
        try:
            self.wait_s = min(LONGEST_WAIT_S, float(retry_after or 1.0))
        except ValueError:  # a date
            self.wait_s = 1.0


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        found = json.loads(error.read())
        return str(found.get("detail") or found["title"])
    except (ValueError, KeyError, AttributeError, OSError, http.client.HTTPException):
        return f"{error.url}: {error.code} {error.reason}"


def _query(query: dict[str, Value]) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        asked = {"since": "from", "until": "to"}.get(name, name)
        if isinstance(value, datetime):
            pairs.append((asked, time_of(name, value)))
        elif isinstance(value, str | int | float):
            pairs.append((asked, str(value)))
        elif name == "bbox":
            pairs.append((asked, ",".join(map(str, value))))
        elif isinstance(value, Sequence):
            pairs += [(asked, str(item)) for item in value]
        else:
            raise CityfeedClientError(f"{name}={value!r}: it takes text, a number, a time, or a list of these")
    return "?" + urlencode(pairs) if pairs else ""
