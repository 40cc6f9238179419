"""The archive in an S3 bucket: moto's server, which checks signatures, in a process that the tests can kill."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import boto3
import httpx
import polars as pl
import pytest
from fastapi import FastAPI

from api.archive.store import Store
from schemas.settings import Settings
from tests.api.city import NOW_MS, app_without_servers, client_of
from tests.integration.history import DAY_0_MS, History, three_days
from tests.integration.test_api import database, history
from tests.integration.test_archive import archive, rows_of, wrote
from tests.integration.test_archive_history import QUERIES, app, days_in_database, keeping_six_days, move_days, pages
from tests.integration.test_exports import table
from tests.service_stack import port_block

__all__ = ["app", "database", "history"]

ASKED_FREELY = 4  # requests before the server checks signatures: those that make the user, its policy and the bucket
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


class Bucket:
    """The server, and the settings and files of the archive in its bucket."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(ASKED_FREELY)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(600):
            with suppress(httpx.TransportError):
                httpx.get(f"{self.url}/moto-api/")
                break
            time.sleep(0.1)
        given = {"endpoint_url": self.url, "region_name": "us-east-1", "aws_access_key_id": "a"}
        iam = boto3.client("iam", aws_secret_access_key="b", **given)
        iam.create_user(UserName="cityfeed")
        iam.put_user_policy(UserName="cityfeed", PolicyName="all", PolicyDocument=POLICY)
        key = iam.create_access_key(UserName="cityfeed")["AccessKey"]
        self.environment = {
            "AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }  # fmt: skip
        given["aws_access_key_id"] = key["AccessKeyId"]
        self._s3 = boto3.client("s3", aws_secret_access_key=key["SecretAccessKey"], **given)
        self._s3.create_bucket(Bucket="city")

    def names(self) -> list[str]:
        """The names of what is in the bucket."""
        found = self._s3.list_objects_v2(Bucket="city").get("Contents", [])
        return [one["Key"] for one in found if not one["Key"].endswith("/")]

    def kill(self) -> None:
        self._server.kill()
        self._server.wait()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with port_block() as first_port:
        made = Bucket(first_port)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made
        made.kill()


@pytest.fixture
def settings(database: Settings, bucket: Bucket, tmp_path: Path) -> Settings:
    return keeping_six_days(database, tmp_path, "s3://city/open/data")


async def test_days_are_written_served_and_written_anew(
    app: FastAPI, settings: Settings, bucket: Bucket, history: History, tmp_path: Path
) -> None:
    readings = three_days(1)
    history.store(readings[10:])
    wrote(history)
    kept = dataclasses.replace(settings, database_keep_days=0)
    assert len(await archive(kept, NOW_MS)) == 6
    in_folder = dataclasses.replace(kept, archive_url=f"file://{tmp_path}/archive")
    await archive(in_folder, NOW_MS)
    for dataset in ("traffic", "air-quality"):
        both = [Store(one).index(dataset) for one in (kept, in_folder)]
        assert [day.files for day in both[0].days] == [day.files for day in both[1].days]
    async with client_of(app) as client:
        first = await client.get("/v1/archive/traffic/2026/11/15.parquet")
        part = await client.get("/v1/archive/traffic/2026/11/15.parquet", headers={"range": "bytes=100-4095"})
        assert (part.status_code, part.content) == (206, first.content[100:4096])
        history.store(readings[:10])
        wrote(history)
        await archive(kept, NOW_MS)
        second = await client.get("/v1/archive/traffic/2026/11/15.parquet")
        assert table("parquet", second.content) == rows_of(history, 0)
        assert (await client.get("/v1/archive/traffic/2026/11/15.r1.parquet")).content == first.content
    options = {
        "aws_endpoint_url": bucket.url, "aws_region": "us-east-1", "aws_allow_http": "true",
        **{name.lower(): bucket.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
    }  # fmt: skip
    lazy = pl.scan_parquet("s3://city/open/data/traffic/2026/11/15.r2.parquet", storage_options=options)
    assert lazy.filter(pl.col("sensor") == "a").collect().height == sum(r["sensor"] == "a" for r in rows_of(history, 0))
    assert "open/data/traffic/2026/11/15.r1.csv.gz" in bucket.names()
    assert not [name for name in bucket.names() if "draft" in name]


async def test_history_is_read_from_the_bucket(
    app: FastAPI, settings: Settings, bucket: Bucket, history: History
) -> None:
    history.store(three_days(2))
    wrote(history)
    before = {query: await pages(app, query) for query in QUERIES[:6]}
    assert sum("alone" in line for line in await move_days(settings)) == 2
    assert max(days_in_database(history).get(day, 0) for day in (0, 1)) < 10
    for query, expected in before.items():
        assert await pages(app, query) == expected, query
    bucket.kill()
    async with client_of(app) as client:
        for path in ("/v1/traffic/readings?from=2026-11-15T00:00:00Z&to=2026-11-16T00:00:00Z", "/v1/archive/traffic"):
            refused = await client.get(path)
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/archive-unavailable")
            assert "127.0.0.1" not in refused.text, "where our bucket is concerns nobody"


async def test_what_is_cut_off_is_not_there(settings: Settings, bucket: Bucket) -> None:
    """A file is whole or not at all: also where the writer fails, or the server goes while it is written."""
    store = Store(settings)
    with pytest.raises(RuntimeError, match="stop"), store.writing("traffic/one") as file:
        file.write(b"x" * 6_000_000)
        raise RuntimeError("stop")
    assert bucket.names() == []
    with pytest.raises(OSError, match="NETWORK_CONNECTION"), store.writing("traffic/two") as file:
        file.write(b"x" * 6_000_000)
        bucket.kill()
        file.write(b"x" * 6_000_000)


@pytest.mark.parametrize(
    ("environment", "url", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "s3://city/a", "ACCESS_DENIED"),
        ({}, "s3://no-such-bucket/a", "no-such-bucket"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://city/a", "NETWORK_CONNECTION"),
    ],
)
async def test_a_place_that_is_none_is_a_failure_and_no_empty_archive(
    settings: Settings, history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str], url: str, said: str,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    history.store(three_days(3)[:5])
    wrote(history)
    there = dataclasses.replace(settings, archive_url=url)
    with pytest.raises(OSError, match=said):
        await archive(there, DAY_0_MS + 30 * 86_400_000)
    async with client_of(app_without_servers(tmp_path, archive_url=url)) as client:
        assert (await client.get("/v1/archive/traffic")).status_code == 503
