"""Each reader on lines of its file (here), and on the whole file, where the originals are beside the repository.

CITYFEED_TEST_ORIGINALS names another folder of originals; figures are those of each folder's SOURCE.txt.
"""

import os
from datetime import datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from deploy.replay.readers import READERS, reader_for
from schemas.errors import CityfeedError
from schemas.quantities import QUANTITIES
from schemas.readings import Origin, Readings
from schemas.units import conversion

HERE = Path(__file__).resolve()
ORIGINALS = Path(os.environ.get("CITYFEED_TEST_ORIGINALS", HERE.parents[4].parent / "shared" / "data"))
needs_originals = pytest.mark.skipif(not ORIGINALS.is_dir(), reason="CITYFEED_TEST_ORIGINALS names no folder")

TOUCAN = """\ufeffSerial ID: Ramphastos Toco 01
Instrument Data Export
8/1/2019 to 8/31/2019
(UTC-05:00) Eastern Time (US & Canada)
Averaging period: 1 minute

Time,NO2 (ppb),O3 (ppb),PM2.5 (µg/m³),TEMP (°C),RH (%),DP (°C),Inlet
8/1/2019 7:11,,,5.4,24.8,95.3,24,Sample
8/1/2019 7:12,5.5,0,5.5,24.88,95.1,24,Sample
8/1/2019 7:14,-0.9,8.8,5.4,25.14,95.2,24.3,Sample
"""
AIRNOW = """\
Agency,Site,Site AQS,Param,Param AQS,POC,Method,Duration,Date (UTC),Time (UTC),Date (LST),Time (LST),Offset (LST),Value,Unit,QC Code
OAQ,Burdens Creek,370630099,NO2,42602,1,599,1 Hr,8/1/2019,5:00,8/1/2019,0:00,-05:00,3,PPB,0
OAQ,Burdens Creek,370630099,TEMP,62101,1,40,1 Hr,8/31/2019,23:00,8/31/2019,18:00,-05:00,29.9,C,0
"""  # noqa: E501
HANOI_HEADER = (
    "Site,Parameter,Date (LT),Year,Month,Day,Hour,"
    "NowCast Conc.,AQI,AQI Category,Raw Conc.,Conc. Unit,Duration,QC Name\n"
)
HANOI = HANOI_HEADER + "".join(
    f"Hanoi,PM2.5 - Principal,{stamp},2016,03,13,00,0,0,Good,{value},UG/M3,1 Hr,{qc}\n"
    for stamp, value, qc in (
        ("2016-03-13 12:00 AM", "3.0", "Valid"),
        ("2016-03-13 01:00 AM", "3.8", "Valid"),
        ("2016-03-13 03:00 AM", "1.2", "Valid"),
        ("2016-03-13 03:00 AM", "6.9", "Valid"),
        ("2016-03-13 04:00 AM", "-999.0", "Missing"),
        ("2016-03-13 05:00 AM", "-3.0", "Valid"),
    )
)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def rows_of(batch: Readings) -> list[tuple[str, str, str, int, int, float]]:
    return [
        (batch.sensors[s][1], *batch.metrics[m], int(start), int(period), float(value))
        for s, m, start, period, value in zip(
            batch.sensor, batch.metric, batch.start, batch.period_s, batch.value, strict=True
        )
    ]


def read(name: str, path: Path, chunk: int = 50_000) -> list[Readings]:
    return list(READERS[name].read(path, chunk=chunk))


def test_a_detectors_row_is_five_minutes_of_los_angeles_standard_time(tmp_path: Path) -> None:
    (tmp_path / "los_speed.csv").write_text("773869,767541\n64.375,67.625\n62.66666667,68.5\n")
    [batch] = read("metr-la", tmp_path)
    assert rows_of(batch) == [
        ("773869", "speed", "mph", ms("2012-03-01T08:00:00Z"), 300, 64.375),
        ("767541", "speed", "mph", ms("2012-03-01T08:00:00Z"), 300, 67.625),
        ("773869", "speed", "mph", ms("2012-03-01T08:05:00Z"), 300, 62.66666667),
        ("767541", "speed", "mph", ms("2012-03-01T08:05:00Z"), 300, 68.5),
    ]
    assert batch.sensors[0][0] == "traffic"
    assert set(batch.origin) == {Origin.IMPORT}


