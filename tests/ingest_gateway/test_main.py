"""What is said and returned before anything is connected."""

from pathlib import Path

import pytest

from ingest_gateway.main import main


def test_a_setting_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CITYFEED_MQTT_PROT", "1")
    assert main() == 2
    assert "CITYFEED_MQTT_PROT" in capsys.readouterr().err


def test_a_city_folder_with_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CITYFEED_CITY_DIR", str(tmp_path))
    assert main() == 2
    assert "city.toml" in capsys.readouterr().err
