"""A dataset of the catalog: what is declared, what is measured, where its data is."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from api.catalog.facts import Facts
from api.quality import score
from schemas.city import City
from schemas.datasets import Dataset, duration_s
from schemas.indices.hourly import INDICES

LICENCES = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "ODbL-1.0": "https://opendatacommons.org/licenses/odbl/1-0/",
    "ODC-By-1.0": "https://opendatacommons.org/licenses/by/1-0/",
    "PDDL-1.0": "https://opendatacommons.org/licenses/pddl/1-0/",
}
"""SPDX id -> the licence's own address; others go to SPDX's page, and an address is one already."""

_WEEKS = re.compile(r"(\d+)W(?:(\d+)D)?")

NOUNS = {"readings": "readings", "windows": "windows", "index": "air quality indices"}
OVERDUE_AFTER = 3
"""A dataset is overdue when nothing came for so many of its declared intervals (one may be late, two is a fault)."""


@dataclass(frozen=True)
class Distribution:
    """A way to the data: `url` answers as it stands; `media_type` of what it gives. `of` is what the rows are."""

    name: str
    title: str
    description: str
    url: str
    media_type: str
    format: str
    of: str = ""
    is_download: bool = True


@dataclass(frozen=True)
class Score:
    """How far a dataset can be trusted now, and the parts of it, each 0 to 1 (None: not known, and left out).

    `completeness`: share of the last 24 closed hours that readings cover. `timeliness`: the declared lateness over the
    measured one (99 %). `validity`: share of the newest readings that passed their checks. `score`: 100 times their
    product, as in the report of single series (`/v1/{dataset}/quality`).
    """

    score: float | None
    completeness: float | None
    timeliness: float | None
    validity: float | None


@dataclass(frozen=True)
class Entry:
    """A dataset in the catalog. `base_url` is the API's address, without a slash at the end."""

    dataset: Dataset
    facts: Facts
    city: City
    base_url: str

    @property
    def page_url(self) -> str:
        """Its page for people, which is also its identifier."""
        return f"{self.base_url}/catalog/{self.dataset.id}"

    @property
    def licence_url(self) -> str:
        """The licence's address."""
        licence = self.dataset.licence
        if licence.startswith(("http://", "https://")):
            return _address(licence)
        return LICENCES.get(licence) or f"https://spdx.org/licenses/{quote(licence, safe='')}.html"

    @property
    def hvd_category(self) -> str:
        """The address of the EU's category of high-value datasets; empty: it is none."""
        return _address(self.dataset.hvd_category)

    @property
    def languages(self) -> list[str]:
        """The city's languages without their regions, each once: `en`, not `en-GB`."""
        return list(dict.fromkeys(code.partition("-")[0] for code in self.city.info.languages))

    @property
    def resolution(self) -> str:
        """The declared interval as XML Schema's duration, which knows no weeks."""
        return _WEEKS.sub(lambda w: f"{7 * int(w[1]) + int(w[2] or 0)}D", self.dataset.update_frequency)

    @property
    def email(self) -> str:
        """The contact as `mailto:`."""
        contact = self.dataset.contact
        return contact if contact.startswith("mailto:") else f"mailto:{contact}"

    @property
    def description(self) -> str:
        """The description on one line, with the attribution."""
        return " ".join(self.dataset.description.split())

    @property
    def interval_s(self) -> int:
        """Declared time between updates."""
        return duration_s(self.dataset.update_frequency) or 0

    @property
    def has_indices(self) -> bool:
        """Whether an air quality index is made of what it measures."""
        made_of = {pollutant for name in self.dataset.indices for pollutant in INDICES[name].pollutants}
        return bool(made_of & self.dataset.metrics.keys())

    def quality(self) -> Score:
        """How far it can be trusted now."""
        facts, timeliness = self.facts, None
        if facts.lateness_p99_s is not None:
            timeliness = min(1.0, max(self.dataset.lateness_s, 1) / max(facts.lateness_p99_s, 1e-9))
        parts = (facts.coverage, timeliness, facts.validity)
        return Score(score(*parts), *parts)

    def due_ms(self) -> int | None:
        """When the next update is due (epoch ms), None where nothing came yet or nothing is declared."""
        if self.facts.modified_ms is None or not self.interval_s:
            return None
        return self.facts.modified_ms + self.interval_s * 1000

    def is_overdue(self, now_ms: int) -> bool:
        """Whether nothing came for `OVERDUE_AFTER` intervals and the lateness that is usual."""
        if not self.interval_s:
            return False
        if self.facts.modified_ms is None:
            return True
        usual_ms = int((self.facts.lateness_p99_s or 0) * 1000)
        return now_ms - self.facts.modified_ms > OVERDUE_AFTER * self.interval_s * 1000 + max(usual_ms, 0)

    def distributions(self) -> list[Distribution]:
        """Files first, then interfaces."""
        api = f"{self.base_url}/v1/{self.dataset.id}"
        title = self.dataset.title
        files = [
            Distribution(
                f"{of}-{form}", f"{title}: all {NOUNS[of]} ({name})", f"All {NOUNS[of]}, as {name}.",
                f"{api}/export?of={of}&format={form}", media_type, name, of,
            )
            for of in ("readings", "windows", *(("index",) if self.has_indices else ()))
            for form, name, media_type in (
                ("csv", "CSV", "text/csv"), ("parquet", "Parquet", "application/vnd.apache.parquet")
            )
        ]  # fmt: skip
        return [
            *files,
            Distribution(
                "latest", f"{title}: latest values (GeoJSON)", "The newest value of every series, with its place.",
                f"{api}/latest?format=geojson", "application/geo+json", "GeoJSON",
            ),
            Distribution(
                "api", f"{title}: pages (REST)", "Readings by filter and range, page by page.", f"{api}/readings",
                "application/json", "JSON", is_download=False,
            ),
            Distribution(
                "sensorthings", f"{title}: OGC SensorThings API 1.1", "The reading side of the SensorThings API.",
                f"{self.base_url}/sensorthings/v1.1", "application/json", "SensorThings", is_download=False,
            ),
        ]  # fmt: skip


def search(
    datasets: Iterable[Dataset], q: str = "", category: str = "", department: str = "", data_type: str = ""
) -> list[Dataset]:
    """The datasets that have every word of `q` somewhere, and the category, department and type, whatever the case."""
    words = q.casefold().split()
    wanted = {"category": category, "department": department, "data_type": data_type}
    return [
        dataset
        for dataset in datasets
        if all(not value or getattr(dataset, name).casefold() == value.casefold() for name, value in wanted.items())
        and all(word in _text(dataset) for word in words)
    ]


def _address(text: str) -> str:
    """An address as RDF takes it: what may not stand in one is quoted, what is quoted already stays."""
    return quote(text, safe=":/?#[]@!$&'()*+,;=%~")


def _text(dataset: Dataset) -> str:
    metrics = [f"{name} {metric.description}" for name, metric in dataset.metrics.items()]
    told = (dataset.id, dataset.title, dataset.description, dataset.attribution, dataset.publisher, dataset.category,
            dataset.department, dataset.data_type, *dataset.keywords, *metrics)  # fmt: skip
    return " ".join(told).casefold()
