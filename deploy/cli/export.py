"""`cityfeed export`: a whole answer as a file, with progress, going on where it broke off, proven by its SHA-256."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import httpx
import typer

from deploy.local import stack
from deploy.local.settings import load
from schemas.errors import CityfeedError

LINES = ("csv", "ndjson")
"""Formats whose rows are lines: they go on after the last whole one, others after the last byte."""
SUFFIXES = {
    "csv": "csv",
    "ndjson": "ndjson",
    "json": "json",
    "geojson": "geojson",
    "parquet": "parquet",
    "arrow": "arrows",
}
TRIES, WAIT_S, PROOF_S = 8, 2.0, 600.0
LATER = (429, 502, 503, 504)  # answers that will be others in a while
LONGEST_PAUSE_S = 60.0
SILENT_S = 600.0  # a server that goes on after a byte makes those before again, and is silent meanwhile


class ExportError(CityfeedError):
    """The file can't be had, or is not what the server says it is; the text names the remedy."""


class _NotNow(ExportError):
    """The server can't at the moment: it has just started, or writes as many exports as it may."""

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


@dataclass
class Part:
    """What has arrived: `<file>.part`, and in `<file>.part.json` the export it is of."""

    file: Path

    @property
    def data(self) -> Path:
        return self.file.with_name(self.file.name + ".part")

    @property
    def note(self) -> Path:
        return self.file.with_name(self.file.name + ".part.json")

    def remember(self, address: str, asked: str) -> None:
        self.note.write_text(json.dumps({"export": address, "asked": asked}))

    def address(self, asked: str) -> str | None:
        """The export's address, where what has arrived is of the same query."""
        try:
            known = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return None
        return str(known["export"]) if known.get("asked") == asked and self.data.exists() else None

    def forget(self) -> None:
        self.note.unlink(missing_ok=True)


def export(
    dataset: Annotated[str, typer.Argument(help="The dataset, such as traffic.")],
    of: Annotated[str, typer.Option(help="readings, windows or index.")] = "readings",
    format: Annotated[str, typer.Option("--format", "-f", help="csv, ndjson, json, geojson, parquet, arrow.")] = "csv",
    since: Annotated[str, typer.Option("--from", help="RFC 3339 with an offset. Default: the first row.")] = "",
    until: Annotated[str, typer.Option("--to", help="RFC 3339 with an offset, exclusive. Default: now.")] = "",
    sensor: Annotated[list[str], typer.Option("--sensor", "-s", help="Only this sensor; repeat it for several.")] = [],  # noqa: B006
    metric: Annotated[list[str], typer.Option("--metric", "-m", help="Only this metric; repeat it.")] = [],  # noqa: B006
    parameter: Annotated[
        list[str],
        typer.Option("--parameter", "-p", help="Any other parameter of the API: -p width=1d -p tz=Asia/Tokyo"),
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file. Default: named after the query.")
    ] = None,
    url: Annotated[str, typer.Option(help="The API. Default: the one on this machine.")] = "",
) -> None:
    """Take all rows of a query as a file, and prove that it is whole.

    \b
    Examples:
      cityfeed export traffic -o traffic.csv
      cityfeed export air-quality --of windows -p width=1d -p tz=America/Los_Angeles -f parquet
      cityfeed export traffic --from 2026-11-01T00:00:00Z -s 716328 --url https://data.example.org

    A broken connection is taken up again; so is a command that was ended: call it again with the same words.
    At the end the file's SHA-256 is compared with the one that the server names.
    """
    if format not in SUFFIXES:
        raise ExportError(f"there is no format {format}; it is one of {', '.join(SUFFIXES)}")
    query = [("of", of), ("format", format)]
    query += [(name, value) for name, value in (("from", since), ("to", until)) if value]
    query += [("sensor", s) for s in sensor] + [("metric", m) for m in metric]
    for text in parameter:
        name, equals, value = text.partition("=")
        if not equals:
            raise ExportError(f"--parameter {text}: it takes name=value, such as width=1d")
        query.append((name, value))
    base = (url or f"http://{stack.api_address(load(os.environ))}").rstrip("/")
    file = output or Path(f"{dataset}-{of}.{SUFFIXES[format]}")
    if file.exists() and not (file.is_file() or file.is_dir()):
        raise ExportError(f"--output {file}: it takes the name of a file, and this is a device")
    try:
        proof = take(f"{base}/v1/{dataset}/export", query, file, format)
    except KeyboardInterrupt:
        print(f"\n{kept(file)}", file=sys.stderr)
        raise typer.Exit(130) from None
    print(f"{file}: {proof['rows']:,} rows, {proof['bytes']:,} bytes, SHA-256 {proof['sha256']}, proven complete")
    print(
        f"as of {proof['taken']}; licence {proof['licence']}; source {proof['attribution']}; {proof['links']['self']}"
    )


def kept(file: Path) -> str:
    """What is there of a file that was not finished."""
    part = Part(file)
    arrived = part.data.stat().st_size if part.data.exists() else 0
    return f"{arrived:,} bytes are in {part.data}; the same command goes on there" if arrived else "nothing was kept"


