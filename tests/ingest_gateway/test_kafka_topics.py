"""Partition counts."""

import pytest
from aiokafka.errors import KafkaError

from ingest_gateway.kafka_topics import check_partitions
from schemas.errors import PipelineError


def test_the_same_number_is_fine() -> None:
    check_partitions({"a": 8, "b": 1, "other": 3}, {"a": 8, "b": 1})


def test_another_number_stops_the_process_and_names_the_remedy() -> None:
    with pytest.raises(PipelineError, match=r"a has 4 partitions.*CITYFEED_KAFKA_PARTITIONS=4"):
        check_partitions({"a": 4}, {"a": 8})


def test_a_topic_that_is_not_known_yet_is_tried_again() -> None:
    with pytest.raises(KafkaError):
        check_partitions({}, {"a": 8})
