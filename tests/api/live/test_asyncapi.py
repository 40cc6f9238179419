"""/asyncapi.json: sound to the AsyncAPI project's own parser, and true of what the code sends and takes."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from api.live import asyncapi, messages
from schemas.public_mqtt import PublicValue
from schemas.registry import Registration
from schemas.settings import Settings
from tests import node
from tests.api.city import app_without_servers, client_of
from tests.api.live.feeding import Feed, batch

DOCUMENT = asyncapi.document(Settings(), "https://city.example/data", "0.1.0")
# As others read it: the JSON that goes out.
SENT: dict[str, Any] = json.loads(msgspec.json.encode(DOCUMENT))

PARSE = """
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
const require = createRequire(process.argv[2] + '/x.js');
const { Parser } = require('@asyncapi/parser');
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[3], 'utf-8'));
const wrong = diagnostics.filter((d) => d.severity === 0).map((d) => `${d.path.join('.')}: ${d.message}`);
const names = (channel) => channel.messages().all().map((m) => m.name());
const channels = document ? document.channels().all().map((c) => [c.id(), names(c)]) : [];
console.log(JSON.stringify({ wrong, channels: Object.fromEntries(channels) }));
"""


def parsed(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the AsyncAPI parser has against a document, and the channels that it saw."""
    modules = node.modules()
    (folder / "asyncapi.json").write_text(json.dumps(document))
    (folder / "parse.mjs").write_text(PARSE)
    said = node.run("node", "parse.mjs", modules, "asyncapi.json", cwd=folder)
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def test_the_parser_has_nothing_against_it(tmp_path: Path) -> None:
    found = parsed(SENT, tmp_path)
    assert found["wrong"] == []
    assert set(found["channels"]["live"]) == {asyncapi._tag(kind) for kind in messages.DOCUMENTED}
    assert found["channels"]["public"] == ["public_value"]
    assert found["channels"]["sse"] == list(asyncapi.SSE_EVENTS)


def test_the_parser_finds_a_mistake(tmp_path: Path) -> None:
    broken = copy.deepcopy(SENT)
    broken["operations"]["hear_clients"]["messages"] = [{"$ref": "#/channels/live/messages/nothing"}]
    assert parsed(broken, tmp_path)["wrong"]


def validator(tag: str) -> jsonschema.Draft202012Validator:
    """Of a message's payload by its name in the document."""
    schema = SENT["components"]["messages"][tag]["payload"] | {"components": SENT["components"]}
    return jsonschema.Draft202012Validator(schema)


def test_what_the_hub_sends_is_what_it_says() -> None:
    feed = Feed()
    link, member = feed.client(mode="all")
    feed.publish(batch(("a", 0, 50.0), ("b", 0, float("nan"))))
    feed.hub.heartbeat(1_767_225_600_000, 3)
    feed.hub.tell(messages.Status("readings", None, "silent"))
    feed.hub.send(member, messages.Error("bad_filter", "no", "s"))
    feed.hub.say_goodbye(member, 700)
    sent = link.messages()
    assert {m["type"] for m in sent} == {"subscribed", "snapshot", "data", "hb", "status", "error", "going_away"}
    for message in sent:
        validator(message["type"]).validate(message)


@pytest.mark.parametrize("name", ["Row", "WindowRow", "IndexRow"])
def test_rows_are_those_of_the_topics(name: str) -> None:
    frame = {"type": "data", "ch": 1, "seq": [1, 1], "cursor": "c", "n_conflated": 0}
    schema = SENT["components"]["schemas"][name]
    by_type = {"string": "x", "number": 1.0, "integer": 1, "boolean": True, "null": None}

    def value(field: dict[str, Any]) -> Any:
        if "enum" in field:
            return field["enum"][0]
        return by_type[field["type"]] if "type" in field else value(field["anyOf"][0])

    row = {key: value(schema["properties"][key]) for key in schema["required"]}
    validator("data").validate(frame | {"d": [row]})
    row.popitem()
    assert list(validator("data").iter_errors(frame | {"d": [row]}))


@pytest.mark.parametrize(
    ("tag", "payload"),
    [
        ("subscribe", {"type": "subscribe", "topic": "readings"}),
        ("subscribe", {"type": "subscribe", "id": 1, "topic": "readings", "filter": {"datasets": ["x"]}}),
        ("data", {"type": "data", "ch": 1, "seq": [1], "cursor": "", "n_conflated": 0, "d": []}),
        ("reading", {"pm25": 7.0}),
        ("public_value", {"start": "2026-01-01T00:00:00.000Z"}),
    ],
)
def test_what_is_none_is_refused(tag: str, payload: Any) -> None:
    assert list(validator(tag).iter_errors(payload))


def test_mqtt_payloads_are_those_of_the_types() -> None:
    value = PublicValue("2026-01-01T00:00:00.000Z", 60, None, None, 9, 1)
    validator("public_value").validate(json.loads(msgspec.json.encode(value)))
    validator("registration").validate(json.loads(msgspec.json.encode(Registration("traffic", "a"))))
    for example in SENT["components"]["schemas"]["SensorReading"]["examples"]:
        validator("reading").validate(example)
        validator("reading").validate([example])


def test_clients_say_what_the_server_hears() -> None:
    operations = SENT["operations"]
    heard = {ref["$ref"].rpartition("/")[2] for ref in operations["hear_clients"]["messages"]}
    told = {ref["$ref"].rpartition("/")[2] for ref in operations["tell_clients"]["messages"]}
    assert {"hello", "subscribe", "unsubscribe", "ping"} <= heard and not heard & told
    assert heard | told == {asyncapi._tag(kind) for kind in messages.DOCUMENTED}


def test_servers_are_where_the_world_sees_them() -> None:
    servers = SENT["servers"]
    assert (servers["websocket"]["host"], servers["websocket"]["protocol"]) == ("city.example", "wss")
    assert (servers["http"]["host"], servers["http"]["protocol"]) == ("city.example", "https")
    assert SENT["channels"]["live"]["address"] == "/data/v1/live"
    assert SENT["channels"]["sse"]["address"] == "/data/v1/sse"
    assert servers["public_mqtt"]["host"] == "city.example:18831"
    without = asyncapi.document(Settings(mqtt_public_port=0, mqtt_public_websocket_port=0), "http://a:1", "0")
    assert set(without["servers"]) == {"websocket", "http", "sensors"}


async def test_it_is_served_and_named(tmp_path: Path) -> None:
    async with client_of(app_without_servers(tmp_path)) as client:
        found = (await client.get("/asyncapi.json")).json()
        assert found["asyncapi"] == "3.0.0" and found["channels"].keys() == SENT["channels"].keys()
        assert "/asyncapi.json" in (await client.get("/openapi.json")).json()["paths"]
