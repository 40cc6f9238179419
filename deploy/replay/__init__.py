"""Real data played into the city: readers of public files, the sample week, a fast MQTT publisher, a simulator."""
