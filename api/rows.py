"""The rows of answers: one Struct a kind, whose fields are the names in JSON, NDJSON, CSV and GeoJSON.

The OpenAPI document is made from these classes, so a field's description and example stand beside it. A value that
is not there is null (in CSV: empty).
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas.flags import Test, fired_tests

TESTS = {str(int(test)): fired_tests(test)[0] for test in Test}
"""The bits of `tests`, as `meta.tests` has them."""

Moment = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds.",
        examples=["2026-11-16T08:05:00.000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
DatasetId = Annotated[str, Meta(description="The dataset.", examples=["traffic"])]
SensorId = Annotated[str, Meta(description="The sensor's id, unique in its dataset.", examples=["716328"])]
MetricName = Annotated[str, Meta(description="What was measured.", examples=["speed"])]
Unit = Annotated[
    str | None,
    Meta(description="The value's unit, a UCUM code; null where nobody said one.", examples=["km/h"]),
]
Lon = Annotated[float | None, Meta(description="Degrees WGS 84; null without a place.", examples=[-118.2437])]
Lat = Annotated[float | None, Meta(description="Degrees WGS 84; null without a place.", examples=[34.0522])]
FlagNumber = Annotated[
    int,
    Meta(description="QARTOD: 1 good, 2 not evaluated, 3 suspect, 4 fail, 9 missing.", examples=[1]),
]
TestBits = Annotated[
    int,
    Meta(description="Bit mask of the tests that fired; `meta.tests` names the bits.", examples=[0]),
]
Rev = Annotated[int, Meta(description="Revision, from 1; a higher one replaced the ones before.", examples=[1])]
OriginName = Annotated[
    str,
    Meta(
        description="`live` from a sensor, `import` from a file of history, `none` a gap that was asked for.",
        examples=["live"],
        extra_json_schema={"enum": ["live", "import", "none"]},
    ),
]
Gap = Annotated[
    str | None,
    Meta(
        description="With gaps=show: `none`, nobody sent it; `lost`, it was sent when a log lost what it had received "
        "(/v1/{dataset}/gaps); null: a row of its own.",
        extra_json_schema={"enum": ["none", "lost", None]},
    ),
]
PeriodS = Annotated[int, Meta(description="Averaging period in seconds; 0 is an instant.", examples=[300])]


class ReadingRow(msgspec.Struct, frozen=True, gc=False):
    """One value of one sensor, for the period [start, end)."""

    dataset: DatasetId
    sensor: SensorId
    metric: MetricName
    unit: Unit
    start: Moment
    end: Moment
    period_s: PeriodS
    value: Annotated[float | None, Meta(description="In the unit; null: missing.", examples=[72.4])]
    flag: FlagNumber
    tests: TestBits
    rev: Rev
    origin: OriginName
    received: Annotated[Moment | None, Meta(description="When the gateway got it; null: a gap.")]


class LatestValueRow(ReadingRow, frozen=True, gc=False):
    """The newest good, suspect or not evaluated reading of a series, by measurement time."""

    age_s: Annotated[float, Meta(description="Seconds from the reading's end to this answer.", examples=[12.345])]
    newer_failed: Annotated[
        Moment | None, Meta(description="Start of a newer reading that failed or is missing, if there is one.")
    ]
    lon: Lon
    lat: Lat
    registered: Annotated[bool, Meta(description="False: not in the registry, so without a place.")]
    demo: Annotated[bool, Meta(description="True: the place or the sensor is for demonstration.")]


class WindowRow(msgspec.Struct, frozen=True, gc=False):
    """The readings of one sensor that start in [start, end), aggregated."""

    dataset: DatasetId
    sensor: SensorId
    metric: MetricName
    unit: Unit
    width: Annotated[str, Meta(description="1m, 5m, 15m, 1h or 1d.", examples=["1h"])]
    start: Moment
    end: Moment
    n: Annotated[int, Meta(description="Readings counted: those with flags 1, 2, 3.", examples=[12])]
    n_expected: Annotated[
        int | None, Meta(description="Readings expected; null: the cadence is not known.", examples=[12])
    ]
    coverage: Annotated[float | None, Meta(description="Covered time over window time, 0 to 1.", examples=[1.0])]
    mean: Annotated[
        float | None,
        Meta(description="Mean; of speed weighted by volume where that is known.", examples=[71.3]),
    ]
    min: Annotated[float | None, Meta(description="Least value.", examples=[64.0])]
    max: Annotated[float | None, Meta(description="Greatest value.", examples=[78.9])]
    std: Annotated[float | None, Meta(description="Standard deviation of the population.", examples=[4.2])]
    p50: Annotated[float | None, Meta(description="Median.", examples=[71.9])]
    p95: Annotated[float | None, Meta(description="95th percentile.", examples=[78.1])]
    first: Annotated[float | None, Meta(description="First value.", examples=[70.0])]
    last: Annotated[float | None, Meta(description="Last value.", examples=[72.4])]
    complete: Annotated[bool, Meta(description="Whether the window is closed.", examples=[True])]
    rev: Rev
    published: Annotated[Moment | None, Meta(description="When this revision was stored; null: a gap.")]


class AggregateRow(msgspec.Struct, frozen=True, gc=False):
    """Readings that start in [start, end), aggregated when they were asked for: over local days, weeks and months, or
    over several sensors.
    """

    dataset: DatasetId
    sensor: Annotated[str | None, Meta(description="Null: of several sensors.", examples=["716328"])]
    area: Annotated[str | None, Meta(description="Geohash of the cell; null: not asked for, or no place.")]
    metric: MetricName
    unit: Unit
    width: Annotated[str, Meta(examples=["1d"])]
    tz: Annotated[str, Meta(description="The time zone of its days.", examples=["America/Los_Angeles"])]
    start: Moment
    end: Moment
    sensors: Annotated[int, Meta(description="Sensors that have readings in it.", examples=[1])]
    n: Annotated[int, Meta(description="Readings counted: those with flags 1, 2, 3.", examples=[288])]
    n_expected: Annotated[int | None, Meta(description="Readings expected of these sensors; null: not known.")]
    coverage: Annotated[float | None, Meta(description="Covered time over the sensors' time, 0 to 1.", examples=[1.0])]
    mean: Annotated[
        float | None,
        Meta(description="Mean; of speed weighted by volume where that is known.", examples=[71.3]),
    ]
    min: Annotated[float | None, Meta(description="Least value.")]
    max: Annotated[float | None, Meta(description="Greatest value.")]
    std: Annotated[float | None, Meta(description="Standard deviation of the population.")]
    p50: Annotated[float | None, Meta(description="Median.")]
    p95: Annotated[float | None, Meta(description="95th percentile.")]
    first: Annotated[float | None, Meta(description="First value; null: of several sensors.")]
    last: Annotated[float | None, Meta(description="Last value; null: of several sensors.")]
    complete: Annotated[bool, Meta(description="Whether it is over and three quarters of it are covered.")]


class IndexRow(msgspec.Struct, frozen=True, gc=False):
    """An air quality index of one sensor for [start, end), an hour or a day."""

    dataset: DatasetId
    sensor: SensorId
    index: Annotated[str, Meta(description="us-aqi, nowcast, eaqi, daqi or who.", examples=["nowcast"])]
    table: Annotated[str, Meta(description="The authority's table, by its year.", examples=["2024"])]
    metric: Annotated[str, Meta(description="The pollutant, or `overall`: the worst one.", examples=["pm25"])]
    driver: Annotated[
        str | None, Meta(description="The pollutant whose value it is; null: no data.", examples=["pm25"])
    ]
    source: Annotated[
        str | None, Meta(description="The metric that fed it, such as pm25-corr; null: no data.", examples=["pm25"])
    ]
    averaging: Annotated[str, Meta(description="How it is averaged.", examples=["NowCast of 12 hours"])]
    start: Moment
    end: Moment
    value: Annotated[float | None, Meta(description="The index; null: no data.", examples=[57])]
    category: Annotated[str, Meta(description="The authority's name, or `no data`.", examples=["Moderate"])]
    colour: Annotated[str | None, Meta(description="The category's colour; null: no data.", examples=["#FFFF00"])]
    beyond: Annotated[bool, Meta(description="Above the official table.", examples=[False])]
    concentration: Annotated[
        float | None,
        Meta(description="What the value is of; null: too few hours, or `overall`.", examples=[12.4]),
    ]
    unit: Unit
    hours: Annotated[int, Meta(description="Hours (of ozone's days: 8-hour means) that were there.", examples=[12])]
    expected: Annotated[int, Meta(description="Of how many.", examples=[12])]
    coverage: Annotated[float, Meta(description="hours / expected.", examples=[1.0])]
    adults: Annotated[str, Meta(description="Advice for adults, in the language asked for.")]
    sensitive: Annotated[str, Meta(description="Advice for people with asthma, heart or lung disease, the old.")]
    children: Annotated[str, Meta(description="Advice for children.")]
    rev: Rev
    origin: OriginName
    published: Annotated[Moment, Meta(description="When this revision was stored.")]


class LatestIndexRow(IndexRow, frozen=True, gc=False):
    """The newest row of a sensor's index."""

    age_s: Annotated[float, Meta(description="Seconds from the row's end to this answer.", examples=[312.5])]
    stale: Annotated[
        bool, Meta(description="Too old to say what the air is like now: 3 hours, 2 days for days.", examples=[False])
    ]


