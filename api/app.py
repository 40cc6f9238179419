"""The application put together: state, routes, middleware, error handlers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import api.live.asyncapi
import api.live.events
import api.live.routes
import api.portal
import api.sensorthings.routes
from api import docs, openapi, problems
from api.archive.store import Store
from api.catalog.facts import CatalogFacts
from api.compression import Compressed
from api.cursor import Cursors, load_key
from api.deprecations import Announced
from api.head import Head
from api.limits import Limited
from api.live.catch_up import CatchUp
from api.live.hub import Hub
from api.live.keys import read_keys
from api.live.latest import Latest
from api.live.log import Log
from api.live.play import Player
from api.live.tail import Tail
from api.metrics import Measured
from api.queries.pool import exports_pool, make_pool
from api.routes import ROUTERS
from api.sensorthings.reader import Reader
from api.state import AppState, wall_clock_ms
from schemas import registry
from schemas.city import read_city
from schemas.settings import Settings

VERSION = "0.1.0"
EXPOSED = (
    "Link", "ETag", "Last-Modified", "Retry-After", "RateLimit", "RateLimit-Policy", "Deprecation", "Sunset",
    "Content-Disposition", "Content-Range", "Accept-Ranges", "Repr-Digest",
)  # fmt: skip


EVERY_ROUTER = (
    api.live.routes.router, api.live.events.router, api.live.asyncapi.router,  # /v1/sse is no dataset: before those
    *ROUTERS, api.sensorthings.routes.router, docs.router, api.portal.router,
)  # fmt: skip
"""In the order in which they are asked: the first route that has the path answers."""


def make_app(settings: Settings, now_ms: Callable[[], int] = wall_clock_ms) -> FastAPI:
    """The application; its lifespan opens the pool and starts the tail, and waits for neither.

    Raises `CityFolderError` and `SettingsError`.
    """
    city = read_city(Path(settings.city_dir))
    known = registry.fold(city.datasets, city.registrations)
    latest = Latest()
    cursors = Cursors(load_key(settings))
    hub = Hub(settings, known, latest, cursors)
    app = FastAPI(
        title="cityfeed", version=VERSION, docs_url=None, redoc_url=None, openapi_url=None,
        redirect_slashes=False, lifespan=_lifespan,  # a redirect to the Host header's name: problems has a better one
    )  # fmt: skip
    pool, log = make_pool(settings), Log(settings)
    catch_up = CatchUp(hub, pool, log)
    player = Player(hub, pool, log, catch_up)
    app.state.cityfeed = AppState(
        settings, city, known, pool, latest, hub, cursors, CatalogFacts(), player.play,
        exports_pool(settings), Store(settings), now_ms, read_keys(settings.live_keys),
    )  # fmt: skip
    app.state.catch_up = catch_up
    app.state.sensorthings = Reader(pool, city.datasets, cursors, settings.page_limit_max)
    app.state.tail = Tail(settings, known, latest, hub)
    problems.install(app)
    for router in EVERY_ROUTER:
        app.include_router(router)
    app.mount(docs.FILES_AT, docs.files)
    app.openapi = openapi.cached(app, settings)  # type: ignore[method-assign]
    # The last one added is the first one asked.
    app.add_middleware(Announced)
    app.add_middleware(Compressed)
    app.add_middleware(
        Limited, requests=settings.rate_limit_requests, window_s=settings.rate_limit_window_s, now_ms=now_ms,
        keys=app.state.cityfeed.keys,
    )  # fmt: skip
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["GET", "HEAD", "OPTIONS"], allow_headers=["*"],
        expose_headers=list(EXPOSED), max_age=86_400,
    )  # fmt: skip
    app.add_middleware(Head, router=app.router)
    app.add_middleware(Measured)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: AppState = app.state.cityfeed
    tail: Tail = app.state.tail
    await state.pool.open(wait=False)
    await state.exports.open(wait=False)
    try:
        await tail.start(state.pool)
        yield
    finally:
        await tail.stop()
        await app.state.catch_up.stop()
        await state.newest.settled()
        await state.stop_proving()
        await state.exports.close(timeout=2.0)
        await state.pool.close(timeout=2.0)
