"""The data dictionary is that of the answers."""

import msgspec
import pytest

from api.catalog.columns import ROWS, columns


@pytest.mark.parametrize("of", ROWS)
def test_every_column_of_the_row_in_its_order_with_a_meaning(of: str) -> None:
    found = columns(of)
    assert [column.name for column in found] == [field.encode_name for field in msgspec.structs.fields(ROWS[of])]
    assert not [column.name for column in found if not column.description]
    assert all(column.privacy for column in found)


def test_types() -> None:
    found = {column.name: (column.type, column.nullable) for column in columns("readings")}
    assert found["start"] == ("datetime", False)
    assert found["value"] == ("number", True)
    assert found["flag"] == ("integer", False)
    assert found["unit"] == ("string", True)
    assert {column.name: column.type for column in columns("windows")}["complete"] == "boolean"
