"""Kafka and the tables in memory, with the promises that the processors rest on and the faults that they must stand.

For property tests: thousands of cases of the real roles, without servers. What the real servers do is shown by
tests/chaos and tests/integration.
"""
