"""The eight entities of SensorThings 1.1 and how each is read: `ENTITIES` is the one table of them.

SQL here has the entity's alias as `{e}`, that of a neighbour as `{n}`, and four parameters: `now`, `base` (address of
the service), `about` (JSON of what the database does not know; `api.sensorthings.about` makes it) and `mark` (before
what the API fills in; `beginnings` says why). `{recent}` is the beginning of the newest days stored: what is younger is
looked for in the last chunks alone. Tables and
triggers: schemas/tables/0006_sensorthings.sql.
"""

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "number", "time", "interval", "json", "geometry"]


def bind(sql: str, e: str, n: str = "") -> str:
    """SQL of this file for an entity's alias and its neighbour's."""
    return sql.replace("{e}", e).replace("{n}", n)


UTC = """'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'"""


@dataclass(frozen=True)
class Property:
    """`sql` is the value to compare; of an interval its start, and `end` its end. `json` is SQL of the value's JSON as
    a text (null: `null`) where that is quicker than what its kind says. `fields` are parts of a JSON value that have
    better SQL than a look into it. `geometry` says which stored geometries a geometry is of: `places` by the entity's
    id, or `areas` by its thing.
    """

    kind: Kind
    sql: str
    json: str = ""
    end: str = ""
    fields: dict[str, tuple[str, Kind]] = field(default_factory=dict)
    geometry: Literal["", "places", "areas"] = ""

    @property
    def shown(self) -> str:
        """SQL of the value's JSON as a text. `json_build_object` takes three times as long as a concatenation."""
        if self.json:
            json = self.json
        elif self.kind == "interval":
            end = f"CASE WHEN {self.end} > {self.sql} THEN '/' || to_char({self.end}, {UTC}) ELSE '' END"
            json = f"'\"' || to_char({self.sql}, {UTC}) || {end} || '\"'"
        elif self.kind == "time":
            json = f"'\"' || to_char({self.sql}, {UTC}) || '\"'"
        elif self.kind == "text":
            json = f"to_json({self.sql})::text"
        else:
            json = f"({self.sql})::text"
        return f"coalesce({json}, 'null')"


@dataclass(frozen=True)
class Navigation:
    """The way to the entities of `target` that belong to one: `join` relates `{e}` and its neighbour `{n}`, and
    fixes columns of the order of the latter.
    """

    target: str
    many: bool
    join: str
    fixes: tuple[str, ...] = ()
    series: str = ""


@dataclass(frozen=True)
class Entity:
    """A type of entity. `id` is its id in SQL, a number or a text; `order` the order of a collection, unique. `beside`
    is joined, as `{e}_beside`, where a value that is shown needs it.
    """

    plural: str
    singular: str
    relation: str
    properties: dict[str, Property]
    navigations: dict[str, Navigation]
    id: str = "{e}.id"
    id_is_text: bool = False
    order: tuple[str, ...] = ("{e}.id",)
    beside: str = ""


def _text(sql: str) -> Property:
    return Property("text", sql)


_GEOJSON = "'application/geo+json'::text"
_POINT = "jsonb_build_object('type', 'Point', 'coordinates', jsonb_build_array({e}.lon, {e}.lat))"
_NOWHERE = "jsonb_build_object('type', 'Feature', 'geometry', NULL, 'properties', '{}'::jsonb)"
_DATASET = "(%(about)s::jsonb -> 'datasets' -> {e}.dataset)"
_METRIC = "(%(about)s::jsonb -> 'metrics' -> {e}.metric)"
_RULE = f"({_DATASET} #> ARRAY['metrics', {{e}}.metric])"
_SINCE = "CASE WHEN isfinite({e}.since) THEN {e}.since ELSE 'epoch' END"  # always: from the epoch on
_PLACES = "(SELECT * FROM sta_places WHERE lon IS NOT NULL)"
_VALID = "{p}.since <= %(now)s::timestamptz AND %(now)s::timestamptz < {p}.until"
_VALIDITY = (
    "jsonb_build_object('valid_from', CASE WHEN isfinite({e}.since) THEN to_char({e}.since, " + UTC + ") END,"
    " 'valid_to', CASE WHEN isfinite({e}.until) THEN to_char({e}.until, " + UTC + ") END,"
    " 'public_precision_m', {e}.precision_m)"
)
_END = "({e}.start + {e}.period_s * interval '1 second')"
_TESTS = (
    "CASE WHEN {e}.tests = 0 THEN '[]' ELSE (SELECT json_agg(t.value ORDER BY t.key::bigint)"
    " FROM jsonb_each_text(%(about)s::jsonb -> 'tests') AS t WHERE {e}.tests & t.key::bigint <> 0) END"
)

