"""The registry: which sensors there are, where, made of what, and what their series mean.

A `Registration` says what is true of a sensor from `valid_from` to `valid_to`; a sensor that moved or got another
device has several. They travel on the compacted Kafka topic `sensors` (JSON, key `Registration.key`), so that
every process knows them also with the database down.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.datasets import Dataset, Metric, quality_mistakes, text_mistake
from schemas.errors import WireError
from schemas.quality import Quality, merged
from schemas.readings import PeriodS

FOREVER_MS = 1 << 60
MAX_RULES = 200_000  # series whose rule is kept at hand, about 50 MB; then they are looked up anew


class Site(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place with a name: degrees WGS 84; `surroundings` such as roadside, background, freeway."""

    name: str = ""
    lon: float | None = None
    lat: float | None = None
    height_m: float | None = None
    surroundings: str = ""


class Device(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands there."""

    make: str = ""
    model: str = ""
    serial: str = ""
    firmware: str = ""
    owner: str = ""


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is special about one metric of one sensor; None means the dataset's. `quality` has the parameters of quality
    rules that win over the dataset's, rule by rule.
    """

    unit: str | None = None
    period_s: PeriodS | None = None
    cadence_s: PeriodS | None = None
    quality: Quality | None = None


class Registration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is true of a sensor in [valid_from, valid_to) (epoch ms UTC; None: always, until the next one)."""

    dataset: str
    sensor: str
    valid_from: int | None = None
    valid_to: int | None = None
    site: Site = Site()
    device: Device = Device()
    series: dict[str, Series] = {}
    public_precision_m: int = 0
    demo: bool = False

    @property
    def key(self) -> str:
        """The key on the compacted topic: a later registration of the same validity replaces this one."""
        return f"{self.dataset}/{self.sensor}@{'' if self.valid_from is None else self.valid_from}"


@dataclass(frozen=True)
class SeriesRule:
    """What the processors need to know of a series; times in seconds, `unit` as the source sends it."""

    unit: str
    period_s: int
    cadence_s: int
    metric: Metric


@dataclass
class Registry:
    """All registrations, folded in the order they came. Lookups of what is not registered give the dataset's."""

    datasets: dict[str, Dataset]
    time_zone: str = "UTC"  # the city's, by whose days some indices go
    changes: int = 0
    """How often a registration was taken in: what was made from the registry holds as long as this stays."""
    _of: dict[tuple[str, str], list[Registration]] = field(default_factory=dict)
    _rules: dict[tuple[str, str, str], SeriesRule] = field(default_factory=dict)

    def apply(self, registration: Registration) -> None:
        """Take a registration in; one with the same key is replaced."""
        self.changes += 1
        known = self._of.setdefault((registration.dataset, registration.sensor), [])
        known[:] = sorted([r for r in known if r.key != registration.key] + [registration], key=_starts)
        for key in [k for k in self._rules if k[:2] == (registration.dataset, registration.sensor)]:
            del self._rules[key]

    def sensors(self, dataset: str) -> Iterator[str]:
        """The registered sensors of a dataset."""
        return (sensor for d, sensor in self._of if d == dataset)

    def everything(self) -> Iterator[Registration]:
        """All registrations."""
        return (registration for known in self._of.values() for registration in known)

    def registrations(self, dataset: str, sensor: str) -> list[Registration]:
        """What is known of a sensor, oldest validity first; empty for an unregistered one."""
        return self._of.get((dataset, sensor), [])

    def at(self, dataset: str, sensor: str, at_ms: int) -> Registration | None:
        """The registration valid at a moment (epoch ms UTC); its end is `valid_to` or the next one's start."""
        found = None
        for registration in self.registrations(dataset, sensor):
            if _starts(registration) <= at_ms:
                found = registration
        return found if found is not None and at_ms < _ends(found) else None

    def validities(self, dataset: str, sensor: str) -> list[tuple[int, int, Registration]]:
        """(from, to, registration) in epoch ms UTC, not overlapping; open ends are 0 and `FOREVER_MS`."""
        known = self.registrations(dataset, sensor)
        starts = [*map(_starts, known), FOREVER_MS]
        return [(starts[i], min(_ends(r), starts[i + 1]), r) for i, r in enumerate(known)]

    def rule(self, dataset: str, sensor: str, metric: str) -> SeriesRule:
        """What holds for a series: its newest registration's word, else the dataset's."""
        key = (dataset, sensor, metric)
        if (rule := self._rules.get(key)) is None:
            known = self._of.get((dataset, sensor))
            special = (known[-1].series.get(metric) if known else None) or Series()
            general = self.datasets[dataset].quality(sensor, metric) if dataset in self.datasets else Metric()
            if special.quality is not None:
                general = merged(general, special.quality)
            if len(self._rules) >= MAX_RULES:  # made-up names must not fill the memory
                self._rules.clear()
            rule = self._rules[key] = SeriesRule(
                general.unit if special.unit is None else special.unit,
                general.period_s if special.period_s is None else special.period_s,
                general.cadence_s if special.cadence_s is None else special.cadence_s,
                general,
            )
        return rule


def rule_mistakes(registration: Registration, dataset: Dataset) -> Iterator[str]:
    """What can't be meant of the quality parameters that a registration brings, beside its dataset's."""
    for name, series in registration.series.items():
        if series.quality is None:
            continue
        if name not in dataset.metrics:
            yield f"quality of {name}: the dataset has no such metric"
            continue
        metric = merged(dataset.quality(registration.sensor, name), series.quality)
        span_s = series.cadence_s or series.period_s or metric.span_s
        for _, problem in quality_mistakes(name, metric, span_s):
            yield f"quality of {name}: {problem}"


def unprintable(registration: Registration) -> str:
    """Which of its texts has a control character, which neither people nor the database can take; empty: none."""

    def mistakes(where: str, given: Any) -> Iterator[str]:
        if isinstance(given, dict):
            for name, part in given.items():
                yield from mistakes(f"{where}.{name}" if where else name, part)
        elif isinstance(given, str) and given.strip() and (problem := text_mistake(given)):
            yield f"{where} {problem}"

    return next(mistakes("", msgspec.to_builtins(registration)), "")


def _starts(registration: Registration) -> int:
    return 0 if registration.valid_from is None else registration.valid_from


def _ends(registration: Registration) -> int:
    return FOREVER_MS if registration.valid_to is None else registration.valid_to


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Registration)


def encode(registration: Registration) -> bytes:
    """The registration as the topic `sensors` carries it."""
    return _encoder.encode(registration)


def decode(data: bytes) -> Registration:
    """Read a registration. Raises `WireError`."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        raise WireError(f"not a registration: {e}") from e


def fold(datasets: dict[str, Dataset], registrations: Iterable[Registration]) -> Registry:
    """A registry of these."""
    registry = Registry(datasets)
    for registration in registrations:
        registry.apply(registration)
    return registry
