"""The stack on one Debian machine without a container engine.

bootstrap   set-up, with nothing but Debian's python3: packages, TimescaleDB, Kafka, virtual environment
tools       where the programs that set-up installed are
stack       pure: settings -> the parts, their addresses and folders
configs     pure: settings -> configuration files
prepare     writes those files, makes the database cluster and Kafka's storage at the first start
supervise   starts, asks and stops supervisord, which runs the parts
probes      is it up, who holds that port, how much memory: what the command line asks of the machine
"""
