"""What we rely on in Faust beyond its documentation; a new version that changes it fails here, not in production."""

import inspect

from aiokafka import AIOKafkaConsumer
from faust.app.base import App
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer


def test_offsets_can_be_committed_directly() -> None:
    assert list(inspect.signature(Consumer._commit_offsets).parameters)[:2] == ["self", "offsets"]


def test_faust_seeks_to_what_is_committed_after_on_rebalance_complete() -> None:
    """The handlers are awaited before the seek, so an offset that a role commits in one is where reading begins."""
    source = inspect.getsource(Recovery._resume_streams)
    assert source.index("await app.on_rebalance_complete.send()") < source.index("consumer.perform_seek()")
    assert "seek_to_committed" in inspect.getsource(Consumer.perform_seek)


def test_handlers_of_revocation_run_before_partitions_are_given_up() -> None:
    source = inspect.getsource(App._on_partitions_revoked)
    assert source.index("flow_control.clear") < source.index("self.on_partitions_revoked.send")


def test_topics_without_acknowledgements_are_not_tracked() -> None:
    assert "acks_enabled_for" in inspect.getsource(Consumer._drain_messages)


def test_a_committed_0_is_not_sought_by_aiokafka() -> None:
    """Why faust_app seeks itself; where this changes, that line may go."""
    assert "if offset and offset > 0" in inspect.getsource(AIOKafkaConsumer.seek_to_committed)