def take(address: str, query: list[tuple[str, str]], file: Path, format: str, wait_s: float = WAIT_S) -> dict[str, Any]:
    """The file, from a server; gives its proof. Raises `ExportError`."""
    from rich.progress import (
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    if file.is_dir():
        raise ExportError(f"{file} is a folder; name a file in it")
    part, asked = Part(file), f"{address}?{urlencode(query)}"
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with (
        httpx.Client(
            timeout=httpx.Timeout(60.0), follow_redirects=True, headers={"accept-encoding": "identity"}
        ) as client,
        Progress(*columns, disable=not os.isatty(2)) as progress,
    ):
        task = progress.add_task(file.name, total=None)
        known = part.address(asked)
        for left in reversed(range(TRIES)):
            try:
                known = _receive(client, asked, known, part, format, lambda n: progress.update(task, completed=n))
                break
            except (httpx.UnsupportedProtocol, httpx.InvalidURL) as e:
                raise ExportError(f"--url: {address} is no address: {e}") from e
            except OSError as e:
                raise ExportError(f"{part.data}: {e.strerror or e}; {kept(file)}") from e
            except (httpx.HTTPError, _NotNow) as e:
                known = part.address(asked)
                if isinstance(e, httpx.ConnectError) and left == TRIES - 1:
                    remedy = "is cityfeed running there? `cityfeed up` starts it here, --url names another server"
                    raise ExportError(f"{address}: {e}; {remedy}") from e
                if not left:
                    raise ExportError(f"{address}: {e}; call it again to go on") from e
                pause_s = max(wait_s, e.retry_after_s) if isinstance(e, _NotNow) else wait_s
                why = e if isinstance(e, _NotNow) else f"the connection broke ({e or type(e).__name__})"
                progress.console.print(f"{why}; going on in {pause_s:g} s")
                time.sleep(pause_s)
        proof = _proof(client, known or "", wait_s)
    _compare(part, proof)
    part.data.replace(file)
    part.forget()
    return proof


def _receive(client: httpx.Client, asked: str, known: str | None, part: Part, format: str, told: Any) -> str:
    """Append what is missing; gives the export's address."""
    if known is None:
        address, size = asked, 0
    else:
        after, size = _arrived(part.data, format)
        address = f"{known}?{after}"
    timeout = httpx.Timeout(60.0, read=SILENT_S if "after_byte=" in address else 60.0)
    with client.stream("GET", address, timeout=timeout) as answer:
        if answer.status_code == 404 and known is not None:
            part.forget()
            return _receive(client, asked, None, part, format, told)
        if answer.status_code != 200:
            refused = _refused(answer)
            raise _NotNow(str(refused), _retry_after_s(answer)) if answer.status_code in LATER else refused
        export = known or answer.links["describedby"]["url"]
        part.remember(export, asked)
        with part.data.open("r+b" if size else "wb") as file:
            file.truncate(size)
            file.seek(size)
            for piece in answer.iter_raw():  # not in pieces of a size: what a break leaves of one would be lost
                file.write(piece)
                size += len(piece)
                told(size)
    return export


def _arrived(path: Path, format: str) -> tuple[str, int]:
    """(parameter to go on with, bytes) of what arrived and can be kept."""
    if format not in LINES:
        return f"after_byte={path.stat().st_size}", path.stat().st_size
    lines = size = at = 0
    for piece in _pieces(path):
        if (last := piece.rfind(b"\n")) >= 0:
            lines += piece.count(b"\n")
            size = at + last + 1
        at += len(piece)
    rows = lines - (format == "csv")
    return (f"after_row={rows}", size) if rows > 0 else ("after_row=0", 0)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


def _retry_after_s(answer: httpx.Response) -> float:
    given = answer.headers.get("retry-after", "")
    return min(float(given), LONGEST_PAUSE_S) if given.isascii() and given.isdigit() else 0.0


def _refused(answer: httpx.Response) -> ExportError:
    answer.read()
    try:
        problem = answer.json()
        said = problem["detail"].rstrip(".")
        return ExportError(f"{said}. {problem['remedy']}" if problem.get("remedy") else said)
    except (ValueError, KeyError, TypeError):
        return ExportError(f"the server answered {answer.status_code} at {answer.url}")


def _proof(client: httpx.Client, address: str, wait_s: float) -> dict[str, Any]:
    """The server's word on the file; a resumed one is proven some time after its end."""
    deadline = time.monotonic() + PROOF_S
    left = TRIES
    while True:
        try:
            answer = client.get(address)
            if answer.status_code != 200:
                raise _refused(answer)
        except (httpx.HTTPError, ExportError) as e:
            left -= 1
            if not left or (isinstance(e, ExportError) and answer.status_code not in LATER):
                raise ExportError(f"the file is here and not proven: {e}; call it again to go on") from e
            time.sleep(wait_s)
            continue
        proof: dict[str, Any] = answer.json()
        if proof["state"] == "complete":
            return proof
        if time.monotonic() > deadline:
            raise ExportError(f"the server has not proven the file: its state is {proof['state']}; see {address}")
        time.sleep(0.2)


def _compare(part: Part, proof: dict[str, Any]) -> None:
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(part.data):
        digest.update(piece)
        size += len(piece)
    if (digest.hexdigest(), size) != (proof["sha256"], proof["bytes"]):
        part.forget()
        raise ExportError(
            f"{part.data} has {size} bytes and SHA-256 {digest.hexdigest()}, the server says {proof['bytes']} and "
            f"{proof['sha256']}: it was changed on the way or here; call the command again to begin anew"
        )
