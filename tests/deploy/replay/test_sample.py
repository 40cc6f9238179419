"""The shipped sample city: whole, small, licensed, and made from the originals."""

import gzip
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from deploy.replay.make_sample import air_csv, loops_csv, write_gz
from deploy.replay.sample import read_weeks
from schemas.city import read_city
from schemas.datasets import parse_datasets, shipped_files
from schemas.errors import CityfeedError
from tests.deploy.replay.readers.test_readers import ORIGINALS, needs_originals

SAMPLE = Path(__file__).parents[3] / "deploy" / "sample_city"


def test_it_has_no_mistakes_and_every_recorded_sensor_is_registered_with_a_place() -> None:
    city = read_city(SAMPLE)
    registered = {(r.dataset, r.sensor): r for r in city.registrations}
    played = {(week.dataset, sensor): week for week in read_weeks(SAMPLE) for sensor in week.sensors}
    assert registered.keys() == played.keys()
    assert len([key for key in played if key[0] == "traffic"]) == 207
    west, south, east, north = city.info.bbox
    for (dataset, sensor), week in played.items():
        registration = registered[dataset, sensor]
        site = registration.site
        assert site.lon is not None and west < site.lon < east
        assert site.lat is not None and south < site.lat < north
        metrics = {metric for s, metric in week.columns if s == sensor}
        assert registration.series.keys() == metrics
        assert {s.period_s for s in registration.series.values()} == {week.step_ms // 1000}
        assert registration.demo == (dataset == "air-quality")


def test_its_weeks_are_full() -> None:
    for week in read_weeks(SAMPLE):
        assert len(week.values) * week.step_ms == 7 * 86_400_000
        assert np.isnan(week.values).mean() < 0.001


def test_it_is_under_three_megabytes_and_says_whence_it_is() -> None:
    files = [f for f in SAMPLE.rglob("*") if f.is_file() and f.name != "base.geojson"]
    assert sum(f.stat().st_size for f in files) < 3_000_000
    source = (SAMPLE / "data" / "SOURCE.txt").read_text("utf-8")
    for name in ("lehaifeng/T-GCN", "liyaguang/DCRNN", "USEPA/sensortoolkit", "MIT", "demonstration"):
        assert name in source
    licence = (SAMPLE / "data" / "LICENCE-MIT.txt").read_text("utf-8")
    assert "Permission is hereby granted, free of charge" in licence
    for entry in tomllib.loads((SAMPLE / "data" / "weeks.toml").read_text("utf-8"))["week"]:
        assert entry["file"] in source


def test_its_datasets_differ_from_the_shipped_ones_in_what_they_say_and_not_in_their_rules() -> None:
    shipped = parse_datasets(shipped_files())
    own = parse_datasets({f.name: f.read_text("utf-8") for f in (SAMPLE / "datasets").glob("*.toml")})
    assert own.keys() == {"traffic", "air-quality"}
    for id, dataset in own.items():
        assert dataset.licence == "MIT" != shipped[id].licence
        for field in ("metrics", "lateness_s", "silence_s", "accept_since", "title", "privacy"):
            assert getattr(dataset, field) == getattr(shipped[id], field), f"{id}: {field}"


def test_the_examples_of_other_systems_are_all_there() -> None:
    decoders = {source.decoder for source in read_city(SAMPLE).sources}
    assert decoders == {"tasmota", "zigbee2mqtt", "sensor-community"}


@needs_originals
def test_it_is_what_the_originals_make() -> None:
    for name, made in (("traffic", loops_csv(ORIGINALS)), ("air-quality", air_csv(ORIGINALS))):
        with gzip.open(SAMPLE / "data" / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
            assert file.read() == made


def test_the_same_text_packs_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        write_gz(tmp_path / name, "x,y\n1,2\n")
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"x,y\n1,2\n"


WEEKS = '[[week]]\nfile = "w.csv.gz"\ndataset = "traffic"\norigin = 2012-03-01T00:00:00-08:00\nstep_s = 86400\n'
ROWS = "a/speed\n" + "1\n" * 7


@pytest.mark.parametrize(
    ("weeks", "rows", "problem"),
    [
        (WEEKS, "a\n" + "1\n" * 7, "sensor/metric"),
        (WEEKS, "a/speed,b/speed\n" + "1\n" * 7, "columns"),
        (WEEKS, "a/speed,b/speed\n" + "1,2\n" * 6, "not a week"),
        (WEEKS.replace("-08:00", ""), ROWS, "offset"),
        (WEEKS, ROWS.replace("1", "fast"), "fast"),
        (WEEKS.replace("step_s", "steps"), ROWS, "steps"),
        (WEEKS.replace("w.csv", "v.csv"), ROWS, "v.csv.gz"),
    ],
)
def test_a_mistake_in_the_recorded_weeks_is_told(tmp_path: Path, weeks: str, rows: str, problem: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weeks.toml").write_text(weeks)
    write_gz(tmp_path / "data" / "w.csv.gz", rows)
    with pytest.raises(CityfeedError, match=re.escape(problem)):
        read_weeks(tmp_path)


def test_one_column_and_an_empty_cell_are_read(tmp_path: Path) -> None:
    assert read_weeks(tmp_path) == []
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "weeks.toml").write_text(WEEKS)
    write_gz(tmp_path / "data" / "w.csv.gz", "a/speed,a/volume\n" + "1,\n,2\n" * 3 + "3,4\n")
    [week] = read_weeks(tmp_path)
    metrics = [sorted(week.row(0, k).keys() - {"t"}) for k in range(7)]
    assert metrics == [["speed"], ["volume"]] * 3 + [["speed", "volume"]]
    write_gz(tmp_path / "data" / "w.csv.gz", ROWS)
    assert read_weeks(tmp_path)[0].values.shape == (7, 1)
