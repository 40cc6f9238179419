"""Tools that need not exist: the rendering only writes their paths."""

from pathlib import Path

import pytest

from deploy.local.tools import Tools


@pytest.fixture
def tools() -> Tools:
    return Tools(
        mosquitto=Path("/bin/mosquitto"),
        java=Path("/bin/java"),
        kafka_jars=Path("/cache/kafka"),
        postgres_bin=Path("/pg/bin"),
        python=Path("/venv/bin/python"),
        setpriv=Path("/bin/setpriv"),
    )