def test_an_empty_cell_of_an_air_sensor_is_no_reading_and_negative_values_stay(tmp_path: Path) -> None:
    (tmp_path / "toco_toucan_RT01_raw.csv").write_text(TOUCAN, encoding="utf-8")
    [batch] = read("sensortoolkit", tmp_path)
    found = rows_of(batch)
    first = ms("2019-08-01T07:11:00-05:00")
    assert [r[1:3] for r in found if r[3] == first] == [
        ("pm25", "ug/m3"), ("temperature", "Cel"), ("humidity", "%"), ("dewpoint", "Cel"),
    ]  # fmt: skip
    assert ("toco-toucan-rt01", "no2", "ppb", first + 180_000, 60, -0.9) in found
    assert len(found) == 4 + 6 + 6


def test_the_reference_station_is_read_by_its_utc_columns(tmp_path: Path) -> None:
    (tmp_path / "airnowtech_reference.csv").write_text(AIRNOW)
    [batch] = read("airnow", tmp_path)
    assert rows_of(batch) == [
        ("370630099", "no2", "ppb", ms("2019-08-01T05:00:00Z"), 3600, 3.0),
        ("370630099", "temperature", "Cel", ms("2019-08-31T23:00:00Z"), 3600, 29.9),
    ]


def test_hanoi_has_no_daylight_saving_so_the_first_of_two_three_oclocks_is_two(tmp_path: Path) -> None:
    """The file stamps ends: |00|01|  |03|03|04|05| are the hours from 23, 00, 01, 02, 03, 04."""
    (tmp_path / "Hanoi_PM2.5_2016_YTD.csv").write_text(HANOI)
    [batch] = read("hanoi", tmp_path)
    assert [(r[3], r[5]) for r in rows_of(batch)] == [
        (ms("2016-03-12T23:00:00+07:00"), 3.0),
        (ms("2016-03-13T00:00:00+07:00"), 3.8),
        (ms("2016-03-13T01:00:00+07:00"), 1.2),
        (ms("2016-03-13T02:00:00+07:00"), 6.9),
        (ms("2016-03-13T03:00:00+07:00"), -999.0),
        (ms("2016-03-13T04:00:00+07:00"), -3.0),
    ]


