"""`/datasets` and one of them."""

from pathlib import Path
from typing import Any

from schemas.datasets import shipped_files
from tests.api.city import NOW_MS, app_without_servers, client_of, hear, heard


async def get(folder: Path, path: str) -> Any:
    async with client_of(app_without_servers(folder)) as client:
        return (await client.get(path)).json()


async def test_all_datasets(tmp_path: Path) -> None:
    body = await get(tmp_path, "/v1/datasets")
    assert [d["id"] for d in body["data"]] == ["air-quality", "traffic"]
    assert [d["sensors"] for d in body["data"]] == [1, 4]
    assert body["next"] is None


async def test_one_dataset_with_its_dictionary(tmp_path: Path) -> None:
    (row,) = (await get(tmp_path, "/v1/traffic"))["data"]
    assert row["licence"] == "CC-BY-4.0"
    assert row["links"]["windows"] == "http://city.example/v1/traffic/windows"
    assert row["privacy"]["reviewed"]
    speed = next(m for m in row["metrics"] if m["metric"] == "speed")
    assert (speed["name"], speed["unit"], speed["period_s"], speed["period_rule"]) == ("Speed", "km/h", 300, "mean")
    assert speed["fail"] == [0, 250]


async def test_a_search_finds_words_and_fields(tmp_path: Path) -> None:
    async def ids(query: str) -> list[str]:
        return [d["id"] for d in (await get(tmp_path, f"/v1/datasets?{query}"))["data"]]

    assert await ids("q=ozone") == ["air-quality"]
    assert await ids("category=transport&type=operational") == ["traffic"]
    assert await ids("department=none") == []
    assert (await get(tmp_path, "/v1/datasets?categry=x"))["remedy"].startswith("Use 'category'")


async def test_the_rules_parameters_are_published(tmp_path: Path) -> None:
    (row,) = (await get(tmp_path, "/v1/traffic"))["data"]
    speed = next(m for m in row["metrics"] if m["metric"] == "speed")
    assert speed["quality"]["spike"] == {"suspect": 60.0, "fail": 120.0, "method": "differential"}
    assert speed["quality"]["sentinels"] == [-999.0, 65535.0]
    assert "attenuated" not in speed["quality"] and "fail" not in speed["quality"]
    assert speed["quality"]["neighbours"] == {
        "radius_m": 2000, "suspect": 50, "share": 0, "spread": 8, "min_sensors": 3,
    }  # fmt: skip
    occupancy = next(m for m in row["metrics"] if m["metric"] == "occupancy")
    assert occupancy["quality"]["detector"]["least_samples"] == 0.6, "what a rule has by default is told as well"
    assert speed["sensors"] == {}


async def test_a_sensors_own_parameters_are_published(tmp_path: Path) -> None:
    app_without_servers(tmp_path)  # makes the folder
    text = shipped_files()["datasets/traffic.toml"] + "\n[sensors.fiji.speed]\nsuspect = [0, 110]\n"
    (tmp_path / "city" / "datasets").mkdir()
    (tmp_path / "city" / "datasets" / "traffic.toml").write_text(text)
    app = app_without_servers(tmp_path)
    async with client_of(app) as client:
        (row,) = (await client.get("/v1/traffic")).json()["data"]
    assert {m["metric"]: m["sensors"] for m in row["metrics"] if m["sensors"]} == {
        "speed": {"fiji": {"suspect": [0.0, 110.0]}}
    }


async def test_what_is_measured_and_the_score_stand_beside_what_is_declared(tmp_path: Path) -> None:
    app = app_without_servers(tmp_path)
    hear(app, heard("traffic", "moved", "speed", "km/h", [NOW_MS - 400_000], value=[50.0], flag=3))
    async with client_of(app) as client:
        air, traffic = (await client.get("/v1/datasets")).json()["data"]
        table = (await client.get("/v1/datasets?format=csv")).text
    assert (air["overdue"], air["quality"]["score"], air["measured"]["last_run"]) == (True, None, None)
    assert (traffic["automated"], traffic["overdue"], traffic["update_frequency"]) == (True, False, "PT5M")
    assert traffic["measured"]["lateness_p99_s"] == 1.0
    assert traffic["quality"] == {"score": 50.0, "completeness": None, "timeliness": 1.0, "validity": 0.5}
    assert "quality" in table.splitlines()[0].split(",")
