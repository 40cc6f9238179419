"""One true-to-life row of each kind, for the OpenAPI document; a test reads them back through its schemas."""

from api.rows import (
    TESTS,
    DatasetRow,
    DeviceRow,
    GapRow,
    IndexMeta,
    IndexRow,
    LatestValueRow,
    ListMeta,
    Measured,
    MeasureRow,
    MeasuresMeta,
    MetricRow,
    PlaceRow,
    QualityRow,
    QualityScore,
    RangeMeta,
    ReadingRow,
    SensorRow,
    SeriesRow,
    WindowRow,
)

_URL = "http://127.0.0.1:8000/v1/traffic"
_LICENCE = ("CC-BY-4.0", "The city's traffic department")
_DEVICE = DeviceRow("Caltrans", "inductive loop", None, None, "Caltrans District 7")

READING = ReadingRow(
    "traffic", "716328", "speed", "km/h", "2026-11-16T08:05:00.000Z", "2026-11-16T08:10:00.000Z", 300, 72.4, 1, 0, 1,
    "live", "2026-11-16T08:10:01.250Z",
)  # fmt: skip

LATEST = LatestValueRow(
    "traffic", "716328", "speed", "km/h", "2026-11-16T08:05:00.000Z", "2026-11-16T08:10:00.000Z", 300, 72.4, 1, 0, 1,
    "live", "2026-11-16T08:10:01.250Z", 12.345, None, -118.2437, 34.0522, True, False,
)  # fmt: skip

WINDOW = WindowRow(
    "traffic", "716328", "speed", "km/h", "1h", "2026-11-16T08:00:00.000Z", "2026-11-16T09:00:00.000Z", 12, 12, 1.0,
    71.3, 64.0, 78.9, 4.2, 71.9, 78.1, 70.0, 72.4, True, 1, "2026-11-16T09:05:01.004Z",
)  # fmt: skip

INDEX = IndexRow(
    "air-quality", "roof-7", "nowcast", "2024", "pm25", "pm25", "pm25", "NowCast of 12 hours",
    "2026-11-16T08:00:00.000Z", "2026-11-16T09:00:00.000Z", 57, "Moderate", "#FFFF00", False, 12.4, "ug/m3", 12, 12,
    1.0, "You can be active outdoors as usual.",
    "If you react easily to polluted air, watch for cough or short breath and then take it easier.",
    "Children can play outdoors; let a child with asthma rest when it coughs.", 1, "live", "2026-11-16T09:02:01.004Z",
)  # fmt: skip

INDEX_META = IndexMeta(
    "2026-11-09T09:05:00.000Z", "2026-11-16T09:05:00.000Z",
    "UTC day of start, then series, then start; the order of series never changes", 1000, "CC-BY-4.0",
    "The city's environment department", "en", {"nowcast": "US Air Quality Index now, by the NowCast"},
    {"nowcast": "US EPA, 40 CFR part 58, appendix G; EPA-454/B-24-002; github.com/USEPA/O3-Nowcast"},
    {"pm25-corr": "purpleair-us@1 of pm25 humidity"},
)  # fmt: skip

MEASURE = MeasureRow(
    "traffic", "us101-n", "US-101 north, Vermont to Echo Park", "2026-11-16T08:00:00.000Z",
    "2026-11-16T08:15:00.000Z", 71.4, 812, 852.6, 11.9, 104.2, "learned", 1.46, 2.1, 105.9, 33.3, 22.0, "C", True, 2, 2,
    None, False,
)  # fmt: skip

MEASURES_META = MeasuresMeta(
    "2026-11-16T02:15:00.000Z", "2026-11-16T08:15:00.000Z", "start, then section", 1000, *_LICENCE,
    "Highway Capacity Manual, 7th edition; FHWA, Urban Congestion Report: documentation and definitions",
)  # fmt: skip

SENSOR = SensorRow(
    "traffic", "716328", "US-101 at Vermont", True, False, -118.2437, 34.0522, None, "freeway", 0, _DEVICE,
    [SeriesRow("speed", "km/h", "[mi_i]/h", 300, 300, {})],
    [PlaceRow(None, None, "US-101 at Vermont", -118.2437, 34.0522, None, "freeway", _DEVICE)],
)  # fmt: skip

DATASET = DatasetRow(
    "traffic", "Traffic on roads", "Speed, volume and occupancy from road detectors.", *_LICENCE, "City",
    "opendata@city.example", "Transport", "Transportation", "operational", "PT5M", ["traffic", "speed"],
    {"reviewed": "2026-11-01", "reviewer": "cityfeed", "rule": "Detectors count vehicles; they identify none."},
    [
        MetricRow(
            "speed", "Speed", "Mean speed of the vehicles in the period", "km/h", "km/h", 0, "mean", 300, 300,
            [0, 250], [0, 160], {"spike": {"suspect": 60.0, "fail": 120.0, "method": "differential"}}, {},
        )
    ],
    207, True, False, Measured("2026-11-16T08:10:00.000Z", "2026-11-16T08:10:01.250Z", 300.0, 0.8, 2.1),
    QualityScore(97.1, 0.985, 1.0, 0.986),
    {"self": _URL, "sensors": f"{_URL}/sensors", "latest": f"{_URL}/latest", "readings": f"{_URL}/readings",
     "windows": f"{_URL}/windows"},
)  # fmt: skip

LIST_META = ListMeta(1000, *_LICENCE)
LATEST_META = ListMeta(1000, *_LICENCE, "2026-11-16T08:10:12.345Z", TESTS)
HISTORY_META = RangeMeta(
    "2026-11-16T00:00:00.000Z", "2026-11-17T00:00:00.000Z",
    "UTC day of start, then series, then start; the order of series never changes", 1000, *_LICENCE, TESTS,
)  # fmt: skip

GAP = GapRow(
    "traffic", 3, "readings.raw", 2, "2026-11-16T03:10:00.000Z", "2026-11-16T05:40:12.000Z",
    "2026-11-23T05:40:13.000Z", "retention", 0, 1200, 1450, ["716328"],
)  # fmt: skip
GAPS_META = RangeMeta(
    "1970-01-01T00:00:00.000Z", "2026-11-23T06:00:00.000Z", "as they were noticed", 1000, *_LICENCE, {}
)

QUALITY = QualityRow(
    "traffic", "716328", "speed", "km/h", "2026-11-16T00:00:00.000Z", "2026-11-17T00:00:00.000Z", 286, 288, 0.993, 0.8,
    2.1, 0.993, 0.0, 0.007, 0.0, 0.0, {"spike-suspect": 2}, False, 24, 0, "good", 98.9, 0.993, 1.0, 0.9965, 1.0,
)  # fmt: skip
QUALITY_META = RangeMeta(
    "2026-11-16T00:00:00.000Z", "2026-11-17T00:00:00.000Z", "UTC day, then sensor, then metric", 1000, *_LICENCE, TESTS
)
