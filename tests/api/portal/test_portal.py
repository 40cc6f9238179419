"""The page as files: what is served, with which headers, and that nothing of it comes from elsewhere."""

import hashlib
import json
import re
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest

from api.portal import CONTENT_SECURITY_POLICY
from api.portal.shown import shown_units
from tests.api.city import app_without_servers, client_of

STATIC = Path(str(resources.files("api.portal") / "static"))
OURS = [p for p in sorted(STATIC.rglob("*")) if p.is_file() and "vendor" not in p.parts]

# SHA-256 of the files of the npm package leaflet 1.9.4 (dist/ and LICENSE), unchanged.
VENDORED = {
    "vendor/leaflet-1.9.4/leaflet.js": "db49d009c841f5ca34a888c96511ae936fd9f5533e90d8b2c4d57596f4e5641a",
    "vendor/leaflet-1.9.4/leaflet.css": "a7837102824184820dfa198d1ebcd109ff6d0ff9a2672a074b9a1b4d147d04c6",
    "vendor/leaflet-1.9.4/LICENSE": "53e8dc25862014e4324741ca18fbe3611e11d42ef69f59f86ea8c5389647d4cb",
}


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/portal/app.js", "text/javascript; charset=utf-8"),
        ("/portal/portal.css", "text/css; charset=utf-8"),
        ("/portal/icon.svg", "image/svg+xml"),
        ("/portal/city.json", "application/json"),
        ("/portal/vendor/leaflet-1.9.4/leaflet.js", "text/javascript; charset=utf-8"),
        ("/portal/vendor/leaflet-1.9.4/LICENSE", "text/plain; charset=utf-8"),
    ],
)
async def test_files_and_headers(path: str, media_type: str, tmp_path: Path) -> None:
    async with client_of(app_without_servers(tmp_path)) as client:
        answer = await client.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"] == media_type
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304 and again.content == b""
        assert ("immutable" in answer.headers["cache-control"]) == ("vendor" in path)


@pytest.mark.parametrize("path", ["nothing.js", "../__init__.py", "%2e%2e/__init__.py", "/etc/passwd", "", "vendor"])
async def test_nothing_else_is_served(path: str, tmp_path: Path) -> None:
    async with client_of(app_without_servers(tmp_path)) as client:
        answer = await client.get(f"/portal/{path}")
        assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"


def test_the_policy_lets_nothing_in_but_our_own() -> None:
    sources = dict(directive.split(" ", 1) for directive in CONTENT_SECURITY_POLICY.split("; "))
    assert sources["default-src"] == sources["frame-ancestors"] == sources["base-uri"] == "'none'"
    assert sources["script-src"] == sources["style-src"] == sources["connect-src"] == "'self'"
    assert "unsafe" not in CONTENT_SECURITY_POLICY and "http" not in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.name)
def test_no_file_of_ours_names_another_host(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")  # a namespace, not an address
    text = re.sub(r"(http|ws)://(127\.0\.0\.1|host:port)", "", text)  # the client's examples
    assert not re.search(r"(https?|wss?)://\w|[\"'(]//\w|@import", text)
    assert not re.search(r"\son\w+=|<script>|style=", text) or path.suffix != ".html"  # the policy would refuse it


def test_every_file_that_the_page_names_is_there() -> None:
    for path in OURS:
        if path.suffix in (".html", ".css"):
            for name in re.findall(r"[\"(](/portal/[^\")]+)", path.read_text()):
                assert (STATIC / name.removeprefix("/portal/")).is_file(), (path.name, name)
        if path.suffix == ".js":
            for name in re.findall(r"from '\./([^']+)'", path.read_text()):
                assert (STATIC / name).is_file(), (path.name, name)


def test_the_client_is_the_one_that_everybody_gets() -> None:
    """A link, not a copy: what the page uses is what goes through the recorded conversations."""
    assert (STATIC / "cityfeed.js").is_symlink()
    assert (STATIC / "cityfeed.js").resolve() == STATIC.parents[2] / "clients" / "javascript" / "cityfeed.js"


def test_vendored_files_are_the_published_ones_with_their_licence() -> None:
    for name, sha256 in VENDORED.items():
        content = (STATIC / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256, name
    assert {str(p.relative_to(STATIC)) for p in STATIC.rglob("vendor/**/*") if p.is_file()} == set(VENDORED)


async def test_the_base_map_is_the_city_folders(tmp_path: Path) -> None:
    app = app_without_servers(tmp_path)
    async with client_of(app) as client:
        assert (await client.get("/portal/base.geojson")).status_code == 404
        (tmp_path / "city" / "base.geojson").write_text('{"type":"FeatureCollection","features":[]}')
        answer = await client.get("/portal/base.geojson")
        assert answer.json()["features"] == [] and answer.headers["content-type"] == "application/geo+json"


async def test_the_sample_citys_base_map_is_sound() -> None:
    base = json.loads((Path(__file__).parents[3] / "deploy" / "sample_city" / "base.geojson").read_text())
    assert len(base["features"]) > 15
    for feature in base["features"]:
        geometry = feature["geometry"]
        points = geometry["coordinates"] if geometry["type"] == "LineString" else [geometry["coordinates"]]
        assert feature["properties"]["name"]
        assert all(-118.6 <= lon <= -118.1 and 33.95 <= lat <= 34.3 for lon, lat in points)
        steps = [abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairwise(points)]
        assert max(steps, default=0) < 0.1  # neighbours, not a hairball


async def test_the_city_says_what_to_show(tmp_path: Path) -> None:
    async with client_of(app_without_servers(tmp_path)) as client:
        found = (await client.get("/portal/city.json")).json()
    assert found["name"] == "Test" and found["bbox"] == [-180, -90, 180, 90] and found["digits"]["pm25"] == 1


def test_units_to_show_are_factors() -> None:
    shown = shown_units({"speed": "mph", "temperature": "[degF]", "pm25": "parsec", "nothing": "m"})
    assert set(shown) == {"speed", "temperature"}
    assert float(shown["speed"]["factor"]) * 160.9344 == pytest.approx(100)
    fahrenheit = shown["temperature"]
    assert 100 * float(fahrenheit["factor"]) + float(fahrenheit["offset"]) == pytest.approx(212)