class IndexMeta(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What a page of indices covers."""

    from_: Annotated[Moment | None, Meta(description="Start of the range, inclusive; null with `latest`.")]
    to: Annotated[Moment, Meta(description="End of the range, exclusive; with `latest` the moment of the answer.")]
    order: str
    limit: int
    licence: str
    attribution: str
    lang: str
    indices: Annotated[dict[str, str], Meta(description="The indices of this answer.")]
    sources: Annotated[dict[str, str], Meta(description="Whose rule each is, and where it is written.")]
    corrections: Annotated[
        dict[str, str], Meta(description="By which correction and version a `source` was made, and of what.")
    ]
    cursor: Annotated[
        str, Meta(description="The state shown: the live feed goes on from here without a gap; empty with `latest`.")
    ] = ""


class MeasureRow(msgspec.Struct, frozen=True, gc=False):
    """Traffic of a road section in [start, end)."""

    dataset: DatasetId
    section: Annotated[str, Meta(description="Its id in sections.toml, else the sensor's.", examples=["us101-n"])]
    name: Annotated[str, Meta(examples=["US-101 north, Vermont to Echo Park"])]
    start: Annotated[Moment | None, Meta(description="Null: never heard of (only with `latest`).")]
    end: Moment | None
    speed: Annotated[
        float | None, Meta(description="km/h: vehicle distance over vehicle time; null: stale.", examples=[71.4])
    ]
    volume: Annotated[float | None, Meta(description="Vehicles counted, of all parts.", examples=[812])]
    distance_vkm: Annotated[float | None, Meta(description="Vehicle kilometres.", examples=[852.6])]
    time_vh: Annotated[float | None, Meta(description="Vehicle hours.", examples=[11.9])]
    free_flow: Annotated[float | None, Meta(description="Free-flow speed, km/h.", examples=[104.2])]
    free_flow_source: Annotated[
        str | None, Meta(description="`learned` from off-peak hours, or `limit`.", examples=["learned"])
    ]
    travel_time_index: Annotated[float | None, Meta(description="free_flow / speed.", examples=[1.46])]
    length_km: Annotated[float | None, Meta(description="Null for a sensor that is in no section.", examples=[2.1])]
    travel_time_s: Annotated[float | None, Meta(description="Through the section, in seconds.", examples=[105.9])]
    delay_s: Annotated[float | None, Meta(description="What a vehicle loses, never below 0.", examples=[33.3])]
    density: Annotated[
        float | None, Meta(description="Vehicles per mile and lane; null without volumes.", examples=[22.0])
    ]
    level_of_service: Annotated[str | None, Meta(description="A to F, by density (HCM).", examples=["C"])]
    congested: Annotated[
        bool | None,
        Meta(description="From below 0.85 of free flow until 0.95 of it; null: not known.", examples=[True]),
    ]
    sensors: Annotated[int, Meta(description="Sensors that had a speed.", examples=[2])]
    sensors_expected: Annotated[int, Meta(description="Of how many.", examples=[2])]
    age_s: Annotated[float | None, Meta(description="With `latest`: seconds since the window's end.", examples=[42.0])]
    stale: Annotated[
        bool,
        Meta(
            description="With `latest`: nothing was heard of it for 15 minutes, or for two periods of its sensors.",
            examples=[False],
        ),
    ]


class MeasuresMeta(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What an answer of measures covers."""

    from_: Annotated[Moment, Meta(description="Start of the range, inclusive.")]
    to: Annotated[Moment, Meta(description="End of the range, exclusive.")]
    order: str
    limit: int
    licence: str
    attribution: str
    sources: Annotated[str, Meta(description="Where the measures are defined.")]


class GapRow(msgspec.Struct, frozen=True, gc=False):
    """What one of our logs lost, or may have lost, after sensors had sent it."""

    dataset: DatasetId
    id: Annotated[int, Meta(description="Number of the gap.", examples=[3])]
    topic: Annotated[str, Meta(description="The log.", examples=["readings.raw"])]
    partition: Annotated[int, Meta(description="Its partition.", examples=[2])]
    since: Annotated[Moment | None, Meta(description="What was received from here on is missing; null: not known.")]
    until: Annotated[Moment | None, Meta(description="Up to here, exclusive; null: up to when it was noticed.")]
    noticed: Moment
    reason: Annotated[
        str,
        Meta(
            description="`retention`: deleted before it was read; `hole`: records are missing inside; `shorter`, "
            "`unlike`: the log was made anew; `restored`: the database is older than what it had published.",
            extra_json_schema={"enum": ["retention", "hole", "shorter", "unlike", "restored"]},
            examples=["retention"],
        ),
    ]
    log_epoch: Annotated[int, Meta(description="Of the log from here on.", examples=[0])]
    first_lost: Annotated[int, Meta(description="The first offset that is missing.", examples=[1200])]
    next_offset: Annotated[
        int | None, Meta(description="Where reading went on; not above `first_lost`: in a new log.", examples=[1450])
    ]
    sensors: Annotated[list[str], Meta(description="The dataset's sensors in this partition.", examples=[["716328"]])]


Share = Annotated[float | None, Meta(description="Share of the readings; null: there are none.")]
Part = Annotated[float | None, Meta(description="Part of the score, 0 to 1; null: not known, and left out of it.")]


class QualityRow(msgspec.Struct, frozen=True, gc=False):
    """How far the readings of a series that start on a UTC day can be trusted."""

    dataset: DatasetId
    sensor: SensorId
    metric: MetricName
    unit: Unit
    start: Moment
    end: Moment
    n: Annotated[int, Meta(description="Readings stored, whatever their flag.", examples=[288])]
    n_expected: Annotated[int | None, Meta(description="Readings due by now; null: the cadence is not known.")]
    completeness: Annotated[float | None, Meta(description="n over n_expected, 0 to 1.", examples=[1.0])]
    lateness_p50_s: Annotated[
        float | None, Meta(description="Seconds from a reading's end to its receipt, median; null: nothing came live.")
    ]
    lateness_p99_s: Annotated[float | None, Meta(description="The same, 99th percentile.", examples=[2.1])]
    good: Share
    not_evaluated: Share
    suspect: Share
    fail: Share
    missing: Share
    tests: Annotated[
        dict[str, int], Meta(description="Readings that each test found, by its name.", examples=[{"spike-fail": 2}])
    ]
    constant: Annotated[bool, Meta(description="All counted values of the day, 24 or more, are the same.")]
    neighbour_hours: Annotated[
        int | None, Meta(description="Hours compared with the neighbours' median; null: this metric is not compared.")
    ]
    neighbour_hours_suspect: Annotated[int | None, Meta(description="Those of them far from it.", examples=[0])]
    detector: Annotated[
        str | None,
        Meta(
            description="Health of a road detector's day, from its volume and occupancy; null: it is none.",
            examples=["good"],
        ),
    ]
    score: Annotated[
        float | None, Meta(description="0 to 100: the product of the parts that are known.", examples=[98.6])
    ]
    score_completeness: Part
    score_timeliness: Annotated[
        float | None, Meta(description="1 where lateness_p99_s is within the dataset's lateness, else their ratio.")
    ]
    score_validity: Annotated[
        float | None, Meta(description="Share of good and not evaluated readings, and half of the suspect ones.")
    ]
    score_agreement: Annotated[float | None, Meta(description="Share of the compared hours that agree.")]


class DeviceRow(msgspec.Struct, frozen=True):
    """What measures there."""

    make: str | None
    model: str | None
    serial: str | None
    firmware: str | None
    owner: str | None


class PlaceRow(msgspec.Struct, frozen=True):
    """Where a sensor was in [valid_from, valid_to), and with which device; null: always, until further notice."""

    valid_from: Moment | None
    valid_to: Moment | None
    name: str | None
    lon: Lon
    lat: Lat
    height_m: float | None
    surroundings: Annotated[str | None, Meta(examples=["freeway"])]
    device: DeviceRow


class SeriesRow(msgspec.Struct, frozen=True):
    """A metric of a sensor. `source_unit` is what the sensor sends, `unit` what is published."""

    metric: MetricName
    unit: Unit
    source_unit: Annotated[str | None, Meta(examples=["[mi_i]/h"])]
    period_s: PeriodS
    cadence_s: Annotated[int, Meta(description="Seconds between readings; 0: not known.", examples=[300])]
    quality: Annotated[
        dict[str, Any],
        Meta(description="The quality rules' parameters that are other ones for this sensor, by rule.", examples=[{}]),
    ]


class SensorRow(msgspec.Struct, frozen=True):
    """A sensor as it is now: registered, or known from its readings only."""

    dataset: DatasetId
    sensor: SensorId
    name: Annotated[str | None, Meta(examples=["US-101 at Vermont"])]
    registered: bool
    demo: bool
    lon: Lon
    lat: Lat
    height_m: float | None
    surroundings: Annotated[str | None, Meta(examples=["freeway"])]
    public_precision_m: Annotated[
        int, Meta(description="The place is published on a grid of so many metres; 0: exactly.", examples=[0])
    ]
    device: DeviceRow | None
    series: list[SeriesRow]
    places: Annotated[list[PlaceRow], Meta(description="All places, oldest first.")]


class MetricRow(msgspec.Struct, frozen=True):
    """The data dictionary's entry of a metric; spans are in `unit`, ends included."""

    metric: MetricName
    name: Annotated[str, Meta(examples=["Speed"])]
    description: str
    unit: Unit
    source_unit: str | None
    digits: Annotated[int | None, Meta(description="Digits to show after the point.", examples=[0])]
    period_rule: Annotated[str | None, Meta(description="mean, sum or instant.", examples=["mean"])]
    period_s: PeriodS
    cadence_s: int
    fail: Annotated[list[float] | None, Meta(description="Outside [low, high] a reading fails.")]
    suspect: Annotated[list[float] | None, Meta(description="Outside [low, high] it is suspect.")]
    quality: Annotated[
        dict[str, Any],
        Meta(
            description="The other quality rules' parameters, by rule; docs/quality.md.",
            examples=[{"spike": {"suspect": 60.0, "fail": 120.0, "method": "differential"}}],
        ),
    ]
    sensors: Annotated[
        dict[str, Any], Meta(description="By sensor, the parameters that are other ones for it.", examples=[{}])
    ]


class Measured(msgspec.Struct, frozen=True):
    """What is measured of a dataset, beside what is declared; null where nothing is known yet."""

    newest: Annotated[Moment | None, Meta(description="End of the newest reading.")]
    last_run: Annotated[Moment | None, Meta(description="When something was received last.")]
    interval_s: Annotated[float | None, Meta(description="Median time between readings, last 24 closed hours.")]
    lateness_p50_s: Annotated[float | None, Meta(description="From a reading's end to its receipt, median.")]
    lateness_p99_s: Annotated[float | None, Meta(description="The same, 99 %.")]


class QualityScore(msgspec.Struct, frozen=True):
    """How far a dataset can be trusted now, with the parts of the score, 0 to 1; null: not known, left out of it."""

    score: Annotated[float | None, Meta(description="0 to 100: the product of the parts.", examples=[97.1])]
    completeness: Annotated[float | None, Meta(description="Share of the last 24 closed hours that is covered.")]
    timeliness: Annotated[float | None, Meta(description="Declared over measured lateness (99 %), at most 1.")]
    validity: Annotated[float | None, Meta(description="Share of the newest readings that passed their checks.")]


class DatasetRow(msgspec.Struct, frozen=True):
    """A dataset."""

    id: DatasetId
    title: Annotated[str, Meta(examples=["Traffic on roads"])]
    description: str
    licence: Annotated[str, Meta(examples=["CC-BY-4.0"])]
    attribution: str
    publisher: str
    contact: str
    category: str
    department: str
    data_type: str
    update_frequency: Annotated[str, Meta(description="Declared; an ISO 8601 duration.", examples=["PT5M"])]
    keywords: list[str]
    privacy: Annotated[dict[str, str], Meta(description="The privacy review: when, by whom, the rule.")]
    metrics: list[MetricRow]
    sensors: Annotated[int, Meta(description="Sensors registered or heard of.", examples=[207])]
    automated: Annotated[bool, Meta(description="No person is needed for an update.", examples=[True])]
    overdue: Annotated[bool, Meta(description="Nothing came for three declared intervals.", examples=[False])]
    measured: Measured
    quality: QualityScore
    links: Annotated[dict[str, str], Meta(description="Where its data is.")]


class ExportStatus(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """An export: what it is of, how far it has come and, once it is complete, its proof."""

    id: Annotated[str, Meta(examples=["5f0c1f6fd9c94c1a8f7d6e3b2a190817"])]
    dataset: DatasetId
    of: Annotated[str, Meta(examples=["readings"])]
    format: Annotated[str, Meta(examples=["csv"])]
    query: Annotated[list[str], Meta(description="The parameters that were asked, name=value.")]
    from_: Annotated[Moment, Meta(description="Start of the range, inclusive.")]
    to: Annotated[Moment, Meta(description="End of the range, exclusive.")]
    state: Annotated[
        str,
        Meta(
            description="`running`; `broken`: it stopped before its end and can go on; `proving`: a resumed one came "
            "to its end and is made once more for its digest; `complete`.",
            extra_json_schema={"enum": ["running", "broken", "proving", "complete"]},
        ),
    ]
    taken: Annotated[Moment, Meta(description="The moment whose state it shows.")]
    updated: Moment
    rows: Annotated[int, Meta(description="Rows so far; of a complete one all.")]
    bytes: Annotated[int | None, Meta(description="Of the whole file, uncompressed; null until it is complete.")]
    sha256: Annotated[str | None, Meta(description="Of the whole file, uncompressed; null until it is complete.")]
    positions: Annotated[
        dict[str, dict[str, int]],
        Meta(description="How far each partition was stored: `readings` by position, `windows` by out_seq."),
    ]
    cursor: Annotated[str, Meta(description="The live feed goes on from here without a gap.")]
    licence: str
    attribution: str
    links: Annotated[dict[str, str], Meta(description="`data` gives the same file again.")]


class ArchiveFile(msgspec.Struct, frozen=True):
    """A file of the archive."""

    url: str
    media_type: str
    bytes: int
    sha256: str


class ArchiveDay(msgspec.Struct, frozen=True):
    """A revision of a UTC day. `newest`: the plain names (`20.parquet`) are its files."""

    day: Annotated[str, Meta(examples=["2026-11-20"], extra_json_schema={"format": "date"})]
    revision: Annotated[int, Meta(description="From 1; late data made a higher one.")]
    newest: bool
    rows: int
    made: Moment
    files: dict[str, ArchiveFile]


class ArchiveIndex(msgspec.Struct, frozen=True):
    """What the archive has of a dataset, oldest day first."""

    dataset: DatasetId
    days: list[ArchiveDay]


class RangeMeta(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What a page of history covers."""

    from_: Annotated[Moment, Meta(description="Start of the range, inclusive.")]
    to: Annotated[Moment, Meta(description="End of the range, exclusive.")]
    order: str
    limit: int
    licence: str
    attribution: str
    tests: Annotated[dict[str, str], Meta(description="Bits of `tests` and the test that sets each.")]
    cursor: Annotated[str, Meta(description="The state shown: the live feed goes on from here without a gap.")] = ""


class ListMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """About a list that is not history."""

    limit: int | None = None
    licence: str | None = None
    attribution: str | None = None
    time: Annotated[Moment | None, Meta(description="The moment that `age_s` counts to.")] = None
    tests: Annotated[dict[str, str] | None, Meta(description="Bits of `tests` and the test that sets each.")] = None
