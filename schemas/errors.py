"""Every error that cityfeed raises on purpose.

    CityfeedError                 a text for a person: what is wrong, and what to do about it
    +-- SettingsError             a CITYFEED_ variable does not make sense        (at start)
    +-- CityFolderError           the city folder has mistakes: .problems         (at start)
    +-- WireError                 bytes that are not a record of ours             (-> dead letters)
    +-- PipelineError             going on would lose or repeat data: the process stops
    |   +-- FencedError           another process owns the partition now
    |   +-- GapError              the log misses records that should be there
    +-- SubscriptionError         a live client asked for what can't be had: .code
    +-- RequestError              a caller asked for what can't be answered: status, parameter, remedy

Readings that can't be used are not errors: they are rejects (`schemas.readings.Reject`), a second output. The
command line adds what can go wrong with a part of the stack, below `CityfeedError`, in `deploy/`.
"""

from dataclasses import dataclass


class CityfeedError(Exception):
    """Base of all errors that cityfeed raises on purpose; `str()` is a sentence for a person."""


class SettingsError(CityfeedError):
    """A variable in the environment has a value that can't be used."""


class CityFolderError(CityfeedError):
    """The city folder has mistakes; `problems` are sentences with file, line and remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the city folder has mistakes:\n" + "\n".join(problems))
        self.problems = problems


class WireError(CityfeedError):
    """Bytes that are not a record of this format and version."""


class PipelineError(CityfeedError):
    """Going on would lose or repeat data; the process stops and starts again from what is stored."""


class FencedError(PipelineError):
    """Another process has taken the partition over."""


class GapError(PipelineError):
    """A reader was given a record that does not follow the one it had last."""


class SubscriptionError(CityfeedError):
    """A subscription that can't be: `code` for programs, the text for people. The connection stays open."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(eq=False)  # an exception is itself alone, and hashable
class RequestError(CityfeedError):
    """A request that can't be answered, rendered as RFC 9457 by one handler.

    `kind` is the stable last part of the problem's `type`; `parameter` the one at fault;
    `remedy` what would be right.
    """

    status: int
    kind: str
    title: str
    detail: str
    parameter: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        return self.detail
