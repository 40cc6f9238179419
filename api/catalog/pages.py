"""The catalog for people: /catalog to browse and search, /catalog/{dataset} with all that is known of one.

Plain HTML without scripts; schema.org's JSON-LD stands in the page for search engines.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup, escape

from api.catalog import schema_org
from api.catalog.columns import columns
from api.catalog.entry import Entry
from schemas.quantities import QUANTITIES

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "public, max-age=60",
}


def _code(text: str) -> Markup:
    """What stands between backticks as code, as Markdown has it."""
    parts = str(escape(text)).split("`")
    return Markup("".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)))


@lru_cache(1)
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("api.catalog"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., str]] = {
        "utc": _utc,
        "duration": _duration,
        "percent": lambda share: f"{share:.1%}",
        "code": _code,
    }
    environment.filters |= filters
    return environment


def browse(found: Sequence[Entry], every: Sequence[Entry], asked: dict[str, str], city: str, now_ms: int) -> str:
    """The list; `asked` are the filters as they were given, `every` all entries, for the choices."""
    choices = {
        name: sorted({getattr(entry.dataset, name) for entry in every})
        for name in ("category", "department", "data_type")
    }
    return _templates().get_template("browse.html").render(
        entries=found, total=len(every), asked=asked, choices=choices, city=city, now_ms=now_ms
    )  # fmt: skip


def dataset(entry: Entry, now_ms: int) -> str:
    """A dataset's page."""
    metrics = [
        {"id": name, "name": QUANTITIES[name].name, "unit": QUANTITIES[name].unit, "of": metric}
        for name, metric in entry.dataset.metrics.items()
    ]
    return _templates().get_template("dataset.html").render(
        entry=entry, dataset=entry.dataset, facts=entry.facts, metrics=metrics, now_ms=now_ms,
        overdue=entry.is_overdue(now_ms), tables={one.of: columns(one.of) for one in entry.distributions() if one.of},
        quality=entry.quality(),
        json_ld=_json_ld(schema_org.dataset(entry)),
    )  # fmt: skip


def _json_ld(document: dict[str, Any]) -> Markup:
    # Nothing in it may end the script element.
    text = msgspec.json.encode(document).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _utc(ms: int | None) -> str:
    return "nothing yet" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "not known yet"
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"