THINGS = Entity(
    "Things", "Thing", "sta_things",
    {
        "name": _text("{e}.name"),
        "description": _text(
            f"('Sensor ' || {{e}}.sensor || ' of ' || coalesce({_DATASET} ->> 'title', {{e}}.dataset))"
        ),
        "properties": Property(
            "json",
            "jsonb_build_object('dataset', {e}.dataset, 'sensor', {e}.sensor, 'registered', {e}.registered,"
            " 'demo', coalesce(({e}.body ->> 'demo')::boolean, false),"
            " 'surroundings', {e}.body #> '{site,surroundings}', 'height_m', {e}.body #> '{site,height_m}',"
            " 'device', {e}.body -> 'device')",
            fields={"dataset": ("{e}.dataset", "text"), "sensor": ("{e}.sensor", "text")},
        ),
    },
    {
        "Locations": Navigation("Locations", True, "{n}.thing = {e}.id AND " + _VALID.replace("{p}", "{n}")),
        "HistoricalLocations": Navigation("HistoricalLocations", True, "{n}.thing = {e}.id"),
        "Datastreams": Navigation("Datastreams", True, "{n}.thing = {e}.id"),
    },
)  # fmt: skip

LOCATIONS = Entity(
    "Locations", "Location", _PLACES,
    {
        "name": _text("{e}.name"),
        "description": _text("('Place of ' || {e}.name)"),
        "encodingType": _text(_GEOJSON),
        "location": Property("geometry", _POINT, geometry="places"),
        "properties": Property("json", _VALIDITY),
    },
    {
        "Things": Navigation("Things", True, "{n}.id = {e}.thing AND " + _VALID.replace("{p}", "{e}")),
        "HistoricalLocations": Navigation("HistoricalLocations", True, "{n}.id = {e}.id"),
    },
)  # fmt: skip

HISTORICAL_LOCATIONS = Entity(
    "HistoricalLocations", "HistoricalLocation", _PLACES,
    {"time": Property("time", f"({_SINCE})")},
    {
        "Thing": Navigation("Things", False, "{n}.id = {e}.thing"),
        "Locations": Navigation("Locations", True, "{n}.id = {e}.id"),
    },
)  # fmt: skip

_END_OF_LAST = """SELECT CASE WHEN {e}.series IS NOT NULL THEN coalesce(
    (SELECT r.start + r.period_s * interval '1 second' FROM readings AS r
     WHERE r.series = {e}.series AND r.start >= {recent} ORDER BY r.start DESC LIMIT 1),
    (SELECT r.start + r.period_s * interval '1 second' FROM sta_readings_before({e}.series, {recent}, 1) AS r)
    ) END AS ends OFFSET 0"""  # the OFFSET keeps it from being looked for wherever it is named
_SPAN = (
    "CASE WHEN {e}_beside.ends IS NOT NULL"
    " THEN '\"' || %(mark)s::text || ':KIND:' || {e}.series || ':/' || to_char({e}_beside.ends, "
    + UTC
    + ") || '\"' END"
)
_FIRST = (
    "(SELECT r.start FROM readings AS r WHERE r.series = {e}.series ORDER BY r.start LIMIT 1)",
    "(SELECT r.start + r.period_s * interval '1 second' FROM readings AS r WHERE r.series = {e}.series"
    " ORDER BY r.start DESC LIMIT 1)",
)

