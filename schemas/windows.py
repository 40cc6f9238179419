"""The widths of windows. Windows are selected by the start of their readings and aligned to the UTC day."""

WIDTHS_S: dict[str, int] = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86400}
"""Name of a width in queries -> seconds; ascending."""

NARROW_S = (60, 300, 900)
"""Closed from memory as the watermark passes."""

WIDE_S = (3600, 86400)
"""Closed from the stored readings: their percentiles need every reading, and a day is too much to remember."""
