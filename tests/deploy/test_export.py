"""`cityfeed export` against a server that breaks off, and one that is not honest."""

import hashlib
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.cli.export import ExportError, Part, take

HEAD = b"sensor,value\n"
ROWS = [f"s{i},{i}\n".encode() for i in range(5000)]
FILE = HEAD + b"".join(ROWS)


@contextmanager
def server(
    breaks: list[int], sha256: str = "", states: tuple[str, ...] = (), busy: dict[int, int] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Speaks as the API does; its answers break off after so many bytes, one after the other. `busy`: status by the
    number of the request; 0 answers nothing. Gives (url, requests).
    """
    asked: list[str] = []
    left = list(states)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if (status := (busy or {}).get(len(asked))) is not None:
                self.refuse(status)
                return
            url = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(url.query).items()}
            if url.path.startswith("/v1/exports/") and not query:
                state = left.pop(0) if left else "complete"
                self.answer(json.dumps({"state": state, "sha256": sha256 or hashlib.sha256(FILE).hexdigest(),
                                        "bytes": len(FILE), "rows": len(ROWS)}).encode())  # fmt: skip
                return
            after = int(query.get("after_row", 0))
            body = FILE if after == 0 else b"".join(ROWS[after:])
            body = body[int(query.get("after_byte", 0)) :]
            cut = breaks.pop(0) if breaks else None
            self.answer(body, cut)

        def answer(self, body: bytes, cut: int | None = None) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.send_header("link", f'<http://127.0.0.1:{port}/v1/exports/abc>; rel="describedby"')
            self.end_headers()
            self.wfile.write(body[:cut])

        def refuse(self, status: int) -> None:
            if status:
                self.send_response(status)
                self.send_header("retry-after", "0")
                self.end_headers()
                self.wfile.write(b'{"detail": "Not now."}')

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.mark.parametrize("breaks", [[], [20_000], [5], [len(HEAD)], [len(HEAD) + 2], [30_000, 0, 17, 4000]])
def test_a_broken_file_goes_on_and_is_whole(tmp_path: Path, breaks: list[int]) -> None:
    n = len(breaks)
    with server(breaks, states=("proving",) * (n > 0)) as (url, asked):
        proof = take(f"{url}/v1/traffic/export", [("format", "csv")], tmp_path / "f.csv", "csv", 0.01)
    assert (tmp_path / "f.csv").read_bytes() == FILE
    assert proof["rows"] == len(ROWS)
    assert sum("/export?" in path for path in asked) == 1
    assert sum("after_row" in path for path in asked) == n
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.csv"]


def test_a_server_that_is_busy_or_starts_again_is_waited_for(tmp_path: Path) -> None:
    with server([20_000], busy={1: 503, 3: 503, 4: 0, 5: 429, 7: 503, 8: 0}) as (url, asked):
        take(f"{url}/v1/traffic/export", [("format", "csv")], tmp_path / "f.csv", "csv", 0.01)
    assert (tmp_path / "f.csv").read_bytes() == FILE
    assert len(asked) == 9


def test_a_file_that_is_not_proven_stays_for_the_next_call(tmp_path: Path) -> None:
    with server([], busy={2: 404}) as (url, _):
        with pytest.raises(ExportError, match="call it again"):
            take(f"{url}/v1/traffic/export", [], tmp_path / "f.csv", "csv", 0.01)
        take(f"{url}/v1/traffic/export", [], tmp_path / "f.csv", "csv", 0.01)
    assert (tmp_path / "f.csv").read_bytes() == FILE


def test_a_device_is_not_replaced_by_a_file() -> None:
    words = [sys.executable, "-c", "from deploy.cli import main; main()", "export", "traffic", "-o", "/dev/full"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("cityfeed: --output /dev/full: ")


def test_who_ends_it_is_told_how_to_go_on(tmp_path: Path) -> None:
    with server([], states=("proving",) * 10_000) as (url, asked):
        words = [sys.executable, "-c", "from deploy.cli import main; main()", "export", "traffic", "--url", url]
        running = subprocess.Popen([*words, "-o", tmp_path / "f.csv"], stderr=subprocess.PIPE, text=True)
        while not any("/exports/" in path for path in asked):
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 130 and "the same command goes on" in said and "Traceback" not in said
    assert (tmp_path / "f.csv.part").read_bytes() == FILE


def test_formats_without_lines_go_on_after_the_last_byte(tmp_path: Path) -> None:
    with server([20_000, 7, 0]) as (url, asked):
        take(f"{url}/v1/traffic/export", [], tmp_path / "f.parquet", "parquet", 0.01)
    assert (tmp_path / "f.parquet").read_bytes() == FILE
    assert [path.partition("?")[2] for path in asked if "after_byte" in path] == [
        "after_byte=20000", "after_byte=20007", "after_byte=20007",
    ]  # fmt: skip


def test_a_command_that_was_ended_goes_on(tmp_path: Path) -> None:
    part = Part(tmp_path / "f.csv")
    part.data.write_bytes(FILE[:30_001])
    with server([]) as (url, asked):
        part.remember(f"{url}/v1/exports/abc", f"{url}/v1/traffic/export?format=csv")
        take(f"{url}/v1/traffic/export", [("format", "csv")], tmp_path / "f.csv", "csv", 0.01)
        assert not any("/export?" in path for path in asked)
    assert (tmp_path / "f.csv").read_bytes() == FILE


def test_a_file_that_is_not_what_the_server_says_is_told(tmp_path: Path) -> None:
    with server([], sha256="0" * 64) as (url, _), pytest.raises(ExportError, match="begin anew"):
        take(f"{url}/v1/traffic/export", [], tmp_path / "f.csv", "csv", 0.01)
    assert not (tmp_path / "f.csv").exists()


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is cityfeed running there"):
        take("http://127.0.0.1:9/v1/traffic/export", [], tmp_path / "f.csv", "csv", 0.0)
    with pytest.raises(ExportError, match="--url: localhost/v1/traffic/export is no address"):
        take("localhost/v1/traffic/export", [], tmp_path / "f.csv", "csv", 0.0)


def test_a_disk_that_is_full_is_told_and_what_arrived_is_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "f.csv"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with server([]) as (url, asked):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(ExportError, match=r"File too large; 20,000 bytes .*the same command"):
                take(f"{url}/v1/traffic/export", [], file, "csv", 0.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        take(f"{url}/v1/traffic/export", [], file, "csv", 0.0)
    assert file.read_bytes() == FILE and sum("after_row" in path for path in asked) == 1


@pytest.mark.parametrize(("where", "said"), [("", "is a folder"), ("none/f.csv", "No such file or directory; nothing")])
def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, where: str, said: str) -> None:
    with server([]) as (url, _), pytest.raises(ExportError, match=said):
        take(f"{url}/v1/traffic/export", [], tmp_path / where, "csv", 0.0)
    assert not list(tmp_path.iterdir())
