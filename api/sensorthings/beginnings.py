"""When series begin, remembered for a minute.

A Datastream shows from when to when it has observations. The end is one index step into the newest chunk; the
beginning is in another chunk for every series, hardly ever changes, and to look for it costs more than all the rest of
an answer. So statements write a mark in its place, and the text of the answer gets what is remembered here. The mark
is a random word of this process: what sensors are called can't be taken for one.
"""

import secrets
from datetime import datetime

from api.queries.sensorthings import run

REMEMBERED_MS = 60_000
MAX_SERIES = 100_000  # about 20 MB; then all is forgotten


class Beginnings:
    """The starts and ends of first readings, by series."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self._known: dict[int, tuple[str, str]] = {}
        self._forget_ms = 0

    async def put_in(self, connection: run.Connection, text: str, now_ms: int) -> str:
        """The text with times in place of marks, `<mark>:start:<series>:` and `<mark>:end:<series>:`."""
        first, *parts = text.split(self.mark)
        if not parts:
            return text
        if now_ms >= self._forget_ms or len(self._known) > MAX_SERIES:
            self._known.clear()
            self._forget_ms = now_ms + REMEMBERED_MS
        marks = [part.split(":", 3)[1:] for part in parts]
        if missing := {int(series) for _, series, _ in marks} - self._known.keys():
            found = await run.first_readings(connection, sorted(missing))
            self._known |= {key: (_text(start), _text(end)) for key, (start, end) in found.items()}
        return first + "".join(self._known[int(series)][kind == "end"] + rest for kind, series, rest in marks)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
