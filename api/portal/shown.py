"""The units that a city shows to people (city.toml, `units`), as factors for the page."""

from collections.abc import Mapping

from schemas.units import canonical_unit, conversion


def shown_units(units: Mapping[str, str]) -> dict[str, dict[str, str | float]]:
    """By metric {unit, factor, offset}: shown = canonical * factor + offset. A unit without conversion is left out."""
    found: dict[str, dict[str, str | float]] = {}
    for metric, unit in units.items():
        to_canonical = conversion(metric, unit) if canonical_unit(metric) else None
        if to_canonical is not None:
            factor, offset = to_canonical
            found[metric] = {"unit": unit, "factor": 1.0 / factor, "offset": -offset / factor}
    return found
