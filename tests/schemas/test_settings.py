import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from schemas import settings
from schemas.errors import SettingsError
from schemas.settings import Secret, Settings, load, variable

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "settings.md"
FIELDS = {f.name: f for f in dataclasses.fields(Settings)}
TYPES = get_type_hints(Settings)
BOUNDED = [name for name in FIELDS if TYPES[name] in (int, float)]


def test_nothing_set_gives_the_defaults() -> None:
    assert load({}) == Settings()
    assert load({"PATH": "/bin", "HOME": "/"}) == Settings()


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("mqtt_host", "broker.example", "broker.example"),
        ("mqtt_host", "", ""),
        ("mqtt_port", "1883", 1883),
        ("mqtt_version", "5", "5"),
        ("log_level", "DEBUG", "DEBUG"),
        ("live_rate_per_s", "2.5", 2.5),
        ("live_rate_per_s", "2", 2.0),
        ("gateway_metrics_port", "0", 0),
        ("mqtt_password", "p4ss", Secret("p4ss")),
    ],
)
def test_a_value_of_each_type(key: str, text: str, expected: Any) -> None:
    value = getattr(load({variable(key): text}), key)
    assert value == expected
    assert type(value) is TYPES[key]


def test_every_default_is_of_its_type_and_within_its_bounds() -> None:
    for name, f in FIELDS.items():
        assert type(f.default) is TYPES[name], name
        assert load({variable(name): str(f.default)}) == Settings(), name


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_part_of_what_is_allowed(name: str) -> None:
    low, high = FIELDS[name].metadata["low"], FIELDS[name].metadata["high"]
    assert low is not None, "every number has a least value"
    kind = TYPES[name]
    step = 1 if kind is int else 0.001
    assert getattr(load({variable(name): str(low)}), name) == low
    beyond = [low - step] + ([high + step] if high is not None else [])
    if high is not None:
        assert getattr(load({variable(name): str(high)}), name) == high
    for value in beyond:
        with pytest.raises(SettingsError, match=rf"{variable(name)}=.*(at least|between) {low}"):
            load({variable(name): str(value)})


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("MQTT_PORT", "high", "it takes a whole number (port)"),
        ("MQTT_PORT", "1.5", "it takes a whole number (port)"),
        ("MQTT_PORT", "", "it takes a whole number (port)"),
        ("MQTT_PORT", "0", "it must be between 1 and 65535 (port)"),
        ("KAFKA_PARTITIONS", "0", "it must be between 1 and 1024"),
        ("LIVE_RATE_PER_S", "fast", "it takes a number (1/s)"),
        ("LIVE_RATE_PER_S", "nan", "it must be at least 0.1 (1/s)"),
        ("REPAIR_QUIET_S", "-1", "it must be at least 0 (s)"),
        ("MQTT_VERSION", "4", "it takes 3.1.1 or 5"),
        ("LOG_LEVEL", "verbose", "it takes DEBUG, INFO, WARNING or ERROR"),
    ],
)
def test_an_error_names_the_variable_the_value_and_the_remedy(key: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({f"CITYFEED_{key}": text})
    said = str(caught.value)
    assert said.startswith(f"CITYFEED_{key}=")
    assert text in said
    assert said.endswith(says)


def test_a_variable_that_does_not_exist_is_a_typing_mistake() -> None:
    with pytest.raises(SettingsError, match=r"CITYFEED_MQTT_PROT is not a setting; .*docs/settings\.md"):
        load({"CITYFEED_MQTT_PROT": "1883"})


def test_variables_of_the_tests_are_left_to_the_tests() -> None:
    assert load({"CITYFEED_TEST_KAFKA": "127.0.0.1:1"}) == Settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load({}).mqtt_port = 1  # type: ignore[misc]


def test_secrets_do_not_show_themselves() -> None:
    secrets = [name for name in FIELDS if TYPES[name] is Secret]
    assert {"mqtt_password", "database_url", "cursor_key"} <= set(secrets)
    chosen = load({variable(name): f"hush-{name}" for name in secrets})
    assert "hush" not in repr(chosen)
    assert repr(chosen).count("'***'") == len(secrets)
    assert repr([chosen.mqtt_password]) == "['***']"
    for name in secrets:
        assert str(getattr(chosen, name)) == f"hush-{name}"


def test_an_empty_secret_may_be_seen_to_be_empty() -> None:
    assert repr(Secret("")) == "''"
    assert repr(Secret("x")) == "'***'"


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_says_what_it_is(name: str) -> None:
    said = FIELDS[name].metadata["help"]
    assert said.endswith("."), said
    assert "|" not in said and "\n" not in said, "it is a cell of a table"
    unit = FIELDS[name].metadata["unit"]
    for ending, its_unit in (("_ms", "ms"), ("_s", "s"), ("_h", "h"), ("_bytes", "bytes"), ("_port", "port")):
        if name.endswith(ending) and not name.endswith("_per_s"):
            assert unit == its_unit


def command_of_docs() -> str:
    found = re.search(r"^    (.*as_markdown.*)$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert found, "docs/settings.md tells how it is made"
    return found[1]


def test_the_docs_list_exactly_these_settings() -> None:
    head, bar, table = DOCS.read_text("utf-8").partition("| variable |")
    assert head.startswith("# Settings\n")
    assert {variable(name) for name in FIELDS if TYPES[name] is Secret} <= set(re.findall(r"CITYFEED_\w+", head))
    assert bar + table == settings.as_markdown(), f"docs/settings.md is not of today; run: {command_of_docs()}"


def test_the_docs_command_makes_the_docs(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    stale = DOCS.read_text("utf-8").replace("| `CITYFEED_MQTT_PORT`", "| `CITYFEED_OLD_PORT`")
    (tmp_path / "docs" / "settings.md").write_text(stale, "utf-8")
    subprocess.run(
        ["sh", "-ec", command_of_docs().replace(".cityfeed/venv/bin/python", sys.executable)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    made = (tmp_path / "docs" / "settings.md").read_text("utf-8")
    assert "CITYFEED_OLD_PORT" not in made
    assert made == DOCS.read_text("utf-8").partition("| variable |")[0] + settings.as_markdown()