DATASTREAMS = Entity(
    "Datastreams", "Datastream", "sta_datastreams",
    {
        "name": _text(f"({{e}}.name || ': ' || coalesce({_METRIC} ->> 'name', {{e}}.metric))"),
        "description": _text(
            f"(coalesce(nullif({_RULE} ->> 'description', ''),"
            f" {_METRIC} ->> 'description', {{e}}.metric) || ', ' || coalesce({_DATASET} ->> 'title', {{e}}.dataset))"
        ),
        "observationType": _text(
            "'http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement'::text"
        ),
        "unitOfMeasurement": Property(
            "json",
            f"coalesce({_METRIC} -> 'unit', jsonb_build_object('name', {{e}}.rule -> 'unit', 'symbol',"
            " {e}.rule -> 'unit', 'definition', NULL))",
        ),
        "observedArea": Property("geometry", "{e}.area", geometry="areas"),
        "phenomenonTime": Property(
            "interval", _FIRST[0], end=_FIRST[1], json=_SPAN.replace("KIND", "start")
        ),
        "resultTime": Property(
            "interval",
            "(SELECT r.start + r.period_s * interval '1 second' FROM readings AS r WHERE r.series = {e}.series"
            " ORDER BY r.start LIMIT 1)",
            end=_FIRST[1],
            json=_SPAN.replace("KIND", "end"),
        ),
        "properties": Property(
            "json",
            "jsonb_build_object('dataset', {e}.dataset, 'sensor', {e}.sensor, 'metric', {e}.metric,"
            f" 'period_s', coalesce({{e}}.rule -> 'period_s', {_RULE} -> 'period_s'),"
            f" 'cadence_s', coalesce({{e}}.rule -> 'cadence_s', {_RULE} -> 'cadence_s'),"
            f" 'licence', {_DATASET} -> 'licence', 'attribution', {_DATASET} -> 'attribution')",
            fields={
                "dataset": ("{e}.dataset", "text"), "sensor": ("{e}.sensor", "text"), "metric": ("{e}.metric", "text"),
            },
        ),
    },
    {
        "Thing": Navigation("Things", False, "{n}.id = {e}.thing"),
        "Sensor": Navigation("Sensors", False, "{n}.id = {e}.model"),
        "ObservedProperty": Navigation("ObservedProperties", False, "{n}.metric = {e}.metric"),
        "Observations": Navigation("Observations", True, "{n}.series = {e}.series", ("{e}.series",), "{e}.series"),
    },
    beside=_END_OF_LAST,
)  # fmt: skip

SENSORS = Entity(
    "Sensors", "Sensor",
    "(SELECT * FROM sta_sensors AS s WHERE EXISTS (SELECT FROM sta_datastreams AS d WHERE d.model = s.id))",
    {
        "name": _text(
            "coalesce(nullif(concat_ws(' ', nullif({e}.make, ''), nullif({e}.model, '')), ''),"
            f" 'Unknown model of ' || coalesce({_DATASET} ->> 'title', {{e}}.dataset))"
        ),
        "description": _text(
            f"('A model of sensor that measures for ' || coalesce({_DATASET} ->> 'title', {{e}}.dataset))"
        ),
        "encodingType": _text("'text/html'::text"),
        "metadata": _text("((%(about)s::jsonb ->> 'site') || '/catalog/' || {e}.dataset)"),
        "properties": Property(
            "json", "jsonb_build_object('dataset', {e}.dataset, 'make', {e}.make, 'model', {e}.model)"
        ),
    },
    {"Datastreams": Navigation("Datastreams", True, "{n}.model = {e}.id")},
)  # fmt: skip

