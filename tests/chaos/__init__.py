"""Chaos on the real stack under load: servers and services are killed, stopped, taken away, and nothing may be lost.

    make chaos                                   every scenario in its long form; prints the seeds
    make chaos SEED=7 SCENARIO=kill-windows      one of them again

Each scenario has servers of its own, ends with the checker (tests/checker), and fails on a single fault. The short form
is tests/chaos/test_chaos.py.
"""
