"""`python -m stream_processors clean|windows`."""

from stream_processors.main import main

main()
