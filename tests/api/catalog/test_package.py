"""The data package, as frictionless reads it, with rows that the API would write."""

from pathlib import Path

import frictionless
import pytest

from api import examples
from api.catalog.package import datapackage
from api.formats import FORMATS
from api.rows import IndexRow, ReadingRow, WindowRow
from tests.api.catalog.made import entry

ROWS = {
    "readings": (ReadingRow, examples.READING),
    "windows": (WindowRow, examples.WINDOW),
    "index": (IndexRow, examples.INDEX),
}


@pytest.mark.filterwarnings("ignore")
def test_the_package_is_valid_and_its_schemas_fit_the_files(tmp_path: Path) -> None:
    made = datapackage(entry())
    for resource in made["resources"]:
        kind, row = ROWS[resource["name"]]
        written = FORMATS["csv"].write(kind, [row], None, examples.HISTORY_META)
        (tmp_path / f"{resource['name']}.csv").write_bytes(written)
        resource["path"] = f"{resource['name']}.csv"  # the real one is an address of ours
        del resource["scheme"]
    package = frictionless.Package.from_descriptor(made, basepath=str(tmp_path))
    report = package.validate()
    assert report.valid, report.flatten(["title", "message"])
    assert sum(task.stats["rows"] for task in report.tasks) == 3


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_other_columns_is_seen(tmp_path: Path) -> None:
    made = datapackage(entry())
    made["resources"] = made["resources"][:1]
    made["resources"][0] |= {"path": "readings.csv"}
    del made["resources"][0]["scheme"]
    (tmp_path / "readings.csv").write_text("dataset,sensor\ntraffic,x\n")
    assert not frictionless.Package.from_descriptor(made, basepath=str(tmp_path)).validate().valid


def test_every_field_has_its_rule() -> None:
    """The data dictionary: type, unit, source and privacy rule."""
    for resource in datapackage(entry())["resources"]:
        fields = {field["name"]: field for field in resource["schema"]["fields"]}
        assert all(field["source"] and field["privacy"] and field["description"] for field in fields.values())
        assert fields["sensor"]["privacy"].startswith("An id of the device")
        assert fields["start"]["unit"] == "UTC"
    of_readings, _, of_index = (
        {field["name"]: field for field in resource["schema"]["fields"]}
        for resource in datapackage(entry())["resources"]
    )
    assert (of_readings["period_s"]["unit"], of_readings["received"]["source"]) == ("s", "the gateway")
    assert "unit" not in of_index["value"] and of_index["value"]["source"] == "worked out from hours"
    assert [resource["name"] for resource in datapackage(entry("traffic"))["resources"]] == ["readings", "windows"]


def test_what_the_profile_takes_no_other_way() -> None:
    """The profile: `keywords` has one at least, a licence's `name` is of `[-a-zA-Z0-9._]`."""
    assert datapackage(entry(keywords=("air",)))["keywords"] == ["air"] and "keywords" not in datapackage(
        entry(keywords=())
    )
    assert datapackage(entry())["licenses"][0]["name"] == entry().dataset.licence
    assert datapackage(entry(licence="CC BY 4.0"))["licenses"] == [
        {"title": "CC BY 4.0", "path": "https://spdx.org/licenses/CC%20BY%204.0.html"}
    ]
