"""The catalog's addresses: documents for those who harvest catalogs, pages for people (api/catalog has the forms)."""

import hashlib
from collections.abc import Callable
from importlib import resources
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from api import params, state
from api.answers import has
from api.catalog import atom, dcat_ap, dcat_us, package, pages, schema_org
from api.catalog.entry import Entry, search
from api.live.messages import rfc3339
from api.state import AppState

router = APIRouter(tags=["catalog"], default_response_class=Response)

MAX_AGE_S = 60


def _as(media_type: str, description: str) -> dict[str, Any]:
    """The keyword arguments of a document's route: it takes no parameters, and answers this."""
    return {"dependencies": [Depends(params.takes_none)],
            "responses": {200: {"description": description, "content": {media_type: {}}},
                          "default": {"description": "A problem (RFC 9457)."}}}  # fmt: skip


async def entries_of(here: AppState, base_url: str) -> list[Entry]:
    """All datasets of the catalog, by id."""
    names = sorted(here.city.datasets)
    facts = await here.measured.facts(here.pool, here.latest, here.registry, names, here.now_ms())
    return [Entry(here.city.datasets[name], facts[name], here.city, base_url) for name in names]


@router.get("/data.json", **_as("application/json", "DCAT-US 1.1."))
async def data_json(request: Request) -> Response:
    """The catalog in DCAT-US 1.1 (Project Open Data, non-federal profile)."""
    return await _document(request, "application/json", lambda e, base, here: dcat_us.data_json(e, base))


@router.get("/dcat-us-3.json", **_as("application/json", "DCAT-US 3.0."))
async def dcat_us_3(request: Request) -> Response:
    """The catalog in DCAT-US 3.0."""
    return await _document(
        request, "application/json", lambda e, base, here: dcat_us.dcat_us_3(e, base, here.city.info.name)
    )


@router.get("/catalog.jsonld", **_as("application/ld+json", "DCAT-AP 3 as JSON-LD."))
async def catalog_jsonld(request: Request) -> Response:
    """The catalog in DCAT-AP 3, as JSON-LD."""
    return await _document(request, "application/ld+json", _dcat_ap)


@router.get("/catalog.ttl", **_as("text/turtle", "DCAT-AP 3 as Turtle."))
async def catalog_ttl(request: Request) -> Response:
    """The catalog in DCAT-AP 3, as Turtle."""
    here = state.of(request)
    base_url = here.base_url(request)
    document = _dcat_ap(await entries_of(here, base_url), base_url, here)
    # Of the document: rdflib takes its time, and never writes nodes without names in the same order.
    headers = _headers(msgspec.json.encode(document))
    if has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    body = await run_in_threadpool(dcat_ap.turtle, document)
    return Response(body.encode(), media_type="text/turtle; charset=utf-8", headers=headers)


@router.get("/catalog/changes.atom", **_as(atom.MEDIA_TYPE, "The feed of changes (RFC 4287)."))
async def changes(request: Request) -> Response:
    """Days that were closed, and days that late or corrected readings changed since."""
    here = state.of(request)
    base_url = here.base_url(request)
    entries = {entry.dataset.id: entry for entry in await entries_of(here, base_url)}
    days = await here.measured.days(here.pool, sorted(entries), here.now_ms())
    body = atom.feed(entries, days, base_url, here.city.info.name, here.now_ms())
    return _answer(request, body, f"{atom.MEDIA_TYPE}; charset=utf-8")


@router.get("/catalog/{dataset}/schema.org.jsonld", **_as("application/ld+json", "schema.org's Dataset."))
async def schema_org_dataset(request: Request, dataset: str) -> Response:
    """A dataset as search engines read it."""
    return await _of_one(request, dataset, "application/ld+json", schema_org.dataset)


@router.get("/catalog/{dataset}/croissant.json", **_as("application/ld+json", "Croissant 1.0."))
async def croissant(request: Request, dataset: str) -> Response:
    """A dataset as machine learning reads it (MLCommons Croissant)."""
    return await _of_one(request, dataset, "application/ld+json", schema_org.croissant)


