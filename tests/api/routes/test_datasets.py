"""`/datasets` and one of them."""

from pathlib import Path
from typing import Any

from tests.api.city import app_without_servers, client_of


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
