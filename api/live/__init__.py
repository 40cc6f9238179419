"""The live feed: `tail` reads Kafka into `latest` and `hub`; `routes` speaks the protocol to websockets.

Pure are `messages`, `filters`, `frames`, `protocol`, `groups`, `hub` and `latest`; `tail`, `serve` and `routes` do I/O.
"""