@router.get("/catalog/{dataset}/datapackage.json", **_as("application/json", "A Frictionless data package."))
async def datapackage(request: Request, dataset: str) -> Response:
    """A dataset's files with the schema of their columns (Frictionless data package): the data dictionary."""
    return await _of_one(request, dataset, "application/json", package.datapackage)


@router.get("/v1/datasets/schedule", **_as("application/json", "The release schedule."))
async def schedule(request: Request) -> Response:
    """When each dataset is updated, when it was last, and which are overdue."""

    def made(entries: list[Entry], base_url: str, here: AppState) -> dict[str, Any]:
        return {"data": [_release(entry, here.now_ms()) for entry in entries], "next": None}

    return await _document(request, "application/json", made)


@router.get("/catalog", include_in_schema=False)
async def browse(
    request: Request, q: str = "", category: str = "", department: str = "", data_type: str = ""
) -> Response:
    """The catalog for people."""
    here = state.of(request)
    every = await entries_of(here, here.base_url(request))
    asked = {"q": q, "category": category, "department": department, "data_type": data_type}
    found = {one.id for one in search(here.city.datasets.values(), **asked)}
    shown = [entry for entry in every if entry.dataset.id in found]
    page = pages.browse(shown, every, asked, here.city.info.name, here.now_ms())
    return Response(page, media_type="text/html; charset=utf-8", headers=pages.HEADERS)


@router.get("/catalog/catalog.css", include_in_schema=False)
async def style(request: Request) -> Response:
    """The pages' style."""
    return _answer(request, (resources.files("api.catalog") / "catalog.css").read_bytes(), "text/css; charset=utf-8")


@router.get("/catalog/{dataset}", include_in_schema=False)
async def dataset_page(request: Request, dataset: str) -> Response:
    """A dataset for people."""
    here = state.of(request)
    page = pages.dataset(await _one(request, dataset), here.now_ms())
    return Response(page, media_type="text/html; charset=utf-8", headers=pages.HEADERS)


def _dcat_ap(entries: list[Entry], base_url: str, here: AppState) -> dict[str, Any]:
    city = here.city.info
    return dcat_ap.catalog(entries, base_url, city, entries[0].dataset.publisher if entries else city.name)


def _release(entry: Entry, now_ms: int) -> dict[str, Any]:
    due_ms, modified_ms = entry.due_ms(), entry.facts.modified_ms
    return {
        "dataset": entry.dataset.id,
        "title": entry.dataset.title,
        "update_frequency": entry.dataset.update_frequency,
        "measured_interval_s": entry.facts.cadence_s,
        "automated": entry.dataset.automated,
        "last_run": None if modified_ms is None else rfc3339(modified_ms),
        "next_due": None if due_ms is None else rfc3339(due_ms),
        "overdue": entry.is_overdue(now_ms),
        "quality_score": entry.quality().score,
    }


async def _one(request: Request, dataset: str) -> Entry:
    here = state.of(request)
    known = here.dataset(dataset)
    return next(e for e in await entries_of(here, here.base_url(request)) if e.dataset.id == known.id)


async def _of_one(
    request: Request, dataset: str, media_type: str, made: Callable[[Entry], dict[str, Any]]
) -> Response:  # fmt: skip
    return _answer(request, msgspec.json.encode(made(await _one(request, dataset))), media_type)


async def _document(
    request: Request, media_type: str, made: Callable[[list[Entry], str, AppState], dict[str, Any]]
) -> Response:
    here = state.of(request)
    base_url = here.base_url(request)
    return _answer(request, msgspec.json.encode(made(await entries_of(here, base_url), base_url, here)), media_type)


def _headers(body: bytes) -> dict[str, str]:
    tag = hashlib.blake2b(body, digest_size=9).hexdigest()
    return {"etag": f'W/"{tag}"', "cache-control": f"public, max-age={MAX_AGE_S}"}


def _answer(request: Request, body: bytes, media_type: str) -> Response:
    headers = _headers(body)
    if has(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
