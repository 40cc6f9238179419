"""docker-compose.yml: no engine is here to run it, so it is compared with the Compose schema, with the table
of settings and with what the local stack renders. That its images start and reach each other is not tested."""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.local import configs, kafka, stack
from deploy.local.tools import ROOT
from schemas.settings import Settings, load, variable

OURS = ("gateway", "clean", "windows", "api", "archive", "outlet", "city")
GRAFANA_PORT = 3000  # by the profile `grafana`, which only containers have
WITHOUT_A_PORT = ("archive", "outlet", "city")
LAYOUT = stack.Layout(Path("/state"), Path("/state/postgres"))


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def variables(environment: dict[str, str | None]) -> dict[str, str]:
    """The environment as a container gets it when nothing is set outside: ${NAME:-default} replaced, and without what
    has no value, which is taken from outside.
    """
    given = {key: value for key, value in environment.items() if value is not None}
    return {key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for key, value in given.items()}


def schema_errors(compose: Any) -> list[str]:
    schema = json.loads((Path(__file__).parent / "data" / "compose_spec.json").read_text())
    return [error.message for error in jsonschema.Draft201909Validator(schema).iter_errors(compose)]


def test_fits_the_compose_schema(compose: Any) -> None:
    compose = {key: value for key, value in compose.items() if key != "name"}  # younger than this schema
    assert schema_errors(compose) == []


def test_the_schema_finds_a_mistake(compose: Any) -> None:
    assert schema_errors({"services": {"api": compose["services"]["api"] | {"helthcheck": {}}}})


@pytest.mark.parametrize("service", OURS)
def test_our_services_get_settings_that_exist_and_can_be_read(compose: Any, service: str) -> None:
    environment = variables(compose["services"][service]["environment"])
    known = {variable(field.name) for field in fields(Settings)}
    assert set(environment) <= known
    settings = load(environment)
    assert (settings.mqtt_host, settings.mqtt_port) == ("mosquitto", 1883)
    assert settings.kafka_bootstrap == "kafka:9092"
    assert stack.database(settings).address.host == "timescaledb"


def test_every_part_has_a_health_check_and_a_volume(compose: Any) -> None:
    for name, service in compose["services"].items():
        assert name in WITHOUT_A_PORT or service["healthcheck"]["test"], name
        named = [volume.partition(":")[0] for volume in service["volumes"] if not volume.startswith(".")]
        assert named and set(named) <= set(compose["volumes"]), name


def test_services_run_the_modules_of_the_local_stack(compose: Any, tools: Any) -> None:
    local = {part.name: part.command[1:] for part in stack.service_parts(Settings(), tools)}
    assert {name: tuple(compose["services"][name]["command"][1:]) for name in OURS} == local


def test_ports_are_those_of_the_settings_and_open_to_this_machine_only(compose: Any) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    settings = Settings()
    public = {settings.mqtt_public_port, settings.mqtt_public_websocket_port}
    wanted = {settings.mqtt_port, stack.kafka_address(settings).port, 15432, settings.api_port}
    assert {int(port.split(":")[1]) for port in published} == wanted | public | {GRAFANA_PORT}
    local = stack.addresses(settings)
    assert wanted == {local[name][0].port for name in (*stack.SERVERS, "api")}
    assert public == {a.port for a in local["mosquitto"]} - {settings.mqtt_port, settings.mqtt_outlet_port}


def test_no_secret_is_written_down(compose: Any) -> None:
    for name, service in compose["services"].items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", key):
                assert value is None or value.startswith("${"), f"{name}: {key}"


def test_mosquitto_is_configured_as_in_the_local_stack() -> None:
    """Its listeners too, each with the same rules; only their ports and folders are others."""

    def sections(text: str) -> list[list[str]]:
        lines = [line for line in text.splitlines() if line and not line.startswith(("#", "persistence_location "))]
        found: list[list[str]] = [[]]
        for line in lines:
            if line.startswith("listener "):
                found.append([])
            else:
                found[-1].append(re.sub("/.*/", "", line))
        return found

    folder = ROOT / "deploy" / "containers"
    local = configs.mosquitto_conf(Settings(), LAYOUT, None)
    assert sections((folder / "mosquitto.conf").read_text()) == sections(local)
    assert {path.stem: path.read_text() for path in folder.glob("*.acl")} == configs.mosquitto_acls(Settings())


def test_database_is_configured_as_in_the_local_stack(compose: Any) -> None:
    words = shlex.split(compose["services"]["timescaledb"]["command"])
    given = dict(word.split("=") for word in words if "=" in word)
    local = dict(re.findall(r"^(\S+) = '?([^'\n]*)", configs.postgres_conf(Settings(), LAYOUT), re.MULTILINE))
    assert given == {key: local.get(key) for key in given}


def test_images_are_the_versions_of_the_local_stack(compose: Any) -> None:
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{kafka.version()}"


def test_the_image_copies_folders_that_exist() -> None:
    dockerfile = (ROOT / "deploy" / "containers" / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(\S+)", dockerfile, re.MULTILINE):
        assert (ROOT / source).exists(), source
