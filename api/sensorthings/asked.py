"""What a request asks: its query options, checked against what its path addresses."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from api.params import nearest
from api.problems import bad_parameter
from api.sensorthings.paths import Resource
from api.sensorthings.syntax import Options, parse, whole
from schemas.errors import RequestError

DATA_ARRAY = "dataArray"
OPTIONS = (
    "$filter", "$orderby", "$select", "$expand", "$top", "$skip", "$count", "$resultFormat", "$skiptoken", "$format",
)  # fmt: skip
OF_COLLECTIONS = {"$filter", "$orderby", "$top", "$skip", "$count", "$resultFormat", "$skiptoken"}
NOT_IMPLEMENTED = {"$search", "$apply", "$compute", "$levels", "$index", "$deltatoken", "$id"}


@dataclass(frozen=True)
class Asked:
    """The options, and beside them: `data_array`, and the token of the page."""

    options: Options
    data_array: bool = False
    token: str | None = None


def read(resource: Resource, items: Iterable[tuple[str, str]]) -> Asked:
    """Read a query. Raises `RequestError`: 400 for what can't be understood, 501 for OData that is not offered."""
    given: dict[str, str] = {}
    for name, text in items:
        _check(name, resource)
        if name in given:
            raise RequestError(
                400, "repeated-parameter", "A parameter is given twice", f"{name} takes one value.", name,
                f"Give {name} once.",
            )  # fmt: skip
        given[name] = text
    if given.get("$format", "json").lower() not in ("json", "application/json"):
        raise bad_parameter("$format", f"{given['$format']!r} can't be written here", "$format=json")
    form = given.get("$resultFormat")
    if form is not None and form.lower() not in ("dataarray", "default"):
        raise bad_parameter("$resultFormat", f"{form!r} can't be written here", "$resultFormat=dataArray")
    data_array = form is not None and form.lower() == "dataarray"
    if data_array and (resource.steps[-1].entity.plural != "Observations" or resource.ref):
        raise bad_parameter("$resultFormat", "a data array is of Observations", "Leave $resultFormat out.")
    trees: dict[str, Any] = {
        name: parse(name, given[f"${name}"])
        for name in ("filter", "orderby", "select", "expand")
        if f"${name}" in given
    }
    numbers: dict[str, Any] = {
        name: whole(f"${name}", given[f"${name}"]) for name in ("top", "skip") if f"${name}" in given
    }
    if data_array and "expand" in trees:
        raise bad_parameter("$expand", "a data array has no expanded entities", "Leave one of the two out.")
    count = given.get("$count")
    if count not in (None, "true", "false"):
        raise bad_parameter("$count", f"{count!r} is neither true nor false", "$count=true")
    options = Options(**trees, **numbers, count=None if count is None else count == "true")
    return Asked(options, data_array, given.get("$skiptoken"))


def _check(name: str, resource: Resource) -> None:
    if name in NOT_IMPLEMENTED:
        raise RequestError(
            501, "not-implemented", "Not implemented", f"{name} is OData that SensorThings does not ask for.", name,
            f"There are {', '.join(OPTIONS)}.",
        )  # fmt: skip
    if name not in OPTIONS:
        meant = nearest(name.lstrip("$"), [o.lstrip("$") for o in OPTIONS])
        if not name.startswith("$") and meant is None:
            return  # OData leaves options without a dollar sign to others
        raise RequestError(
            400, "unknown-parameter", "Unknown parameter",
            f"There is no option {name!r}." + (f" Did you mean '${meant}'?" if meant else ""), name,
            f"There are {', '.join(OPTIONS)}.",
        )  # fmt: skip
    if name in OF_COLLECTIONS and not resource.many:
        raise bad_parameter(name, "it is for collections, and this is one entity", f"Leave {name} out.")
