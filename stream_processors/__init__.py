"""From raw readings to clean ones, and from clean ones to stored readings and windows.

Two roles, a process each: `clean` (readings.raw -> readings.clean) and `windows` (readings.clean -> TimescaleDB).
"""
