"""`cityfeed up`, `down` and `clean`: the stack's life."""

import fcntl
import json
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, NoReturn

import typer

from deploy.cli.here import Here
from deploy.local import prepare, probes, stack, supervise
from deploy.local.stack import Part, StackError
from schemas.city import read_city

GIVE_UP_AFTER_STARTS = 4
HINT_AFTER_S = 30.0


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is ready; `cityfeed down` ends it.")
    ] = False,
) -> None:
    """Start everything, say where it is, and stay until Ctrl-C."""
    here = Here.find()
    if supervise.supervisord_pid(here.where) is not None:
        raise StackError("cityfeed is running already: `cityfeed status` shows it, `cityfeed down` ends it")
    taken = [address for own in stack.addresses(here.settings).values() for address in own]
    ports = Counter(address.port for address in taken)
    if twice := [address for address in taken if ports[address.port] > 1]:
        named = ", ".join(sorted({address.setting for address in twice}))
        raise StackError(f"port {twice[0].port} is given to several parts: {named}; give each its own")
    read_city(Path(here.settings.city_dir))  # its mistakes are told at once, by file and line, before anything starts
    if conflicts := probes.port_conflicts(taken):
        raise StackError("\ncityfeed: ".join(conflicts))
    alone = sole_starter(here.where.state)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    started_s = time.monotonic()
    apart = "" if here.where.postgres.parent == here.where.state else f", its database in {here.where.postgres}"
    print(f"cityfeed is starting; its state and logs are in {here.where.state}{apart}", flush=True)
    try:
        prepare.write(here.settings, here.tools, here.parts, here.where)
        here.where.city_ready.unlink(missing_ok=True)
        here.where.city_progress.unlink(missing_ok=True)
        process = supervise.start(here.settings, here.tools, here.where, detached=detach)
        Start(here, started_s, process.poll).run()
        if not detach:
            Watch(here, process.poll).run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ending is bounded in time; a second Ctrl-C has to wait
        print("\nending ...", flush=True)
        end_s = time.monotonic()
        supervise.stop(here.where)
        print(f"cityfeed has ended ({time.monotonic() - end_s:.1f} s); its state is kept", flush=True)
    except BaseException:
        supervise.stop(here.where)
        raise
    finally:
        alone.close()


def down() -> None:
    """End everything that `up` started; state is kept."""
    here = Here.find()
    print("cityfeed has ended; its state is kept" if supervise.stop(here.where) else "cityfeed was not running")


def clean() -> None:
    """Remove the state of the stack: readings, queues, logs. What set-up installed and built stays."""
    here = Here.find()
    if supervise.supervisord_pid(here.where) is not None:
        raise StackError("cityfeed is running: end it first with `cityfeed down`")
    for folder in (here.where.state, here.where.postgres):
        if folder == here.where.state and folder.is_dir() and not here.where.supervisor_conf.is_file():
            raise StackError(f"{folder} does not look like a state folder of cityfeed; remove it by hand if it is")
        shutil.rmtree(folder, ignore_errors=True)
    print(f"removed {here.where.state}")


