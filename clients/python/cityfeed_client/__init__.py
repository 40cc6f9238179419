"""A client of cityfeed's live feed and history.

    from cityfeed_client import Feed

    with Feed("http://127.0.0.1:8000") as feed:
        feed.subscribe("readings", mode="all", dataset=["air-quality"], metric=["pm25"])
        for event in feed:
            for row in event.rows:
                print(row["start"], row["sensor"], row["value"])

`AsyncFeed` is the same for asyncio. A lost connection is made again, and every subscription goes on where it was;
when the server cannot fill the gap, a `Reset` says so before the fresh snapshot. `History` reads what was, in pages.

Pure are `session` (the protocol), `reconnect` (how long to wait), `messages` and `events`; `feed`, `aio` and
`history` do I/O.
"""

from cityfeed_client.aio import AsyncFeed
from cityfeed_client.errors import CityfeedClientError, HistoryError, NotALiveFeed, Stopped, SubscriptionRefused
from cityfeed_client.events import (
    Event,
    Gap,
    Heartbeat,
    Problem,
    ReplayEnd,
    Reset,
    Row,
    Rows,
    Snapshot,
    Source,
    State,
)
from cityfeed_client.feed import Feed
from cityfeed_client.history import AsyncHistory, History, Page
from cityfeed_client.reconnect import wait_s
from cityfeed_client.session import Subscription

__all__ = [
    "AsyncFeed",
    "AsyncHistory",
    "CityfeedClientError",
    "Event",
    "Feed",
    "Gap",
    "Heartbeat",
    "History",
    "HistoryError",
    "NotALiveFeed",
    "Page",
    "Problem",
    "ReplayEnd",
    "Reset",
    "Row",
    "Rows",
    "Snapshot",
    "Source",
    "State",
    "Stopped",
    "Subscription",
    "SubscriptionRefused",
    "wait_s",
]
