"""Dead letters: what was refused, kept with its bytes, and sent again when what was wrong is mended.

store.py     the letters in Kafka, and which of them were replayed
replay.py    pure: a letter into the records that a message like it would become now
"""
