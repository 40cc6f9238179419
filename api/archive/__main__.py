"""`python -m api.archive`."""

from api.archive.main import main

main()