def test_a_minnesota_detector_has_the_metrics_of_its_two_files(tmp_path: Path) -> None:
    (tmp_path / "speed_t4013.csv").write_text("timestamp,value\n2015-09-01 11:30:00,63\n")
    (tmp_path / "occupancy_t4013.csv").write_text("timestamp,value\n2015-09-01 11:30:00,13.56\n")
    [batch] = read("nab", tmp_path)
    assert sorted(rows_of(batch)) == [
        ("t4013", "occupancy", "%", ms("2015-09-01T11:30:00-05:00"), 300, 13.56),
        ("t4013", "speed", "mph", ms("2015-09-01T11:30:00-05:00"), 300, 63.0),
    ]


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("metr-la", "los_speed.csv", "1,2\n64.3\n"),
        ("metr-la", "los_speed.csv", "1,2\nfast,slow\n"),
        ("sensortoolkit", "toco_toucan_RT01_raw.csv", "Time,NO2 (ppb)\n8/1/2019 7:11,5\n"),
        ("airnow", "airnowtech_x.csv", AIRNOW.replace("PPB", "furlongs")),
        ("hanoi", "Hanoi_PM2.5_2016_YTD.csv", "a,b\n1,2\n"),
        ("nab", "speed_1.csv", "timestamp,value\nyesterday,3\n"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path: Path, name: str, file: str, text: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(CityfeedError, match=file):
        read(name, tmp_path)


def test_the_reader_is_found_by_the_files_names(tmp_path: Path) -> None:
    (tmp_path / "speed_7578.csv").write_text("timestamp,value\n")
    assert reader_for(tmp_path).name == "nab"
    assert reader_for(tmp_path / "speed_7578.csv").name == "nab"
    assert reader_for(tmp_path, "hanoi").name == "hanoi"
    with pytest.raises(CityfeedError, match="los_speed"):
        reader_for(tmp_path, "metr")
    (tmp_path / "speed_7578.csv").unlink()
    with pytest.raises(CityfeedError, match="--reader"):
        reader_for(tmp_path)
    with pytest.raises(CityfeedError, match="does not exist"):
        reader_for(tmp_path / "nothing")


def test_chunks_join_to_the_whole_in_time_order(tmp_path: Path) -> None:
    (tmp_path / "los_speed.csv").write_text("1,2,3\n" + "60,61,62\n" * 10)
    chunks = read("metr-la", tmp_path, chunk=7)
    assert [len(c) for c in chunks] == [7, 7, 7, 7, 2]
    [whole] = read("metr-la", tmp_path)
    assert [r for c in chunks for r in rows_of(c)] == rows_of(whole)


# -- the originals ----------------------------------------------------------------------------------------

WHOLE = {  # reader: (folder, readings, first start, first value, last start, last value)
    "metr-la": ("metr-la-week", 2016 * 207, "2012-03-01T00:00:00-08:00", 64.375, "2012-03-07T23:55:00-08:00", 58.875),
    "airnow": ("epa-sensortoolkit-rtp", 3595, "2019-08-01T00:00:00-05:00", 3.0, "2019-08-31T18:00:00-05:00", 29.9),
    "hanoi": ("hanoi-nowcast", 17123, "2016-01-01T00:00:00+07:00", 94.7, "2018-12-31T23:00:00+07:00", 37.0),
    "nab": ("nab-traffic", 10784, "2015-07-10T14:24:00-05:00", 564.0, "2015-09-17T17:10:00-05:00", 305.0),
}


@needs_originals
@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_file_is_read_in_time_order(name: str) -> None:
    folder, n, first, first_value, last, last_value = WHOLE[name]
    batches = read(name, ORIGINALS / folder)
    start = np.concatenate([b.start for b in batches])
    assert len(start) == n
    assert (np.diff(start) >= 0).all()
    assert (int(start[0]), float(batches[0].value[0])) == (ms(first), first_value)
    assert (int(start[-1]), float(batches[-1].value[-1])) == (ms(last), last_value)
    for metric, unit in {pair for b in batches for pair in b.metrics}:
        assert metric in QUANTITIES and conversion(metric, unit) is not None


@needs_originals
def test_metr_la_keeps_its_stuck_runs() -> None:
    batches = read("metr-la", ORIGINALS / "metr-la-week")
    values = np.concatenate([b.value for b in batches]).reshape(2016, 207)
    assert (values.min(), values.max()) == (1.0, 70.0)
    runs = [len(list(run)) for column in values.T for _, run in groupby(column.tolist())]
    assert max(runs) == 82
    assert sum(run >= 12 for run in runs) == 23


@needs_originals
def test_the_air_sensors_keep_their_faults() -> None:
    rows = [r for b in read("sensortoolkit", ORIGINALS / "epa-sensortoolkit-rtp") for r in rows_of(b)]
    assert {r[0] for r in rows} == {f"toco-toucan-rt0{i}" for i in (1, 2, 3)}
    assert rows[0][3] == ms("2019-08-01T07:11:00-05:00")
    assert rows[-1][3] == ms("2019-08-31T19:59:00-05:00")
    for sensor, minutes, negative in (("1", 42_836, 0.75), ("2", 42_923, 0.53), ("3", 42_923, 0.42)):
        own = [r for r in rows if r[0].endswith(sensor)]
        assert len({r[3] for r in own}) == minutes
        no2 = [r[5] for r in own if r[1] == "no2"]
        assert sum(v < 0 for v in no2) / len(no2) == pytest.approx(negative, abs=0.005)
    assert min(r[5] for r in rows if r[1] == "no2") == pytest.approx(-53, abs=0.5)
    assert min(r[5] for r in rows if r[1] == "o3") == 0.0


@needs_originals
def test_hanoi_keeps_sentinels_and_its_longest_stuck_run_and_has_each_hour_once() -> None:
    batches = read("hanoi", ORIGINALS / "hanoi-nowcast")
    start, value = (np.concatenate([getattr(b, c) for b in batches]) for c in ("start", "value"))
    assert len(set(start.tolist())) == len(start)
    end_of_run = int(np.flatnonzero(start == ms("2016-03-07T09:00:00+07:00"))[0])
    assert (value[end_of_run - 92 : end_of_run + 1] == 59.0).all()
    assert value[end_of_run + 1] == -999.0
    assert (value == -999.0).sum() >= 402
