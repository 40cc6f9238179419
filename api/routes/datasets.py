"""`GET /v1/datasets` and `GET /v1/{dataset}`: what there is, with licence and data dictionary."""

from fastapi import APIRouter, Request, Response

from api import formats, params, state
from api.answers import answer
from api.catalog.entry import Entry, search
from api.openapi import OPERATIONS, route
from api.rows import DatasetRow, ListMeta, Measured, MetricRow, QualityScore
from api.state import AppState
from api.times import rfc3339
from schemas.datasets import Dataset, Metric
from schemas.quality import set_rules
from schemas.quantities import QUANTITIES
from schemas.units import ALIASES, canonical_unit

router = APIRouter(tags=["datasets"])

MAX_AGE_S = 60


@router.get("/v1/datasets", **route("datasets"))
async def datasets(request: Request) -> Response:
    """All datasets, or those that a search finds."""
    here = state.of(request)
    asked = params.read(OPERATIONS["datasets"].parameters, request.query_params.multi_items())
    found = search(here.city.datasets.values(), asked.q, asked.category, asked.department, asked.data_type)
    found.sort(key=lambda dataset: dataset.id)
    return await _answer(request, "datasets", found)


@router.get("/v1/{dataset}", **route("dataset"))
async def dataset(request: Request, dataset: str) -> Response:
    """One dataset."""
    return await _answer(request, "dataset", [state.of(request).dataset(dataset)])


async def _answer(request: Request, noun: str, found: list[Dataset]) -> Response:
    here = state.of(request)
    operation = OPERATIONS[noun]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    facts = await here.measured.facts(here.pool, here.latest, here.registry, sorted(here.city.datasets), here.now_ms())
    base_url = here.base_url(request)
    rows = [dataset_row(here, Entry(one, facts[one.id], here.city, base_url)) for one in found]
    return answer(request, DatasetRow, rows, ListMeta(), format=shown, max_age_s=MAX_AGE_S)


def dataset_row(here: AppState, entry: Entry) -> DatasetRow:
    """What the API says of a dataset."""
    dataset, facts = entry.dataset, entry.facts
    url = f"{entry.base_url}/v1/{dataset.id}"
    nouns = ("sensors", "latest", "readings", "windows", "index", "quality", "gaps", "export")
    links = {noun: f"{url}/{noun}" for noun in nouns}
    links["archive"] = f"{entry.base_url}/v1/archive/{dataset.id}"
    links["catalog"] = entry.page_url
    links["dictionary"] = f"{entry.page_url}/datapackage.json"
    privacy = dataset.privacy
    return DatasetRow(
        dataset.id,
        dataset.title,
        dataset.description,
        dataset.licence,
        dataset.attribution,
        dataset.publisher,
        dataset.contact,
        dataset.category,
        dataset.department,
        dataset.data_type,
        dataset.update_frequency,
        list(dataset.keywords),
        {"reviewed": privacy.reviewed, "reviewer": privacy.reviewer, "rule": privacy.rule},
        [_metric(dataset, name, metric) for name, metric in dataset.metrics.items()],
        len(here.metrics_by_sensor(dataset.id)),
        dataset.automated,
        entry.is_overdue(here.now_ms()),
        Measured(
            _moment(facts.newest_ms),
            _moment(facts.modified_ms),
            facts.cadence_s,
            facts.lateness_p50_s,
            facts.lateness_p99_s,
        ),
        QualityScore(**vars(entry.quality())),
        {"self": url} | links,
    )


def _moment(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)


def _metric(dataset: Dataset, name: str, metric: Metric) -> MetricRow:
    quantity = QUANTITIES.get(name)
    unit = canonical_unit(name)
    return MetricRow(
        name,
        quantity.name if quantity else name,
        metric.description,
        unit or metric.unit or None,
        ALIASES.get(metric.unit, metric.unit) or unit,
        quantity.digits if quantity else None,
        quantity.period_rule if quantity else None,
        metric.period_s,
        metric.cadence_s,
        metric.fail and list(metric.fail),
        metric.suspect and list(metric.suspect),
        {name: rule for name, rule in set_rules(metric).items() if name not in ("fail", "suspect")},
        {sensor: set_rules(own[name]) for sensor, own in dataset.sensors.items() if name in own},
    )
