"""The public MQTT outlet: listens to the live feed like anybody else, and keeps the newest value of every series on a
retained topic that everyone may read.

    API --live feed, mode latest--> Newest (one value a series) --QoS 1, retained--> Mosquitto's outlet listener

It holds nothing that the live feed does not give to everyone, so nothing private can leave by it. Pure is `newest`;
`main` does I/O.
"""
