"""The JavaScript client: its own tests in Node (the recorded conversations among them), and its types."""

import re
import sys

from deploy.local.tools import ROOT
from tests import node
from tests.clients.conversations import NAMES

HOME = ROOT / "clients" / "javascript"


def test_it_goes_through_every_conversation_in_node() -> None:
    said = node.run(
        "node", "--test", "--test-reporter=tap",
        cwd=HOME, PYTHON=sys.executable, CITYFEED_NODE_MODULES=str(node.modules()),
    )  # fmt: skip
    passed = set(re.findall(r"^\s*ok \d+ - (\S+)$", said, re.MULTILINE))
    assert set(NAMES) <= passed


def test_its_types_are_sound() -> None:
    node.run(node.modules() / ".bin" / "tsc", "-p", ".", cwd=HOME)


def test_it_is_one_file_that_depends_on_nothing() -> None:
    text = (HOME / "cityfeed.js").read_text()
    assert not re.search(r"^import |\brequire\(|\bimport\(", text, re.MULTILINE)
