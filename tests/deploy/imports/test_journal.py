"""An import that broke off goes on where Kafka's word ends."""

from pathlib import Path

from deploy.imports.journal import Journal
from deploy.imports.mapping import EXPORTED
from deploy.imports.source import Refused


def test_what_was_not_saved_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x\n")
    journal = Journal(tmp_path / "imports", file, EXPORTED, "air-quality")
    journal.progress.row = 7
    journal.progress.refused_bytes = journal.refuse([Refused(5, "value", "'x'", "a,x")])
    journal.save()
    journal.refuse([Refused(9, "value", "'y'", "a,y")])  # and then the power went
    again = Journal(tmp_path / "imports", file, EXPORTED, "air-quality")
    assert again.progress.row == 7
    assert again.refused_path.read_text() == "row,reason,detail,text\n5,value,'x',\"a,x\"\n"


def test_another_dataset_or_a_changed_file_is_another_import(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x\n")
    journal = Journal(tmp_path, file, EXPORTED, "air-quality")
    journal.progress.row = 7
    journal.save()
    assert Journal(tmp_path, file, EXPORTED, "traffic").progress.row == 0
    file.write_text("x\ny\n")
    assert Journal(tmp_path, file, EXPORTED, "air-quality").progress.row == 0


def test_forgotten_is_as_new(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x\n")
    journal = Journal(tmp_path, file, EXPORTED, "air-quality")
    journal.progress.row = 7
    journal.refuse([Refused(5, "value", "'x'", "a,x")])
    journal.save()
    journal.forget()
    assert (journal.progress.row, journal.refused_path.exists()) == (0, False)
    assert Journal(tmp_path, file, EXPORTED, "air-quality").progress.row == 0
