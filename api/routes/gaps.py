"""`GET /v1/{dataset}/gaps`: what our logs lost after sensors had sent it."""

from collections import defaultdict

from fastapi import APIRouter, Request, Response

from api import formats, paging, params, state
from api.answers import answer
from api.openapi import OPERATIONS, route
from api.queries import gaps as queries
from api.queries.gaps import Gap
from api.rows import GapRow, RangeMeta
from api.state import AppState
from api.times import FIRST_MS, rfc3339
from schemas.datasets import Dataset
from schemas.topics import partition_of

router = APIRouter(tags=["history"])

KIND = "gaps"
ORDER = "as they were noticed"
MAX_AGE_S = 30


@router.get("/v1/{dataset}/gaps", **route("gaps"))
async def gaps(request: Request, dataset: str) -> Response:
    """What was lost here: which log, which sensors, and when it had been received. Empty is as it should be. With
    gaps=show, history names what is missing for this reason `lost`, and `none` what nobody sent.
    """
    here = state.of(request)
    found = here.dataset(dataset)
    operation = OPERATIONS["gaps"]
    asked = params.read(operation.parameters, request.query_params.multi_items())
    shown = formats.choose(asked.format, request.headers.get("accept", ""), operation.formats)
    now_ms, limit = here.now_ms(), paging.limit(asked, here.settings)
    query = paging.digest("gaps", dataset, asked)
    key = paging.key_of(here.cursors, asked, KIND, query)
    from_ms = FIRST_MS if asked.from_ms is None else asked.from_ms
    to_ms = now_ms if asked.to_ms is None else asked.to_ms
    paging.check_range(asked, from_ms, to_ms)
    async with here.pool.connection() as connection:
        known = await queries.between(connection, from_ms, to_ms)
    sensors = _sensors_by_part(here, found, asked.sensor)
    left = [gap for gap in known if gap.part in sensors and (key is None or gap.id > int(key[0]))]
    rows = [_row(dataset, gap, sensors[gap.part]) for gap in left[:limit]]
    next_url = None
    if len(left) > limit:
        cursor = paging.cursor_at(here.cursors, KIND, query, [str(rows[-1].id)])
        next_url = paging.next_link(
            f"{here.base_url(request)}{request.url.path}", request.query_params.multi_items(), cursor
        )
    meta = RangeMeta(rfc3339(from_ms), rfc3339(to_ms), ORDER, limit, found.licence, found.attribution, {})
    return answer(request, GapRow, rows, meta, format=shown, max_age_s=MAX_AGE_S, next_url=next_url, same=rows)


def _sensors_by_part(here: AppState, dataset: Dataset, wanted: tuple[str, ...]) -> dict[int, list[str]]:
    by_part: dict[int, list[str]] = defaultdict(list)
    for sensor in sorted(wanted or here.metrics_by_sensor(dataset.id)):
        by_part[partition_of(dataset.id, sensor, here.settings.kafka_partitions)].append(sensor)
    return by_part


def _row(dataset: str, gap: Gap, sensors: list[str]) -> GapRow:
    since = None if gap.since_ms is None else rfc3339(gap.since_ms)
    until = None if gap.until_ms is None else rfc3339(gap.until_ms)
    return GapRow(
        dataset, gap.id, gap.topic, gap.part, since, until, rfc3339(gap.noticed_ms), gap.reason, gap.log_epoch,
        gap.first_lost, gap.next_offset, sensors,
    )  # fmt: skip
