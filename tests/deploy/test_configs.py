"""What the settings become: parts, addresses, configuration files. All pure."""

import configparser
import dataclasses
from pathlib import Path

import pytest

from deploy.local import configs, stack
from deploy.local.stack import Layout, StackError
from deploy.local.tools import Tools
from schemas.settings import Secret, Settings, load

LAYOUT = Layout(Path("/here/run"), Path("/var/lib/cityfeed/1"))
OTHER = dataclasses.replace(
    Settings(),
    mqtt_port=28830,
    mqtt_public_port=28831,
    mqtt_public_websocket_port=28832,
    mqtt_outlet_port=28833,
    kafka_bootstrap="127.0.0.1:29092",
    database_url=Secret("postgresql://me@127.0.0.1:25432/town"),
    api_port=28000,
    mqtt_max_queued_messages=77,
)


def keys(text: str, separator: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in (line.partition(separator) for line in lines)}


def test_mosquitto_saves_every_second_and_keeps_a_finite_queue() -> None:
    found = keys(configs.mosquitto_conf(OTHER, LAYOUT, "root"), " ")
    assert found["per_listener_settings"] == "true"
    assert found["autosave_interval"] == "1" and found["autosave_on_changes"] == "false"
    assert found["persistence_location"] == "/here/run/mosquitto/"
    assert found["max_inflight_messages"] == "0"
    assert found["max_queued_messages"] == "77"
    assert int(found["max_queued_bytes"]) == OTHER.mqtt_max_queued_bytes
    assert found["user"] == "root"
    assert "user" not in keys(configs.mosquitto_conf(OTHER, LAYOUT, None), " ")


def test_mosquitto_has_a_listener_for_sensors_one_for_the_outlet_and_two_for_everybody() -> None:
    _, *listeners = configs.mosquitto_conf(OTHER, LAYOUT, None).split("listener ")
    found = [(text.split()[0], keys(text, " ")) for text in listeners]
    assert [(port, given["acl_file"].rpartition("/")[2]) for port, given in found] == [
        ("28830", "sensors.acl"), ("28833", "outlet.acl"), ("28831", "public.acl"), ("28832", "public.acl")
    ]  # fmt: skip
    assert [given.get("max_qos") for _, given in found] == [None, None, "0", "0"]  # nothing queues for who is away
    assert [given.get("protocol") for _, given in found] == [None, None, None, "websockets"]
    off = configs.mosquitto_conf(dataclasses.replace(OTHER, mqtt_outlet_port=0), LAYOUT, None)
    assert off.count("listener ") == 1 and len(stack.addresses(dataclasses.replace(OTHER, mqtt_outlet_port=0))) == 7


def test_kafka_is_its_own_controller_on_the_next_port_and_makes_no_topics() -> None:
    found = keys(configs.kafka_properties(OTHER, LAYOUT), "=")
    assert found["listeners"] == "PLAINTEXT://127.0.0.1:29092,CONTROLLER://127.0.0.1:29093"
    assert found["controller.quorum.bootstrap.servers"] == "127.0.0.1:29093"
    assert found["auto.create.topics.enable"] == "false"
    assert found["log.dirs"] == "/here/run/kafka/data"


def test_postgres_never_loses_a_commit_and_lets_in_one_user_from_this_machine() -> None:
    found = keys(configs.postgres_conf(OTHER, LAYOUT), "=")
    assert found["port"] == "25432"
    assert found["synchronous_commit"] == "on" and "fsync" not in found
    assert found["shared_preload_libraries"] == "'timescaledb'"
    assert found["timescaledb.telemetry_level"] == "off"
    assert configs.postgres_hba(OTHER).splitlines()[0] == "host town me 127.0.0.1/32 trust"


def test_supervisor_runs_every_part_as_it_should(tools: Tools) -> None:
    parts = stack.server_parts(OTHER, tools, LAYOUT, "postgres") + stack.service_parts(OTHER, tools)
    text = configs.supervisord_conf(parts, tools, LAYOUT, as_root=True, max_files=1000)
    parsed = configparser.RawConfigParser()
    parsed.read_string(text)
    programs = {name.removeprefix("program:") for name in parsed.sections() if name.startswith("program:")}
    assert programs == {*stack.SERVERS, *stack.SERVICES}
    postgres = parsed["program:postgres"]
    assert postgres["user"] == "postgres" and postgres["stopsignal"] == "INT"
    assert postgres["command"].startswith("/bin/setpriv --pdeathsig INT -- /pg/bin/postgres -D ")
    assert parsed["program:clean"]["command"].endswith("/venv/bin/python -m stream_processors clean")
    assert parsed["unix_http_server"]["file"] == "/here/run/supervisor.sock"
    assert all(int(parsed[f"program:{name}"]["stopwaitsecs"]) < 5 for name in programs)
    assert "user" not in parsed["program:kafka"]


def test_two_stacks_share_no_address_and_no_file(tools: Tools) -> None:
    def everything(settings: Settings, layout: Layout) -> set[object]:
        parts = stack.server_parts(settings, tools, layout, None)
        files = configs.files(settings, parts, tools, layout, as_root=False, max_files=1)
        servers = [address.port for part in stack.SERVERS for address in stack.addresses(settings)[part]]
        return {*files, *servers}

    other_layout = Layout(Path("/here/test"), Path("/var/lib/cityfeed/2"))
    assert not everything(Settings(), LAYOUT) & everything(OTHER, other_layout)


def test_environment_is_read_back_as_the_same_settings() -> None:
    assert load(stack.environment(OTHER)) == OTHER
    assert stack.environment(Settings()) == {}


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"kafka_bootstrap": "kafka"}, "CITYFEED_KAFKA_BOOTSTRAP=kafka: it takes host:port"),
        ({"mqtt_host": "broker.example"}, "CITYFEED_MQTT_HOST says broker.example"),
        ({"database_url": Secret("postgresql://127.0.0.1/x")}, "CITYFEED_DATABASE_URL takes postgresql://"),
    ],
)
def test_what_cannot_be_run_here_is_said_with_its_setting(tools: Tools, change: dict[str, str], remedy: str) -> None:
    with pytest.raises(StackError, match=remedy):
        stack.server_parts(dataclasses.replace(Settings(), **change), tools, LAYOUT, None)


def test_metrics_that_are_switched_off_have_no_address() -> None:
    assert "clean" not in stack.addresses(dataclasses.replace(Settings(), clean_metrics_port=0))
