"""The page in a real browser, the size of a phone and of a desk: live, readable without colour, ours alone."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi import FastAPI

from api.app import make_app
from api.live.serve import UVICORN_OPTIONS, WS
from schemas.readings import readings
from schemas.settings import Settings
from schemas.wire import Record, encode
from tests.browser.chrome import Page, chromium, executable

pytestmark = [
    pytest.mark.skipif(executable() is None, reason="there is no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(120),
]

LOOPS = ("716328", "716331", "717490", "718204")
NOW_MS = time.time_ns() // 1_000_000 // 300_000 * 300_000
IS_LIVE = "document.getElementById('live').dataset.state === 'live'"


class City:
    """The sample city's application on a port of its own, fed by hand: no Kafka, no database."""

    def __init__(self, app: FastAPI, url: str) -> None:
        self.url = url
        self.state = app.state.cityfeed
        self._offset = 0

    def hear(self, *rows: tuple[str, float], metric: str = "speed", ago: int = 1, **columns: Any) -> None:
        """Readings (sensor, value) that started `ago` periods of five minutes before now."""
        dataset, unit = ("traffic", "km/h") if metric == "speed" else ("air-quality", "ug/m3")
        batch = readings(
            [(dataset, sensor) for sensor, _ in rows], [(metric, unit)], sensor=range(len(rows)),
            value=[value for _, value in rows], start=[NOW_MS - 300_000 * ago] * len(rows),
            received=[NOW_MS] * len(rows), **({"period_s": 300, "flag": 1} | columns),
        )  # fmt: skip
        record, hub = Record("clean", batch), self.state.hub
        if not self._offset:
            hub.ring.begin("readings", 0, -1)
        series = self.state.latest.apply(record, 0, self._offset)
        hub.publish(hub.readings.batch(batch, series, 0, self._offset), encode(record))
        self._offset += 1
        self.state.hub.flush()
        self.state.hub.tick(1000)


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[City]:
    app = make_app(Settings(state_dir=str(tmp_path), live_heartbeat_s=1))
    listener = socket.create_server(("127.0.0.1", 0))
    options: dict[str, Any] = {"ws": WS} | UVICORN_OPTIONS
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, **options))
    with listener:
        running = asyncio.create_task(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        made = City(app, f"http://127.0.0.1:{listener.getsockname()[1]}")
        made.hear(*((sensor, 100.0) for sensor in LOOPS), ago=2)
        yield made
        server.should_exit = True
        await running


@contextlib.asynccontextmanager
async def opened(url: str, *, phone: bool = False, dark: bool = False) -> AsyncIterator[Page]:
    async with chromium() as page:
        await page.size(*((390, 844) if phone else (1280, 800)), phone=phone, dark=dark)
        await page.open(url)
        await page.until(f"document.readyState === 'complete' && {IS_LIVE}")
        yield page


def row_of(sensor: str) -> str:
    """The list's row of a sensor, as an expression."""
    return f"[...document.querySelectorAll('#rows button')].find((b) => b.textContent.includes('{sensor}'))"


@pytest.mark.parametrize(("phone", "dark"), [(True, False), (True, True), (False, False), (False, True)])
async def test_it_shows_the_city_live_and_asks_nobody_else(city: City, phone: bool, dark: bool) -> None:
    async with opened(city.url, phone=phone, dark=dark) as page:
        await page.until(f"({row_of('716328')})?.textContent.includes('62 mph')")
        assert await page.run("document.getElementById('city').textContent") == "Los Angeles (sample)"
        assert "207 sensors" in await page.run("document.getElementById('count').textContent")
        assert await page.run("document.querySelectorAll('#map canvas').length") == 1
        assert "mph" in await page.run("document.getElementById('legend').textContent")
        assert await page.until("document.querySelectorAll('path.road').length") >= 8
        assert await page.run("document.documentElement.scrollWidth <= innerWidth")
        hosts = {urlsplit(url).netloc for url in page.requested() if not url.startswith(("data:", "about:"))}
        assert hosts == {urlsplit(city.url).netloc}
        assert page.complaints() == []


async def test_a_new_value_appears_without_asking_and_an_older_one_does_not(city: City) -> None:
    async with opened(city.url) as page:
        await page.until(f"({row_of('716328')})?.textContent.includes('62 mph')")
        city.hear(("716328", 50.0))
        await page.until(f"({row_of('716328')}).textContent.includes('31 mph')")
        city.hear(("716328", 10.0), ago=5)
        city.hear(("716331", 20.0))
        await page.until(f"({row_of('716331')}).textContent.includes('12 mph')")
        assert "31 mph" in await page.run(f"({row_of('716328')}).textContent")


async def test_silent_suspect_failed_and_demo_are_said_in_words(city: City) -> None:
    city.hear(("717490", 80.0), ago=1, flag=3)
    city.hear(("718204", 500.0), ago=1, flag=4)
    async with opened(city.url) as page:
        await page.until(f"({row_of('717490')})?.textContent.includes('suspect')")
        assert "no data yet" in await page.run(f"({row_of('717447')}).textContent")
        await page.run(f"({row_of('718204')}).click()")
        assert "failed its checks" in await page.until("document.querySelector('#detail .remark').textContent")
        await page.run("document.getElementById('metric').value = 'air-quality/pm25'")
        await page.run("document.getElementById('metric').dispatchEvent(new Event('change'))")
        await page.until("document.getElementById('count').textContent.startsWith('3 sensors')")
        city.hear(("toco-toucan-rt01", 7.5), metric="pm25", ago=200)
        await page.until(f"/no data since .*demo place/.test(({row_of('Echo Park')}).textContent)")
        await page.run(f"({row_of('Echo Park')}).click()")
        assert "demonstration place" in (await page.until("document.querySelector('#detail .remark').textContent"))


async def test_the_keyboard_reaches_a_sensor_and_leaves_it(city: City) -> None:
    async with opened(city.url) as page:
        await page.until(f"({row_of('716328')})?.textContent.includes('62 mph')")
        await page.run("document.getElementById('search').focus()")
        for _ in range(2):
            await page.key("Tab")
        assert "716328" in await page.run("document.activeElement.textContent")
        await page.key("Enter")
        await page.until("document.querySelector('#detail .big')?.textContent === '62 mph'")
        assert await page.run("location.hash") == "#traffic/speed/716328"
        await page.key("Escape")
        await page.until("document.getElementById('detail').hidden")


async def test_a_phone_switches_between_map_and_list_and_a_tap_shows_a_value(city: City) -> None:
    async with opened(f"{city.url}/#traffic/speed/718204", phone=True) as page:
        await page.until("document.querySelector('#detail .big')?.textContent === '62 mph'")
        at = await page.run(
            "(() => { const r = document.getElementById('side').getBoundingClientRect(); return [r.top, r.bottom]; })()"
        )
        assert 300 < at[0] < at[1] <= 844  # a sheet over the map's lower part
        await page.run("document.querySelector('[data-show=list]').click()")
        await page.until("getComputedStyle(document.getElementById('rows')).display !== 'none'")
        assert await page.run("document.getElementById('rows').getBoundingClientRect().width") == 390
        small = await page.run(
            "[...document.querySelectorAll('nav button, #rows button, header select')]"
            ".filter((e) => e.getBoundingClientRect().height < 44).length"
        )
        assert small == 0  # big enough for a finger


# Where the mark of the chosen sensor is: the middle of all that is drawn in the colour of its edge.
CHOSEN_MARK = """(() => {
  const canvas = document.querySelector('#map canvas'), box = canvas.getBoundingClientRect();
  const { data, width } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let x = 0, y = 0, n = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] !== 11 || data[i + 1] !== 61 || data[i + 2] !== 122) continue;
    x += (i / 4) % width;
    y += Math.floor(i / 4 / width);
    n++;
  }
  return n && [box.left + x / n * box.width / width, box.top + y / n * box.height / canvas.height];
})()"""


async def test_a_click_on_a_mark_shows_its_sensor(city: City) -> None:
    async with opened(f"{city.url}/#traffic/speed/718204") as page:
        await page.until("document.querySelector('#detail .big')?.textContent === '62 mph'")
        place = await page.until(CHOSEN_MARK)
        await page.run("document.querySelector('#detail .close').click()")
        await page.until("document.getElementById('detail').hidden")
        await page.click(*place)
        await page.until("document.querySelector('#detail h2').textContent.includes('718204')")
        assert await page.run("!document.getElementById('detail').hidden")


async def test_a_lost_connection_comes_back_with_the_newest(city: City) -> None:
    async with opened(city.url) as page:
        await page.until(f"({row_of('716328')})?.textContent.includes('62 mph')")
        await page.run(
            "{ window.states = []; const live = document.getElementById('live');"
            " new MutationObserver(() => states.push(live.dataset.state)).observe(live, { attributes: true }); }"
        )
        for member in list(city.state.hub.members):
            member.close(4201, "no pong")
        city.hear(("716328", 80.0))
        await page.until("states.includes('waiting') && states.at(-1) === 'live'")
        await page.until(f"({row_of('716328')}).textContent.includes('50 mph')")


async def test_a_gap_in_the_sequence_is_filled_by_a_fresh_snapshot(city: City) -> None:
    async with opened(city.url) as page:
        await page.until(f"({row_of('716328')})?.textContent.includes('62 mph')")
        for group in city.state.hub._groups.values():
            group.seq += 3
        city.hear(("716328", 80.0))
        await page.until(f"({row_of('716328')}).textContent.includes('50 mph')")
        city.hear(("716331", 80.0))
        await page.until(f"({row_of('716331')}).textContent.includes('50 mph')")
        assert await page.run(IS_LIVE)
