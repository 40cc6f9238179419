"""The maps of docs/import.md are maps, and read the files that they are for."""

import os
import re
from pathlib import Path

import pytest

from deploy.imports.convert import Converter
from deploy.imports.mapping import Mapping, parse_mapping
from deploy.imports.source import Source
from deploy.local.tools import ROOT
from schemas.datasets import parse_datasets, shipped_files
from schemas.registry import fold

ORIGINALS = Path(os.environ.get("CITYFEED_TEST_ORIGINALS", ROOT.parent / "shared" / "data"))
RTP = "epa-sensortoolkit-rtp"
MAPS = dict(
    re.findall(r"```toml\n# (\w+\.toml): .*\n((?:.*\n)*?)```", (ROOT / "docs" / "import.md").read_text("utf-8"))
)


def mapping(name: str) -> Mapping:
    return parse_mapping(MAPS[name], name)


def test_all_maps_are_found_and_read() -> None:
    assert [mapping(name).time.zone for name in sorted(MAPS)] == ["UTC", "+07:00"]


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="CITYFEED_TEST_ORIGINALS names no folder")
@pytest.mark.parametrize(
    ("name", "file", "readings", "first_ms", "sensors"),
    [
        # 2016-01-01 01:00 in Hanoi is the end of the hour from 2015-12-31 17:00 UTC; no hour of the file is empty.
        ("hanoi.toml", "hanoi-nowcast/Hanoi_PM2.5_2016_YTD.csv", 8784, 1_451_581_200_000, {"hanoi-us-embassy"}),
        # Rows of the four quantities whose QC code is 0: 704 NO2, 685 O3, 730 PM2.5, 735 temperature.
        ("airnow.toml", f"{RTP}/airnowtech_example_reference_data.csv", 2854, 1_564_635_600_000, {"burdens-creek"}),
    ],
)  # fmt: skip
def test_the_maps_read_the_real_files(name: str, file: str, readings: int, first_ms: int, sensors: set[str]) -> None:
    source = Source.open(ORIGINALS / file, mapping(name).file)
    converter = Converter(mapping(name), "air-quality", fold(parse_datasets(shipped_files()), ()), 300_000)
    made = [converter.convert(chunk, 1_800_000_000_000) for chunk in source.chunks(mapping(name).columns())]
    assert not [refused for one in made for refused in one.refused]
    assert made[0].readings.start[0] == first_ms
    assert sum(len(one.readings) for one in made) == readings
    assert {sensor for one in made for _, sensor in one.readings.sensors} == sensors
