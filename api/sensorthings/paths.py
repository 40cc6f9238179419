"""Resource paths (OGC 18-088, 9.2): `Things(1)/Datastreams(2)/Observations/$ref` in steps."""

import re
from dataclasses import dataclass

from api.params import nearest
from api.queries.sensorthings.entities import ENTITIES, Entity, Navigation
from schemas.errors import RequestError

_SEGMENT = re.compile(r"([A-Za-z]+)(?:\(([^()]*)\))?")
MAX_STEPS = 12
CONTROL = ("id", "@iot.id", "@iot.selfLink")
"""What every entity has, beside its properties."""
_BIGINT = 1 << 63


@dataclass(frozen=True)
class Step:
    """An entity or a collection, and how it belongs to the step before; `key` is an id, None: all of them."""

    entity: Entity
    navigation: Navigation | None
    key: int | str | None


@dataclass(frozen=True)
class Resource:
    """What a path addresses. `many`: a collection. `names` are of a property and parts of it, `raw` its bare value."""

    steps: tuple[Step, ...]
    many: bool
    names: tuple[str, ...] = ()
    ref: bool = False
    raw: bool = False

    @property
    def of_observations(self) -> bool:
        """Whether the way to it goes by Observations."""
        return any(step.entity.plural == "Observations" for step in self.steps)


def parse(path: str) -> Resource:
    """Read a path below the service's root. Raises `RequestError` (404, or 400 for what can't be asked of it)."""
    segments = path.strip("/").split("/")
    steps: list[Step] = []
    while segments and (found := _step(steps, segments[0])) is not None:
        if steps and _is_many(steps[-1]):
            raise no_such(
                f"{steps[-1].entity.plural} is a collection, and {segments[0]} belongs to one of them.",
                f"Give its id: {steps[-1].entity.plural}(1)/{segments[0]}",
            )
        steps.append(found)
        segments.pop(0)
        if len(steps) > MAX_STEPS:
            raise no_such(f"The path has more than {MAX_STEPS} steps.")
    if not steps:
        meant = nearest(segments[0], ENTITIES)
        raise no_such(
            f"There is no {segments[0]!r}." + (f" Did you mean {meant!r}?" if meant else ""),
            f"There are {', '.join(ENTITIES)}.",
        )
    return _rest(tuple(steps), segments)


def _rest(steps: tuple[Step, ...], segments: list[str]) -> Resource:
    last, many = steps[-1], _is_many(steps[-1])
    if segments == ["$ref"]:
        return Resource(steps, many, ref=True)
    if not segments:
        return Resource(steps, many)
    if many or segments[0] not in {*CONTROL, *last.entity.properties}:
        known = ["$ref"] if many else [*last.entity.properties, *last.entity.navigations, "$ref"]
        meant = nearest(segments[0], known)
        raise no_such(
            f"{last.entity.plural if many else last.entity.singular} has no {segments[0]!r}."
            + (f" Did you mean {meant!r}?" if meant else ""),
            f"After it comes {', '.join(known)}.",
        )
    raw = segments[-1] == "$value"
    names = tuple(segments[:-1] if raw else segments)
    if any(name.startswith("$") or not name for name in names):
        raise no_such(f"There is nothing at {'/'.join(segments)}.")
    return Resource(steps, False, names, raw=raw)


def _is_many(step: Step) -> bool:
    return step.key is None and (step.navigation is None or step.navigation.many)


def _step(steps: list[Step], segment: str) -> Step | None:
    match = _SEGMENT.fullmatch(segment)
    if match is None:
        return None
    name, key = match.groups()
    if not steps:
        if name not in ENTITIES:
            return None
        return Step(ENTITIES[name], None, _key(ENTITIES[name], key))
    navigation = steps[-1].entity.navigations.get(name)
    if navigation is None:
        return None
    entity = ENTITIES[navigation.target]
    return Step(entity, navigation, _key(entity, key))


def _key(entity: Entity, text: str | None) -> int | str | None:
    """An id, in quotes or not."""
    if text is None:
        return None
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        text = text[1:-1].replace("''", "'")
    if entity.id_is_text:
        return text
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or not -_BIGINT <= int(text[:20]) < _BIGINT or len(text) > 20:
        raise no_such(
            f"{entity.singular} has no id {text[:40]!r}: its ids are whole numbers.",
            f"/sensorthings/v1.1/{entity.plural} lists them.",
        )
    return int(text)


def no_such(detail: str, remedy: str | None = None) -> RequestError:
    """404."""
    return RequestError(404, "not-found", "Not found", detail, remedy=remedy)