OBSERVED_PROPERTIES = Entity(
    "ObservedProperties", "ObservedProperty", "sta_metrics",
    {
        "name": _text(f"coalesce({_METRIC} ->> 'name', {{e}}.metric)"),
        "definition": _text(
            f"coalesce({_METRIC} ->> 'definition', (%(about)s::jsonb ->> 'site') || '/definitions/' || {{e}}.metric)"
        ),
        "description": _text(f"coalesce({_METRIC} ->> 'description', {{e}}.metric)"),
        "properties": Property("json", "jsonb_build_object('metric', {e}.metric)"),
    },
    {"Datastreams": Navigation("Datastreams", True, "{n}.metric = {e}.metric")},
)  # fmt: skip

OBSERVATIONS = Entity(
    "Observations", "Observation",
    # There is one for every series. An outer join keeps the order of the index on readings; where the Datastream is
    # asked for, the planner makes an inner one of it.
    "(SELECT r.*, d.id AS datastream, d.thing FROM readings AS r LEFT JOIN sta_datastreams AS d USING (series))",
    {
        "phenomenonTime": Property("interval", "{e}.start", end=_END),
        "resultTime": Property("time", _END),
        "result": Property("number", "nullif({e}.value, 'NaN')"),
        "resultQuality": Property(
            "json",
            f"json_build_object('scheme', 'QARTOD', 'flag', {{e}}.flag, 'tests', {_TESTS})::jsonb",
            json=f"""concat('{{"scheme": "QARTOD", "flag": ', {{e}}.flag, ', "tests": ', {_TESTS}, '}}')""",
            fields={"flag": ("{e}.flag", "number")},
        ),
        "validTime": Property("interval", "NULL::timestamptz", json="'null'", end="NULL::timestamptz"),
        "parameters": Property(
            "json",
            "jsonb_build_object('rev', {e}.rev, 'origin', CASE {e}.origin WHEN 1 THEN 'import' ELSE 'live' END,"
            " 'received', to_char({e}.received, " + UTC + "))",
            json="""concat('{"rev": ', {e}.rev, ', "origin": ',
            CASE {e}.origin WHEN 1 THEN '"import"' ELSE '"live"' END, ', "received": "',
            to_char({e}.received, """ + UTC + """), '"}')""",
            fields={"rev": ("{e}.rev", "number")},
        ),
    },
    {
        "Datastream": Navigation("Datastreams", False, "{n}.id = {e}.datastream"),
        "FeatureOfInterest": Navigation(
            "FeaturesOfInterest", False,
            "{n}.thing = {e}.thing AND {n}.since <= {e}.start AND {e}.start < {n}.until",
        ),
    },
    id="({e}.datastream || '-' || (extract(epoch FROM {e}.start) * 1000)::bigint)",
    id_is_text=True,
    order=("{e}.series", "{e}.start"),
)  # fmt: skip

FEATURES_OF_INTEREST = Entity(
    "FeaturesOfInterest", "FeatureOfInterest", "sta_places",
    {
        "name": _text("{e}.name"),
        "description": _text(
            "CASE WHEN {e}.lon IS NULL THEN 'Sensor ' || {e}.name || ', whose place is not known'"
            " ELSE 'The surroundings of ' || {e}.name END"
        ),
        "encodingType": _text(_GEOJSON),
        "feature": Property(
            "geometry",
            f"CASE WHEN {{e}}.lon IS NULL THEN {_NOWHERE} ELSE {_POINT} END",
            geometry="places",
        ),
        "properties": Property("json", _VALIDITY),
    },
    {
        "Observations": Navigation(
            "Observations", True, "{n}.thing = {e}.thing AND {n}.start >= {e}.since AND {n}.start < {e}.until"
        )
    },
)  # fmt: skip

ENTITIES: dict[str, Entity] = {
    entity.plural: entity
    for entity in (
        THINGS, LOCATIONS, HISTORICAL_LOCATIONS, DATASTREAMS, SENSORS, OBSERVED_PROPERTIES, OBSERVATIONS,
        FEATURES_OF_INTEREST,
    )
}  # fmt: skip
"""By the name of the collection."""
