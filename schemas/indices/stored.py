"""The numbers that stand for names in table `indices`. A number is never given to another name."""

METRICS = ("pm25", "pm10", "o3", "co", "so2", "no2", "pm25-corr")
"""Pollutants and the metrics that may feed them, by their number."""

NONE = -1


def number(metric: str | None) -> int:
    """The number of a metric, -1 for none."""
    return NONE if metric is None else METRICS.index(metric)


def name(code: int) -> str | None:
    """The metric of a number."""
    return METRICS[code] if 0 <= code < len(METRICS) else None
