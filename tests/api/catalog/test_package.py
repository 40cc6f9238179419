"""The data package, as frictionless reads it, with rows that the API would write."""

from pathlib import Path

import frictionless
import pytest

from api import examples
from api.catalog.package import datapackage
from api.formats import FORMATS
from api.rows import ReadingRow, WindowRow
from tests.api.catalog.made import entry

ROWS = {"readings": (ReadingRow, examples.READING), "windows": (WindowRow, examples.WINDOW)}


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
    assert sum(task.stats["rows"] for task in report.tasks) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_other_columns_is_seen(tmp_path: Path) -> None:
    made = datapackage(entry())
    made["resources"] = made["resources"][:1]
    made["resources"][0] |= {"path": "readings.csv"}
    del made["resources"][0]["scheme"]
    (tmp_path / "readings.csv").write_text("dataset,sensor\ntraffic,x\n")
    assert not frictionless.Package.from_descriptor(made, basepath=str(tmp_path)).validate().valid
