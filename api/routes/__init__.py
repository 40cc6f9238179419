"""One file a noun; `ROUTERS` is what the application serves, in this order."""

from fastapi import APIRouter

from api.routes import (
    archive,
    catalog,
    datasets,
    exports,
    gaps,
    history,
    indices,
    latest,
    measures,
    operations,
    quality,
    sensors,
)

ROUTERS: tuple[APIRouter, ...] = (
    operations.router,
    catalog.router,
    exports.router,
    archive.router,
    datasets.router,
    sensors.router,
    latest.router,
    history.router,
    gaps.router,
    indices.router,
    measures.router,
    quality.router,
)
