"""What every request may use, made once at start."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from api.archive.store import Store
from api.catalog.facts import CatalogFacts
from api.cursor import Cursors
from api.live.groups import Member
from api.live.hub import Hub
from api.live.keys import Keys
from api.live.latest import Latest
from api.live.protocol import Play
from api.newest import Newest
from api.params import nearest
from api.queries.pool import Pool
from schemas.city import City
from schemas.datasets import Dataset
from schemas.errors import RequestError
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.units import canonical_unit

log = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Now, in epoch ms UTC: the API's only look at the clock for answers; below it time is an argument."""
    return time.time_ns() // 1_000_000


@dataclass
class AppState:
    """Lives at `app.state.cityfeed`."""

    settings: Settings
    city: City
    registry: Registry
    pool: Pool
    latest: Latest
    hub: Hub
    cursors: Cursors
    measured: CatalogFacts
    play: Callable[[Member, Play], None]
    exports: Pool
    archive: Store
    now_ms: Callable[[], int] = wall_clock_ms
    keys: Keys = field(default_factory=lambda: Keys({}))
    newest: Newest = field(default_factory=Newest)
    _proving: set[asyncio.Task[None]] = field(default_factory=set)

    def dataset(self, name: str) -> Dataset:
        """A dataset by its id. Raises `RequestError` 404, which names those there are."""
        if (found := self.city.datasets.get(name)) is not None:
            return found
        meant = nearest(name, self.city.datasets)
        raise RequestError(
            404, "unknown-dataset", "No such dataset",
            f"There is no dataset {name!r}." + (f" Did you mean {meant!r}?" if meant else ""),
            "dataset", "Datasets: " + ", ".join(sorted(self.city.datasets)),
        )  # fmt: skip

    def prove(self, task: Coroutine[Any, Any, None]) -> None:
        """Let an export be made once more in the background."""
        started = asyncio.ensure_future(task)
        self._proving.add(started)
        started.add_done_callback(self._proven)

    def _proven(self, task: asyncio.Task[None]) -> None:
        self._proving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("an export could not be proven: %s", error)

    async def stop_proving(self) -> None:
        """End what goes on in the background."""
        for task in list(self._proving):
            task.cancel()
        await asyncio.gather(*self._proving, return_exceptions=True)

    def metrics_by_sensor(self, dataset: str) -> dict[str, set[str]]:
        """Every sensor of a dataset, registered or heard of, with the metrics registered or heard."""
        found: dict[str, set[str]] = {}
        for sensor in self.registry.sensors(dataset):
            found[sensor] = {m for r in self.registry.registrations(dataset, sensor) for m in r.series}
        for heard_dataset, sensor, metric in self.latest.keys:
            if heard_dataset == dataset:
                found.setdefault(sensor, set()).add(metric)
        return found

    def unit(self, dataset: str, sensor: str, metric: str) -> str | None:
        """The unit that a series is published in: the metric's, else what the source says, else None."""
        return canonical_unit(metric) or self.registry.rule(dataset, sensor, metric).unit or None

    def base_url(self, request: Request) -> str:
        """The API's address as the world sees it, without a slash at the end."""
        return (self.settings.api_public_url or str(request.base_url)).rstrip("/")


def of(request: Request) -> AppState:
    """The state of the application that got this request."""
    state: AppState = request.app.state.cityfeed
    return state
