"""The page at `/`: a map of the sensors with their latest values, updated over the live feed.

Plain files without a build step, all served by us; the Content-Security-Policy lets nothing else in.
"""

import hashlib
import re
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Request, Response

from api.answers import has
from api.portal.shown import shown_units
from schemas.city import City
from schemas.quantities import QUANTITIES

router = APIRouter(include_in_schema=False)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}
BASE_MAP = "base.geojson"
"""In the city folder: lines and names of places to draw under the sensors (GeoJSON; see the sample city's)."""

MAX_BASE_MAP_BYTES = 4 * 1024 * 1024


@lru_cache(1)
def _files() -> dict[str, bytes]:
    folder = resources.files("api.portal") / "static"
    with resources.as_file(folder) as root:
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _file(request, "index.html")


@router.get("/portal/city.json")
async def city(request: Request) -> Response:
    """What the page needs to know of the city: name, time zone, bounding box, and the units to show.

    `shown[metric]` is {unit, factor, offset}: shown value = served value * factor + offset.
    """
    found: City = request.app.state.cityfeed.city
    body: dict[str, Any] = {
        "name": found.info.name,
        "time_zone": found.info.time_zone,
        "bbox": found.info.bbox,
        "languages": found.info.languages,
        "shown": shown_units(found.info.units),
        "digits": {quantity.metric: quantity.digits for quantity in QUANTITIES.values()},
    }
    return _answer(request, msgspec.json.encode(body), "application/json", "no-cache")


@router.get("/portal/base.geojson")
async def base_map(request: Request) -> Response:
    """The city folder's base map; 404 where it has none."""
    path = Path(request.app.state.cityfeed.settings.city_dir) / BASE_MAP
    if not path.is_file() or path.stat().st_size > MAX_BASE_MAP_BYTES:
        raise HTTPException(404, "this city has no base map")
    return _answer(request, path.read_bytes(), "application/geo+json", "no-cache")


@router.get("/portal/{name:path}")
async def file(request: Request, name: str) -> Response:
    """A file of the page."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    content = _files().get(name)
    if content is None:
        raise HTTPException(404, "there is no such file")
    # A vendored file's path has its version, so it never changes; ours are asked for again each time (304).
    cache = "public, max-age=31536000, immutable" if re.match(r"vendor/[^/]+-\d", name) else "no-cache"
    return _answer(request, content, MEDIA_TYPES.get(Path(name).suffix, MEDIA_TYPES[""]), cache)


def _answer(request: Request, content: bytes, media_type: str, cache: str) -> Response:
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = HEADERS | {"Cache-Control": cache, "ETag": tag}
    if has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
