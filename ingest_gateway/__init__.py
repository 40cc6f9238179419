"""The gateway: MQTT messages in, Kafka records of readings out, acknowledged only when Kafka has them.

mqtt_source   paho, the only file that knows it
routes        an MQTT topic -> what it carries
decoders/     bytes -> rows and rejects, one family a file
batches       rows -> columnar records, one partition's readings each
registry_tail what is registered, by whomever: units and periods that messages leave out
registrations .../meta messages -> the registry's topic
intake        all of the above without I/O: messages in, flights out
publish       flights -> Kafka, and back: what may be acknowledged
gateway       the loop that ties them together
"""