def sole_starter(state: Path) -> IO[bytes]:
    """The lock of who starts a stack: a second one at the same moment would write its files, and end it on failing."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / "up.lock").open("ab")
    except OSError as error:
        raise StackError(f"{error.filename}: {error.strerror}; CITYFEED_STATE_DIR names the state folder") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StackError(f"another `cityfeed up` is starting or ending in {state}: wait for it") from None
    return lock


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class Start:
    """The time from the start of the processes to `ready`."""

    def __init__(self, here: Here, started_s: float, supervisord_exit: Callable[[], int | None]) -> None:
        self.here = here
        self.supervisord_exit = supervisord_exit
        self.started_s = started_s
        self.pids: dict[str, set[int]] = {part.name: set() for part in here.parts}
        self.hint_at_s = started_s + HINT_AFTER_S

    def run(self) -> None:
        """Print each part as it gets ready, then the addresses. Raises `StackError` for one that keeps ending."""
        waiting = [part for part in self.here.parts if part.name != "city"]
        while waiting:
            for part in [part for part in waiting if probes.answers(part, self.here.tools)]:
                waiting.remove(part)
                self._say(f"  {part.title:<18} {part.address or part.metrics or ''!s:<16} {self._elapsed()}")
            self._look_for_failures()
            self._hint(waiting)
            time.sleep(0.1)
        self._await_city()
        self._welcome()

    def _await_city(self) -> None:
        """The sample city's past week goes through the whole chain first."""
        while not self.here.where.city_ready.exists():
            self._progress(f"  {'sample city':<18} {self._city_share():<16} {self._elapsed()}")
            self._look_for_failures()
            self._hint([self.here.part("city")])
            time.sleep(0.2)
        self._say(f"  {'sample city':<18} {'past week is in':<16} {self._elapsed()}")

    def _city_share(self) -> str:
        try:
            told = json.loads(self.here.where.city_progress.read_text(encoding="utf-8"))
            return f"{100 * told['done'] / max(1, told['total']):.0f} % of a week"
        except (OSError, ValueError, KeyError, TypeError):
            return "is waiting"

    def _look_for_failures(self) -> None:
        if (code := self.supervisord_exit()) is not None:
            log = self.here.where.log("supervisord")
            raise StackError(f"supervisord ended with {code} before all was ready (`cityfeed down`?); see {log}")
        for state in supervise.states(self.here.where):
            if state.pid:
                self.pids[state.name].add(state.pid)
            if state.state == "FATAL" or len(self.pids[state.name]) >= GIVE_UP_AFTER_STARTS:
                last = "\n  ".join(supervise.tail(self.here.where, state.name))
                raise StackError(f"{state.name} keeps ending ({self.here.where.log(state.name)}):\n  {last}")

    def _hint(self, waiting: list[Part]) -> None:
        if time.monotonic() > self.hint_at_s:
            self.hint_at_s += HINT_AFTER_S
            for part in waiting:
                last = supervise.tail(self.here.where, part.name, 1)
                self._say(f"  still waiting for {part.title}: {last[0] if last else 'it said nothing yet'}")

    def _welcome(self) -> None:
        api = stack.api_address(self.here.settings)
        mqtt = stack.mqtt_address(self.here.settings)
        self._say(f"map        http://{api}/")
        self._say(f"data       http://{api}/v1/traffic/latest")
        self._say(f"reference  http://{api}/docs")
        self._say(f"live feed  ws://{api}/v1/live")
        self._say(f"sensors    mqtt://{mqtt}, topic {self.here.settings.mqtt_topic_prefix}/v1/<dataset>/<sensor>")
        self._say(f"ready after {self._elapsed().strip()}; Ctrl-C or `cityfeed down` ends it")

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self.started_s:5.1f} s"

    def _say(self, line: str) -> None:
        print(f"\r\033[K{line}" if sys.stdout.isatty() else line, flush=True)

    def _progress(self, line: str) -> None:
        if sys.stdout.isatty():
            print(f"\r\033[K{line}", end="", flush=True)


class Watch:
    """After `ready`: tell of parts that ended and were started again, until the stack is ended."""

    def __init__(self, here: Here, supervisord_exit: Callable[[], int | None]) -> None:
        self.here = here
        self.supervisord_exit = supervisord_exit
        self.pids = {state.name: state.pid for state in supervise.states(here.where)}
        self.given_up: set[str] = set()

    def run(self) -> None:
        """Returns when somebody else ended the stack. Raises `StackError` if supervisord fell over."""
        while (code := self.supervisord_exit()) is None:
            for state in supervise.states(self.here.where):
                self._look(state)
            time.sleep(1.0)
        if code != 0:
            raise StackError(f"supervisord ended with {code}; see {self.here.where.log('supervisord')}")
        print("cityfeed was ended by `cityfeed down`")

    def _look(self, state: supervise.State) -> None:
        if state.state == "FATAL" and state.name not in self.given_up:
            self.given_up.add(state.name)
            print(f"{state.name} keeps ending and is given up; `cityfeed logs {state.name}`", flush=True)
        if state.pid and state.pid != self.pids.get(state.name):
            print(f"{state.name} ended and was started again; `cityfeed logs {state.name}`", flush=True)
            self.pids[state.name] = state.pid
